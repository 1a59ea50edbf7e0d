//! Against the formula in NumPy: `scripts/references/optimizers.py` made the numbers.

use lorahost_plugin_api::testing::{Descent, follow, json, parameter, params, tensor};

use super::*;

#[test]
fn steps_are_those_of_the_formula() -> Result<()> {
    follow::<LoraFa>(include_str!("../tests/lora_fa.json"), 1e-11)
}

#[test]
fn a_pair_of_which_one_is_frozen_is_refused() -> Result<()> {
    for (name, role) in [("layer.lora_A", Role::A), ("layer.lora_B", Role::B)] {
        let info = ParameterInfo {
            pair: Some(1),
            ..parameter(name, role)
        };
        let group = vec![(info, tensor(&[1.0; 4], &[2, 2])?)];
        let error = Descent::new(params::<LoraFa>(json!({}))?, group).err();
        let expected = format!(
            "{name} has no partner that learns: lora-fa needs A and B of a pair (choose an init scheme that freezes \
             neither factor)"
        );
        assert_eq!(error.map(|error| error.to_string()), Some(expected));
    }
    Ok(())
}

#[test]
fn a_scale_of_0_is_refused() -> Result<()> {
    let factor = |name, role| -> Result<_> {
        let info = ParameterInfo {
            pair: Some(1),
            scale: 0.0,
            ..parameter(name, role)
        };
        Ok((info, tensor(&[1.0, 2.0, 3.0, 5.0], &[2, 2])?))
    };
    let group = vec![factor("A", Role::A)?, factor("B", Role::B)?];
    let error = Descent::new(params::<LoraFa>(json!({}))?, group).err();
    let message = error.map(|error| error.to_string()).unwrap_or_default();
    assert!(message.starts_with("B has the scale 0"), "{message}");
    Ok(())
}
