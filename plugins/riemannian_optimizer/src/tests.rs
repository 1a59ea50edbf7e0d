//! Against PEFT's preconditioner and `torch.optim.AdamW`: `scripts/references/optimizers.py` made the numbers.

use lorahost_plugin_api::testing::{Descent, follow, json, parameter, params, tensor};

use super::*;

#[test]
fn steps_are_those_of_peft() -> Result<()> {
    follow::<Riemannian>(include_str!("../tests/riemannian.json"), 1e-12)
}

#[test]
fn a_factor_whose_partner_is_frozen_takes_its_own_gradient() -> Result<()> {
    let mut ends = Vec::new();
    for pair in [None, Some(1)] {
        let info = ParameterInfo {
            pair,
            ..parameter("layer.lora_B", Role::B)
        };
        let start = tensor(&[1.0, -2.0, 3.0, 0.5], &[2, 2])?;
        let mut descent = Descent::new(params::<Riemannian>(json!({}))?, vec![(info, start)])?;
        descent.quadratic(3, 0.1)?;
        ends.push(descent.values()[0].to_f64()?);
    }
    assert_eq!(ends[0], ends[1]);
    Ok(())
}
