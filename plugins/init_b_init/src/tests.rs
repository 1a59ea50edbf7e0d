//! How B is distributed, on the fake host.

use lorahost_plugin_api::testing::{self, json, layer};

use super::*;

#[test]
fn b_is_normal_with_variance_one_over_the_rank() -> Result<()> {
    let (fan_out, rank) = (400, 64);
    for gain in [1.0, 0.5] {
        let scheme = testing::params::<InitB>(json!({ "gain": gain }))?;
        let factors = testing::init(&scheme, &layer(fan_out, 6, rank), 1)?;
        assert_eq!(factors.a().abs()?.max()?.item()?, 0.0);
        let variance = factors.b().square()?.mean()?.item()?;
        // Four standard errors of 25,600 draws.
        let expected = gain * gain / rank as f64;
        assert!((variance / expected - 1.0).abs() < 0.036, "{variance}");
        assert!(factors.b().mean()?.item()?.abs() < 4.0 * expected.sqrt() / 160.0);
        assert!(!factors.compensates() && factors.frozen().is_none());
    }
    Ok(())
}
