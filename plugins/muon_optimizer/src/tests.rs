//! Against `torch.optim.Muon` without its rounding to bfloat16, and `torch.optim.AdamW`: `scripts/references/optimizers.py` made the numbers.

use lorahost_plugin_api::testing::{follow, fresh_call};

use super::*;

#[test]
fn steps_are_those_of_pytorch() -> Result<()> {
    follow::<Muon>(include_str!("../tests/muon.json"), 1e-10)
}

#[test]
fn singular_values_come_near_1_and_zero_stays_zero() -> Result<()> {
    let matrix = fresh_call(1, "draw")?.randn("G", [12, 5])?;
    for matrix in [matrix.try_clone()?, matrix.t()?] {
        let (_, found, _) = matrix.orthogonalize(ITERATIONS, COEFFICIENTS)?.svd()?;
        for value in found.to_f64()? {
            assert!((0.65..1.25).contains(&value), "{value}");
        }
    }
    let zero = matrix
        .zeros_like()?
        .orthogonalize(ITERATIONS, COEFFICIENTS)?;
    assert_eq!(zero.to_f64()?, [0.0; 60]);
    Ok(())
}
