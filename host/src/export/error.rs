//! Why nothing was exported.

use std::path::PathBuf;

use thiserror::Error;

use crate::model::ModelError;
use crate::trained::TrainedError;

/// What can go wrong between a run and its files for others. Nothing was written.
#[derive(Debug, Error)]
pub enum ExportError {
    #[error(transparent)]
    Trained(#[from] TrainedError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(
        "{path} is a model and no run: export takes the folder of a run that kept its weights, DIR/runs/ID"
    )]
    NotARun { path: String },
    #[error(
        "{path} is no PEFT adapter, a folder with adapter_config.json and adapter_model.safetensors"
    )]
    NotAnAdapter { path: String },
    #[error("the run {} was full fine-tuning, which has no adapter: use --full", folder.display())]
    FullFineTuning { folder: PathBuf },
    #[error("the run {} was LoRA: use --merged for its whole model", folder.display())]
    NotFullFineTuning { folder: PathBuf },
    #[error(
        "the run {} kept its model with the adapter merged: train it with `--save adapter`, or use --merged",
        folder.display()
    )]
    KeptMerged { folder: PathBuf },
    #[error(
        "the run {} was kept by an older lorahost, which did not note the head: train it once more with `--save adapter`",
        folder.display()
    )]
    NoHead { folder: PathBuf },
    #[error(
        "the run {} trained an adapter on weights that were drawn at random, which nobody else has: use --merged",
        folder.display()
    )]
    RandomBase { folder: PathBuf },
    #[error("vLLM would not serve this adapter: {}", problems.join("; "))]
    NotForVllm { problems: Vec<String> },
    #[error("{} cannot be used: {reason}", path.display())]
    Provenance { path: PathBuf, reason: String },
    #[error("{} is there already: export makes a new folder", folder.display())]
    Exists { folder: PathBuf },
    #[error("cannot write {}: {source}", folder.display())]
    Write {
        folder: PathBuf,
        source: std::io::Error,
    },
}

impl ExportError {
    /// Whether it is the machine or the program that failed, and not what was given.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        match self {
            Self::Trained(error) => error.is_failure(),
            Self::Model(error) => error.is_failure(),
            Self::Write { .. } => true,
            _ => false,
        }
    }
}
