//! Why nothing was evaluated.

use std::path::PathBuf;

use thiserror::Error;

use crate::data::DataError;
use crate::export::ExportError;
use crate::hub::HubError;
use crate::model::ModelError;
use crate::spec::SpecError;
use crate::sweep::PrepareError;
use crate::train::TrainError;
use crate::trained::TrainedError;

/// What can go wrong between something trained and its metrics.
#[derive(Debug, Error)]
pub enum EvalError {
    #[error(transparent)]
    Trained(#[from] TrainedError),
    #[error(transparent)]
    Train(#[from] TrainError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Hub(#[from] HubError),
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    Tokenizer(#[from] PrepareError),
    #[error(transparent)]
    Export(#[from] ExportError),
    #[error("the data has no {split} rows: --split takes train, validation or test")]
    NoRows { split: &'static str },
    #[error("{path} does not say what data it was made for: name it with --data")]
    NoData { path: String },
    #[error(
        "the data has labels that the model does not know: {}; it knows {}",
        unknown.join(", "),
        known.join(", ")
    )]
    Labels {
        unknown: Vec<String>,
        known: Vec<String>,
    },
    #[error(
        "{path} has no weights for `{layer}` of the head: it was saved with another head, or with none; --head names the \
         one that it has"
    )]
    NoHead { path: String, layer: String },
    #[error(
        "the task head {head} is in no plugin that is found here: name its file with --plugin, or put that into a \
         folder of LORAHOST_PLUGIN_PATH"
    )]
    NoPlugin { head: String },
    #[error(
        "--split {split} beside {}: one file is measured as a whole; leave --split out, or name the folder of a data \
         set",
        file.display()
    )]
    SplitOfFile { split: &'static str, file: PathBuf },
    #[error("the head {head} gives scores of words, of which no predictions are written")]
    NoPredictions { head: String },
    #[error(
        "the head {head} applied `{layer}` to {found} rows of numbers, expected {expected}: its predictions cannot be told \
         apart"
    )]
    Outputs {
        head: String,
        layer: String,
        found: i64,
        expected: i64,
    },
    #[error("{}: predictions are written as .jsonl or .csv", path.display())]
    Form { path: PathBuf },
    #[error("cannot write {}: {reason}", path.display())]
    Write { path: PathBuf, reason: String },
}

impl EvalError {
    /// Whether it is the machine or the program that failed, and not what was given.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        match self {
            Self::Trained(error) => error.is_failure(),
            Self::Hub(error) => error.is_failure(),
            Self::Train(TrainError::Model(error)) => error.is_failure(),
            Self::Write { .. } | Self::Outputs { .. } | Self::Train(TrainError::Torch(_)) => true,
            _ => false,
        }
    }
}

impl From<tch::TchError> for EvalError {
    fn from(error: tch::TchError) -> Self {
        TrainError::from(error).into()
    }
}

impl From<ModelError> for EvalError {
    fn from(error: ModelError) -> Self {
        TrainError::from(error).into()
    }
}
