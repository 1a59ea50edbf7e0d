//! AdamW (arXiv 1711.05101), as `torch.optim.AdamW`: the API has it, because other optimizers end in it.

use lorahost_plugin_api::prelude::*;

export_plugin! { optimizer "adamw" => AdamW }

#[cfg(test)]
mod tests;
