//! Against `torch.optim.AdamW` with a group for B: `scripts/references/optimizers.py` made the numbers.

use lorahost_plugin_api::testing::follow;

use super::*;

#[test]
fn b_is_a_group_of_its_own_rate() -> Result<()> {
    follow::<LoraPlus>(include_str!("../tests/lora_plus.json"), 1e-12)
}
