//! What the factors are of the weight, on the fake host.

use lorahost_plugin_api::testing::{self, json, layer};

use super::*;

#[test]
fn b_is_orthonormal_and_the_product_has_the_first_columns() -> Result<()> {
    let weight = testing::fresh_call(5, "weight")?.randn("W", [9, 12])?;
    let scheme = testing::params::<Olora>(json!({}))?;
    let factors = testing::init_on(&scheme, &layer(9, 12, 4), &weight, 1)?;
    assert!(factors.compensates());
    let gram = factors.b().t()?.matmul(factors.b())?;
    assert!((gram - Tensor::eye(4)?).abs()?.max()?.item()? < 1e-12);
    let product = factors.b().matmul(factors.a())?;
    let off = product.narrow(1, 0, 4)? - weight.narrow(1, 0, 4)?;
    assert!(off.abs()?.max()?.item()? < 1e-12);
    assert!(
        factors.a().diagonal()?.min()?.item()? > 0.0,
        "one choice of signs"
    );
    Ok(())
}
