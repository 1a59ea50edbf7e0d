//! Against `torch.optim.AdamW`: `scripts/references/optimizers.py` made the numbers.

use lorahost_plugin_api::testing::{Descent, follow, json, parameter, params, tensor};

use super::*;

#[test]
fn steps_are_those_of_pytorch() -> Result<()> {
    follow::<AdamW>(include_str!("../tests/adamw.json"), 1e-12)
}

#[test]
fn state_has_three_tensors_a_parameter_and_loads_again() -> Result<()> {
    let group = vec![
        (parameter("w", Role::Base), tensor(&[1.0, 2.0], &[2])?),
        (parameter("b", Role::Bias), tensor(&[3.0], &[1])?),
    ];
    let mut descent = Descent::new(params::<AdamW>(json!({}))?, group)?;
    let state = descent.state()?;
    let names: Vec<_> = state.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "w.mean", "w.square", "w.steps", "b.mean", "b.square", "b.steps"
        ]
    );
    assert_eq!(state[0].1.shape()?, [2]);
    assert_eq!(state[2].1.shape()?, [0; 0]);
    descent.load(state, 3)?;
    let error = descent.load(Vec::new(), 3).expect_err("nothing to load");
    assert_eq!(error.to_string(), "the saved state has no `w.mean`");
    Ok(())
}

#[test]
fn a_parameter_that_had_no_gradient_is_a_step_younger() -> Result<()> {
    let gradient = tensor(&[0.5, -2.0], &[2])?;
    let start = |name: &str| Ok((parameter(name, Role::Base), tensor(&[1.0, 2.0], &[2])?));
    let descend = |names: &[&str], steps: &[&[bool]]| {
        let group = names
            .iter()
            .map(|name| start(name))
            .collect::<Result<_>>()?;
        let mut descent = Descent::new(params::<AdamW>(json!({}))?, group)?;
        for has_gradient in steps {
            let grads = has_gradient.iter().map(|has| has.then_some(&gradient));
            descent.step(&grads.collect::<Vec<_>>(), 0.1)?;
        }
        let state = descent.state()?;
        let state = state.iter().map(|(_, tensor)| tensor);
        let numbers = descent.values().iter().chain(state).map(Tensor::to_f64);
        numbers.collect::<Result<Vec<_>>>()
    };
    let together = descend(
        &["w", "late"],
        &[&[true, false], &[true, true], &[true, true]],
    )?;
    let old = descend(&["w"], &[&[true], &[true], &[true]])?;
    let young = descend(&["late"], &[&[true], &[true]])?;
    let [w, late, state @ ..] = together.as_slice() else {
        panic!("two parameters and their state");
    };
    assert_ne!(w, late);
    assert_eq!((w, &state[..3]), (&old[0], &old[1..]));
    assert_eq!((late, &state[3..]), (&young[0], &young[1..]));
    Ok(())
}
