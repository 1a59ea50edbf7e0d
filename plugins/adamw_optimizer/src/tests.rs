//! The fused operator exists in the real host only, where the steps are compared with `torch.optim.AdamW`.

use lorahost_plugin_api::testing::{self, Descent, json, parameter, tensor};

use super::*;

fn descent() -> Result<Descent<AdamW>> {
    let group = vec![
        (parameter("w", Role::Base), tensor(&[1.0, 2.0], &[2])?),
        (parameter("b", Role::Bias), tensor(&[3.0], &[1])?),
    ];
    Descent::new(testing::params::<AdamW>(json!({}))?, group)
}

#[test]
fn the_fake_host_says_where_to_test_a_step() -> Result<()> {
    let error = descent()?
        .quadratic(1, 0.1)
        .expect_err("there is no such operator");
    let message = error.to_string();
    assert!(message.contains("aten::_fused_adamw_"), "{message}");
    assert!(message.contains("lorahost plugin check"), "{message}");
    Ok(())
}

#[test]
fn state_has_three_tensors_a_parameter_and_loads_again() -> Result<()> {
    let mut descent = descent()?;
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
