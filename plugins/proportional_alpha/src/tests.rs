//! The scale that the policy gives.

use lorahost_plugin_api::testing::{self, json, layer};

use super::*;

#[test]
fn the_scale_is_the_same_at_every_rank() -> Result<()> {
    for rank in [1, 16, 128] {
        let scale =
            |parameters| testing::params::<Proportional>(parameters)?.scale(&layer(8, 8, rank));
        assert_eq!(scale(json!({}))?, Scale::from(10.0));
        assert_eq!(scale(json!({ "k": 2.0 }))?, Scale::from(2.0));
    }
    Ok(())
}
