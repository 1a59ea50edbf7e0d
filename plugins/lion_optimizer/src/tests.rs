//! Against its author's package `lion-pytorch`: `scripts/references/optimizers.py` made the numbers.

use lorahost_plugin_api::testing::{Descent, follow, json, parameter, params, tensor};

use super::*;

#[test]
fn steps_are_those_of_lion_pytorch() -> Result<()> {
    follow::<Lion>(include_str!("../tests/lion.json"), 1e-12)
}

#[test]
fn a_gradient_that_is_not_finite_shows_in_the_parameter() -> Result<()> {
    for wrong in [f64::NAN, f64::INFINITY] {
        let group = vec![(parameter("w", Role::Base), tensor(&[1.0, 2.0], &[2])?)];
        let mut descent = Descent::new(params::<Lion>(json!({}))?, group)?;
        descent.step(&[Some(&tensor(&[wrong, 1.0], &[2])?)], 0.1)?;
        let values = descent.values()[0].to_f64()?;
        assert!(values[0].is_nan(), "{values:?}");
        assert_eq!(values[1], 1.9);
    }
    Ok(())
}
