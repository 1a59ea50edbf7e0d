//! What the API has for optimizers: parts that they share, and the trajectories that they are tested on.

use lorahost_plugin_api::manifest;
use lorahost_plugin_api::prelude::*;
use lorahost_plugin_api::protocol::Parameter as Described;
use lorahost_plugin_api::testing::{self, Descent, follow, json, parameter, tensor};

/// A multiple of the gradient, and then AdamW.
#[derive(Params)]
struct Scaled {
    /// The factor.
    #[param(default = 2.0, min = 0.0)]
    factor: f64,
    #[param(flatten)]
    adamw: AdamW,
    /// Stays.
    #[param(default = false)]
    idle: bool,
}

impl Optimizer for Scaled {
    fn prepare(&mut self, group: &Group<'_>) -> Result<()> {
        self.adamw.prepare(group)
    }

    fn step(&mut self, group: &Group<'_>, step: u64, lr: f64) -> Result<()> {
        if self.idle {
            return Ok(());
        }
        let parameters = group.parameters.iter();
        let gradients =
            parameters.map(|one| Ok(Some(one.value.mul_tensor(one.value)? * self.factor)));
        let gradients = gradients.collect::<Result<Vec<_>>>()?;
        self.adamw.step(&group.with_gradients(&gradients), step, lr)
    }
}

#[test]
fn flattened_parameters_are_the_components_own() -> Result<()> {
    let schema: Vec<Described> = serde_json::from_str(&manifest::text(Scaled::PARAMETERS))?;
    let names: Vec<_> = schema.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(
        names,
        ["factor", "beta1", "beta2", "eps", "weight_decay", "idle"]
    );
    let scaled = testing::params::<Scaled>(json!({ "beta1": 0.5, "idle": true }))?;
    assert!(scaled.idle);
    assert_eq!((scaled.factor, scaled.adamw.beta1), (2.0, 0.5));
    assert_eq!(scaled.adamw.beta2, 0.999);
    let error = testing::params::<Scaled>(json!({ "beta2": 1.5 })).err();
    let expected = "parameter `beta2` is 1.5, above 0.999999";
    assert_eq!(
        error.map(|error| error.to_string()).as_deref(),
        Some(expected)
    );
    Ok(())
}

