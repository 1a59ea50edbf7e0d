//! Adapters in the files of Hugging Face's PEFT: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! Written adapters are plain LoRA whatever made them: any s as a float `lora_alpha`, an explicit list of modules, no
//! name of an init scheme that would change the base weights once more on loading. What is read may have ranks and
//! scales by pattern, `use_rslora` and `modules_to_save`; what changes the result and is not served (`DoRA`, biases, other
//! kinds of adapters) is refused by its name.

mod config;
mod content;
mod error;
mod patterns;
mod read;
mod write;

pub use config::AdapterConfig;
pub use content::{PeftContent, PeftLayer};
pub use error::PeftError;
pub use read::{PeftFolder, is_peft_folder};
pub use write::{About, adapter_config};

/// What an adapter is.
pub const CONFIG_FILE: &str = "adapter_config.json";
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";
/// What stands before every module path in the weights.
pub const PREFIX: &str = "base_model.model.";

/// PEFT's `task_type` and the layout of the model's head that it means.
pub const TASKS: [(&str, &str); 3] = [
    ("SEQ_CLS", "pooled"),
    ("TOKEN_CLS", "tokens"),
    ("CAUSAL_LM", "causal"),
];
