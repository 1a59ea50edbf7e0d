//! Why a run ended early.

use std::path::PathBuf;

use thiserror::Error;

use crate::data::DataError;
use crate::model::ModelError;
use crate::plugins::PluginError;

use super::DeviceError;

/// An error that ends a run; a loss that is not finite is none.
#[derive(Debug, Error)]
pub enum TrainError {
    #[error(transparent)]
    Model(#[from] ModelError),

    #[error(transparent)]
    Data(#[from] DataError),

    #[error(transparent)]
    Plugin(#[from] PluginError),

    #[error(transparent)]
    Device(#[from] DeviceError),

    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),

    #[error(
        "the tokenizer has {tokens} entries, the model's embedding {embedding}: they do not belong \
         together"
    )]
    Vocabulary { tokens: usize, embedding: i64 },

    #[error("the adapter {} has changed since the experiment was planned", folder.display())]
    AdapterChanged { folder: PathBuf },

    #[error(
        "the adapter {} has LoRA on `{layer}` of the head: go on from it with --head-mode lora",
        folder.display()
    )]
    AdapterOnHead { folder: PathBuf, layer: String },

    #[error("the {split} split has no rows")]
    NoRows { split: &'static str },

    #[error("nothing is trained: every parameter is frozen")]
    NothingToTrain,
}
