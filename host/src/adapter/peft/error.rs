//! What is wrong with an adapter's files.

use std::path::PathBuf;

use thiserror::Error;

/// What can go wrong between PEFT's files and LoRA on a model.
#[derive(Debug, Error)]
pub enum PeftError {
    #[error("cannot read {}: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{} has no {name}: a PEFT adapter is a folder with adapter_config.json and adapter_model.safetensors", folder.display())]
    Missing { folder: PathBuf, name: &'static str },
    #[error(
        "{} has {found} and no adapter_model.safetensors: only the safetensors format is read, never pickle, which can \
         run code; open the adapter with PEFT and write it again with `save_pretrained`",
        folder.display()
    )]
    Pickle { folder: PathBuf, found: String },
    #[error("{}: not JSON: {source}", path.display())]
    NotJson {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("{}: `{key}` is {found}, expected {expected}", path.display())]
    Value {
        path: PathBuf,
        key: String,
        found: String,
        expected: String,
    },
    #[error("{} is not served: {}", path.display(), what.join("; "))]
    Unsupported { path: PathBuf, what: Vec<String> },
    /// The reason names the file.
    #[error("{reason}")]
    Weights { reason: String },
    #[error("{} does not fit: {}", path.display(), problems.join("; "))]
    Misfit {
        path: PathBuf,
        problems: Vec<String>,
    },
}
