//! Against `torch.optim.Adafactor`: `scripts/references/optimizers.py` made the numbers.

use lorahost_plugin_api::testing::{Descent, follow, json, parameter, params, tensor};

use super::*;

#[test]
fn steps_are_those_of_pytorch() -> Result<()> {
    follow::<Adafactor>(include_str!("../tests/adafactor.json"), 1e-12)
}

#[test]
fn a_gradient_that_is_not_finite_shows_in_the_parameter() -> Result<()> {
    let start = tensor(&[1.0; 4], &[2, 2])?;
    let group = vec![(parameter("w", Role::Base), start)];
    let mut descent = Descent::new(params::<Adafactor>(json!({}))?, group)?;
    descent.step(&[Some(&tensor(&[1.0, f64::NAN, 0.0, 2.0], &[2, 2])?)], 0.1)?;
    assert!(descent.values()[0].norm()?.item()?.is_nan());
    Ok(())
}
