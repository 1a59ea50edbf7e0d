//! What the factors are of the weight, on the fake host.

use lorahost_plugin_api::testing::{self, json, layer};

use super::*;

#[test]
fn what_is_left_has_the_largest_singular_values() -> Result<()> {
    let weight = testing::fresh_call(5, "weight")?.randn("W", [9, 12])?;
    let (_, all, _) = weight.svd()?;
    let layer = Layer {
        scale: 2.0,
        ..layer(9, 12, 4)
    };
    let scheme = testing::params::<Milora>(json!({}))?;
    let factors = testing::init_on(&scheme, &layer, &weight, 1)?;
    assert!(factors.compensates());
    let (_, left, _) = (&weight - factors.b().matmul(factors.a())? * layer.scale).svd()?;
    let off = left.narrow(0, 0, 5)? - all.narrow(0, 0, 5)?;
    assert!(off.abs()?.max()?.item()? < 1e-12);
    assert!(left.narrow(0, 5, 4)?.max()?.item()? < 1e-12);
    Ok(())
}
