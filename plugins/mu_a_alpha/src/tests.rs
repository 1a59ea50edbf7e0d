//! Scale and learning rates that the policy gives.

use lorahost_plugin_api::testing::{self, json, layer};

use super::*;

#[test]
fn what_the_scale_leaves_of_the_rank_the_learning_rates_take() -> Result<()> {
    for (parameters, rank, s, lr) in [
        (json!({}), 64, 0.5, 1.0),
        (json!({ "alpha": 1.0, "g": 0.0 }), 64, 1.0, 0.5),
        (json!({ "alpha": 1.0, "g": 0.0 }), 4, 1.0, 2.0),
        (json!({ "alpha": 8.0, "g": 0.5 }), 256, 0.5, 0.5),
        (json!({ "alpha": 1.0, "g": 0.0, "r0": 1.0 }), 4, 1.0, 0.5),
    ] {
        let policy = testing::params::<MuA>(parameters)?;
        let expected = Scale {
            s,
            lr_a: lr,
            lr_b: lr,
        };
        assert_eq!(policy.scale(&layer(8, 8, rank))?, expected);
    }
    Ok(())
}
