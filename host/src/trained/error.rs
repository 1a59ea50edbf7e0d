//! Why something trained cannot be opened.

use std::path::PathBuf;

use thiserror::Error;

use crate::adapter::peft::PeftError;
use crate::hub::HubError;
use crate::model::ModelError;
use crate::record::RecordError;

/// What can go wrong between a path and a model with all that was learnt.
#[derive(Debug, Error)]
pub enum TrainedError {
    #[error(transparent)]
    Hub(#[from] HubError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Peft(#[from] PeftError),
    #[error("the run {} is not done: {why}", folder.display())]
    Unfinished { folder: PathBuf, why: String },
    #[error(
        "the run {} kept no weights: train it with `--save adapter` or `--save full`",
        folder.display()
    )]
    NothingSaved { folder: PathBuf },
    #[error("the run {} was trained on the model {model}, which cannot be opened: {source}", folder.display())]
    Base {
        folder: PathBuf,
        model: String,
        source: Box<ModelError>,
    },
    #[error(
        "the run {} was trained on the model {model} with the sha256 {expected}, and that of what lies there now is \
         {found}: its adapter belongs to the former",
        folder.display()
    )]
    OtherBase {
        folder: PathBuf,
        model: String,
        expected: Box<str>,
        found: Box<str>,
    },
    #[error(
        "the adapter {} does not say which model it is for: name it with --model",
        folder.display()
    )]
    NoBase { folder: PathBuf },
    #[error("the adapter {} is for the model {model}, which cannot be opened: {reason}; --model names another place", folder.display())]
    AdapterBase {
        folder: PathBuf,
        model: String,
        reason: String,
    },
    #[error("{path} is no PEFT adapter: --model is for those alone")]
    NoUseForBase { path: String },
}

impl TrainedError {
    /// Whether it is the machine or the program that failed, and not what was given.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        match self {
            Self::Hub(error) => error.is_failure(),
            Self::Model(error) => error.is_failure(),
            Self::Record(RecordError::Io { .. }) => true,
            _ => false,
        }
    }
}
