//! The scale that the policy gives.

use lorahost_plugin_api::testing::{self, json, layer};

use super::*;

#[test]
fn alpha_is_divided_by_the_root_of_the_rank() -> Result<()> {
    for (parameters, rank, expected) in [
        (json!({}), 16, 8.0),
        (json!({ "alpha": 24.0 }), 64, 3.0),
        (json!({ "alpha": 1 }), 1, 1.0),
    ] {
        let policy = testing::params::<Rslora>(parameters)?;
        assert_eq!(policy.scale(&layer(8, 8, rank))?, Scale::from(expected));
    }
    Ok(())
}
