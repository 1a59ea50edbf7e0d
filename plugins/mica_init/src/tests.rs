//! What B is of the weight, on the fake host.

use lorahost_plugin_api::testing::{self, json, layer};

use super::*;

#[test]
fn b_sees_the_smallest_singular_values_and_is_frozen() -> Result<()> {
    let weight = testing::fresh_call(5, "weight")?.randn("W", [12, 9])?;
    let (_, s, _) = weight.svd()?;
    let scheme = testing::params::<Mica>(json!({}))?;
    let factors = testing::init_on(&scheme, &layer(12, 9, 4), &weight, 1)?;
    assert_eq!(factors.frozen(), Some(Factor::B));
    assert!(!factors.compensates());
    assert_eq!(factors.a().abs()?.max()?.item()?, 0.0);
    // B' W has the last four singular values.
    let (_, seen, _) = factors.b().t()?.matmul(&weight)?.svd()?;
    assert!((seen - s.narrow(0, 5, 4)?).abs()?.max()?.item()? < 1e-12);
    Ok(())
}
