//! Against `torch.optim.SGD`: `scripts/references/optimizers.py` made the numbers.

use lorahost_plugin_api::testing::{self, Descent, json, live_handles, parameter, tensor};
use serde_json::Value;

use super::*;

fn reference() -> Value {
    serde_json::from_str(include_str!("../tests/sgd.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|value| value.as_f64().unwrap())
        .collect()
}

/// The parameters of the reference, where they start.
fn group(reference: &Value) -> Result<Vec<(ParameterInfo, Tensor)>> {
    let parameters = reference["parameters"].as_array().unwrap().iter();
    let group = parameters.map(|entry| {
        let name = entry["name"].as_str().unwrap();
        let info = ParameterInfo {
            lr: entry["lr"].as_f64().unwrap(),
            decay: entry["decay"].as_bool().unwrap(),
            ..parameter(name, Role::Base)
        };
        let shape: Vec<_> = entry["shape"]
            .as_array()
            .unwrap()
            .iter()
            .map(|size| size.as_i64().unwrap())
            .collect();
        Ok((info, tensor(&numbers(&reference["start"][name]), &shape)?))
    });
    group.collect()
}

/// Takes the steps `from..` of the reference, and compares after each.
fn follow(descent: &mut Descent<Sgd>, reference: &Value, case: &Value, from: usize) -> Result<()> {
    let names = ["w", "v", "n"];
    let steps = reference["grads"]
        .as_array()
        .unwrap()
        .iter()
        .zip(case["after"].as_array().unwrap());
    for (step, (grads, after)) in steps.enumerate().skip(from) {
        let shapes = descent
            .values()
            .iter()
            .map(Tensor::shape)
            .collect::<Result<Vec<_>>>()?;
        let grads = names
            .iter()
            .zip(&shapes)
            .map(|(name, shape)| match &grads[*name] {
                Value::Null => Ok(None),
                grad => tensor(&numbers(grad), shape).map(Some),
            });
        let grads = grads.collect::<Result<Vec<_>>>()?;
        let grads: Vec<_> = grads.iter().map(Option::as_ref).collect();
        descent.step(&grads, reference["lr"].as_f64().unwrap())?;
        for (name, value) in names.iter().zip(descent.values()) {
            for (found, expected) in value.to_f64()?.iter().zip(numbers(&after[*name])) {
                assert!(
                    (found - expected).abs() < 1e-12,
                    "{}: {name} after {step}: {found}, not {expected}",
                    case["options"]
                );
            }
        }
    }
    Ok(())
}

#[test]
fn steps_are_those_of_pytorch() -> Result<()> {
    let reference = reference();
    for case in reference["cases"].as_array().unwrap() {
        let sgd = testing::params::<Sgd>(case["options"].clone())?;
        follow(
            &mut Descent::new(sgd, group(&reference)?)?,
            &reference,
            case,
            0,
        )?;
    }
    Ok(())
}

#[test]
fn a_loaded_state_goes_on_as_if_nothing_had_happened() -> Result<()> {
    let reference = reference();
    let case = &reference["cases"][4];
    let sgd = || testing::params::<Sgd>(case["options"].clone());
    let mut short = reference.clone();
    short["grads"].as_array_mut().unwrap().truncate(2);
    let mut first = Descent::new(sgd()?, group(&reference)?)?;
    follow(&mut first, &short, case, 0)?;

    let values = first
        .values()
        .iter()
        .map(Tensor::copy)
        .collect::<Result<Vec<_>>>()?;
    let infos = group(&reference)?.into_iter().map(|(info, _)| info);
    let mut second = Descent::new(sgd()?, infos.zip(values).collect())?;
    second.load(first.state()?, 2)?;
    follow(&mut second, &reference, case, 2)
}

#[test]
fn nesterov_without_momentum_is_refused() -> Result<()> {
    let sgd = testing::params::<Sgd>(json!({ "nesterov": true }))?;
    let error = Descent::new(sgd, Vec::new())
        .err()
        .map(|error| error.to_string());
    let expected = "nesterov needs a momentum (set momentum above 0, such as 0.9)";
    assert_eq!(error.as_deref(), Some(expected));
    Ok(())
}

#[test]
fn it_descends_and_leaks_nothing() -> Result<()> {
    let before = live_handles();
    {
        let sgd = testing::params::<Sgd>(json!({ "momentum": 0.5 }))?;
        let group = vec![(parameter("w", Role::Base), tensor(&[3.0, -4.0], &[2])?)];
        let mut descent = Descent::new(sgd, group)?;
        descent.quadratic(1, 0.1)?;
        let held = live_handles();
        descent.quadratic(200, 0.1)?;
        assert_eq!(live_handles(), held, "a step keeps nothing new");
        assert!(descent.values()[0].norm()?.item()? < 1e-9);
    }
    assert_eq!(live_handles(), before);
    Ok(())
}
