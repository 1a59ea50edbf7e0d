//! The scale that the policy gives.

use lorahost_plugin_api::testing::{self, json, layer};

use super::*;

#[test]
fn alpha_is_divided_by_a_power_of_the_rank() -> Result<()> {
    for (parameters, rank, expected) in [
        (json!({}), 16, 2.0),
        (json!({ "p": 0.5 }), 64, 4.0),
        (json!({ "alpha": 3.0, "p": 0 }), 64, 3.0),
        (json!({ "alpha": 1.0, "p": -0.5 }), 4, 2.0),
        (json!({ "alpha": 1.0, "p": 0.75 }), 16, 0.125),
    ] {
        let policy = testing::params::<Power>(parameters)?;
        assert_eq!(policy.scale(&layer(8, 8, rank))?, Scale::from(expected));
    }
    Ok(())
}