/// A group of parameters with these factors on the learning rate, decay flags, and whether there is a gradient.
fn with_group(about: &[(f64, bool, bool)], test: impl Fn(&Group<'_>) -> Result<()>) -> Result<()> {
    let value = tensor(&[1.0], &[1])?;
    let infos = about
        .iter()
        .enumerate()
        .map(|(place, &(lr, decay, _))| ParameterInfo {
            lr,
            decay,
            pair: Some(place / 2),
            ..parameter(
                &format!("p{place}"),
                if place % 2 == 0 { Role::A } else { Role::B },
            )
        });
    let infos: Vec<_> = infos.collect();
    let parameters = infos.iter().zip(about).map(|(info, about)| Parameter {
        info,
        value: &value,
        grad: about.2.then_some(&value),
    });
    test(&Group {
        parameters: parameters.collect(),
    })
}

#[test]
fn groups_are_parted_by_rate_and_decay() -> Result<()> {
    let about = [
        (1.0, true, true),
        (4.0, true, true),
        (1.0, true, true),
        (1.0, false, true),
        (1.0, true, false),
    ];
    with_group(&about, |group| {
        let parts = group.alike();
        let parts: Vec<_> = parts
            .iter()
            .map(|alike| (alike.lr, alike.decay, alike.members.clone()))
            .collect();
        let expected = [
            (1.0, true, vec![0, 2]),
            (4.0, true, vec![1]),
            (1.0, false, vec![3]),
        ];
        assert_eq!(parts, expected);
        let of_b = group.only(|info| info.role == Role::B);
        let names: Vec<_> = of_b
            .parameters
            .iter()
            .map(|one| one.info.name.as_str())
            .collect();
        assert_eq!(names, ["p1", "p3"]);
        assert_eq!(
            (group.partner(0), group.partner(3), group.partner(4)),
            (Some(1), Some(2), None)
        );

        let other = [None, Some(tensor(&[7.0], &[1])?), None, None, None];
        let changed = group.with_gradients(&other);
        let grad = |place: usize| changed.parameters[place].grad.map(Tensor::item).transpose();
        assert_eq!((grad(0)?, grad(1)?, grad(4)?), (Some(1.0), Some(7.0), None));
        Ok(())
    })
}

#[test]
fn a_call_over_lists_is_a_call_for_each() -> Result<()> {
    let make = || -> Result<_> { Ok([tensor(&[1.0, 4.0], &[2])?, tensor(&[9.0], &[1])?]) };
    let (x, y) = (make()?, make()?);
    let (x, y): (Vec<_>, Vec<_>) = (x.iter().collect(), y.iter().collect());
    let values = |list: &[&Tensor]| -> Result<Vec<f64>> {
        let values = list
            .iter()
            .map(|one| one.to_f64())
            .collect::<Result<Vec<_>>>()?;
        Ok(values.concat())
    };
    let own = |list: Vec<Tensor>| values(&list.iter().collect::<Vec<_>>());
    assert_eq!(own(foreach::sqrt(&x)?)?, [1.0, 2.0, 3.0]);
    assert_eq!(own(foreach::sign(&x)?)?, [1.0; 3]);
    assert_eq!(own(foreach::div(&x, &y)?)?, [1.0; 3]);
    assert_eq!(own(foreach::div_scalar(&x, 2.0)?)?, [0.5, 2.0, 4.5]);
    foreach::mul_scalar_(&x, 2.0)?;
    assert_eq!(values(&x)?, [2.0, 8.0, 18.0]);
    assert_eq!(own(foreach::lerp(&x, &y, 0.5)?)?, [1.5, 6.0, 13.5]);
    foreach::lerp_(&x, &y, 0.5)?;
    foreach::add_scalar_(&x, 0.5)?;
    assert_eq!(values(&x)?, [2.0, 6.5, 14.0]);
    foreach::add_scaled_(&x, &y, -1.0)?;
    assert_eq!(values(&x)?, [1.0, 2.5, 5.0]);
    foreach::addcmul_(&x, &y, &y, 1.0)?;
    assert_eq!(values(&x)?, [2.0, 18.5, 86.0]);
    foreach::addcdiv_(&x, &y, &y, 2.0)?;
    assert_eq!(values(&x)?, [4.0, 20.5, 88.0]);
    foreach::sub_(&x, &x)?;
    foreach::sqrt_(&y)?;
    assert_eq!(
        (values(&x)?, values(&y)?),
        (vec![0.0; 3], vec![1.0, 2.0, 3.0])
    );
    let error = foreach::sub_(&x, &y[..1]).expect_err("one is missing");
    assert_eq!(error.to_string(), "lists of 2 and 1 tensors");
    let error = op("aten::_foreach_frobnicate").arg(&x[..]).run();
    let error = error.expect_err("no such operator").to_string();
    assert!(
        error.starts_with("the fake host has no operator aten::_foreach_frobnicate"),
        "{error}"
    );
    Ok(())
}

#[test]
fn numbers_in_a_state_are_exact() -> Result<()> {
    testing::install();
    let mut state = State::default();
    let number = 1.0 + f64::EPSILON;
    state.push_number("steps", number)?;
    assert_eq!(state.take_number("steps")?, number);
    let error = state.take_number("steps").expect_err("it was taken");
    assert_eq!(error.to_string(), "the saved state has no `steps`");
    Ok(())
}

#[test]
fn the_metric_of_a_factor() -> Result<()> {
    let factor = tensor(&[1.0, 0.0, 1.0, 0.0, 2.0, 0.0], &[2, 3])?;
    let inverse = inverse_gram(&factor, 2.0)?.to_f64()?;
    for (found, expected) in inverse.iter().zip([0.25, 0.0, 0.0, 1.0 / 6.0]) {
        assert!((found - expected).abs() < 1e-15, "{inverse:?}");
    }
    // B = 0 has one, too.
    let zero = inverse_gram(&factor.zeros_like()?, 0.5)?;
    assert_eq!(zero.to_f64()?, [2.0, 0.0, 0.0, 2.0]);
    Ok(())
}

/// One parameter at 1 whose gradient is 1, along which a first step of AdamW is the learning rate.
fn reference(after: &serde_json::Value) -> String {
    json!({
        "lr": 0.25,
        "parameters": [{ "name": "w", "shape": [1], "role": "base" }],
        "start": { "w": [1.0] },
        "grads": [{ "w": [1.0] }, { "w": null }],
        "cases": [{ "options": { "eps": 0.0 }, "after": after }],
    })
    .to_string()
}

#[test]
fn a_trajectory_is_followed_to_its_end() -> Result<()> {
    let steps = json!([{ "w": [0.75] }, { "w": [0.75] }]);
    follow::<AdamW>(&reference(&steps), 1e-12)?;
    let wrong = json!([{ "w": [0.75] }, { "w": [0.5] }]);
    let error = follow::<AdamW>(&reference(&wrong), 1e-12).expect_err("it goes elsewhere");
    assert_eq!(
        error.to_string(),
        "{\"eps\":0.0}, resume false: w after step 2: [0.75], not [0.5]"
    );
    Ok(())
}

/// Moves by the learning rate times the number of steps, which it forgets to save.
#[derive(Params)]
struct Forgetful {
    #[param(skip)]
    steps: f64,
}

impl Optimizer for Forgetful {
    fn step(&mut self, group: &Group<'_>, _step: u64, lr: f64) -> Result<()> {
        self.steps += 1.0;
        for parameter in &group.parameters {
            parameter
                .value
                .add_scaled_(&parameter.value.ones_like()?, -lr * self.steps)?;
        }
        Ok(())
    }
}

#[test]
fn a_state_that_is_not_saved_is_found_out() {
    let steps = json!([{ "w": [0.75] }, { "w": [0.25] }]);
    let text = reference(&steps).replace("\"eps\":0.0", "");
    let error = follow::<Forgetful>(&text, 1e-12).expect_err("it forgets");
    assert_eq!(
        error.to_string(),
        "{}, resume true: w after step 2: [0.5], not [0.25]"
    );
}

#[test]
fn a_flattened_part_takes_the_gradients_that_it_is_given() -> Result<()> {
    let group = vec![(parameter("w", Role::Base), tensor(&[3.0], &[1])?)];
    let scaled = testing::params::<Scaled>(json!({ "weight_decay": 0.0 }))?;
    let mut descent = Descent::new(scaled, group)?;
    descent.step(&[Some(&tensor(&[-1.0], &[1])?)], 0.5)?;
    // Down along the square, not up along the gradient.
    assert!((descent.values()[0].item()? - 2.5).abs() < 1e-7);
    Ok(())
}
