//! Against the authors' package `prodigyopt`: `scripts/references/optimizers.py` made the numbers.

use lorahost_plugin_api::testing::{Descent, follow, json, parameter, params, tensor};

use super::*;

#[test]
fn steps_are_those_of_prodigyopt() -> Result<()> {
    follow::<Prodigy>(include_str!("../tests/prodigy.json"), 1e-12)
}

#[test]
fn factors_on_learning_rates_are_refused() -> Result<()> {
    let info = ParameterInfo {
        lr: 4.0,
        ..parameter("layer.lora_B", Role::B)
    };
    let group = vec![(info, tensor(&[1.0], &[1])?)];
    let error = Descent::new(params::<Prodigy>(json!({}))?, group).err();
    let expected = "prodigy finds one learning rate for all parameters, and that of layer.lora_B has the factor 4 (leave \
                    the factors on the learning rates of A and B at 1)";
    assert_eq!(
        error.map(|error| error.to_string()).as_deref(),
        Some(expected)
    );
    Ok(())
}

#[test]
fn a_step_without_any_gradient_moves_nothing() -> Result<()> {
    let group = vec![(parameter("w", Role::Base), tensor(&[0.5, 2.0], &[2])?)];
    let mut descent = Descent::new(params::<Prodigy>(json!({}))?, group)?;
    let zero = tensor(&[0.0; 2], &[2])?;
    descent.step(&[Some(&zero)], 1.0)?;
    assert_eq!(descent.values()[0].to_f64()?, [0.5, 2.0]);
    Ok(())
}
