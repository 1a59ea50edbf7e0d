//! The scale that the policy gives.

use lorahost_plugin_api::testing::{self, json, layer};

use super::*;

#[test]
fn alpha_is_divided_by_the_rank() -> Result<()> {
    for (parameters, rank, expected) in [
        (json!({}), 16, 2.0),
        (json!({ "alpha": 256.0 }), 128, 2.0),
        (json!({ "alpha": 1 }), 4, 0.25),
    ] {
        let policy = testing::params::<Constant>(parameters)?;
        assert_eq!(policy.scale(&layer(8, 8, rank))?, Scale::from(expected));
    }
    Ok(())
}
