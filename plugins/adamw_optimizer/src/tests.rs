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
