//! Why no text is written.

use thiserror::Error;

use crate::data::DataError;
use crate::model::ModelError;
use crate::sweep::PrepareError;
use crate::trained::TrainedError;

/// What can go wrong between a model or a run and its text.
#[derive(Debug, Error)]
pub enum GenerateError {
    #[error(transparent)]
    Trained(#[from] TrainedError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Tokenizer(#[from] PrepareError),
    #[error("{path} is a `{architecture}`, which reads text and writes none: give a decoder, one of {}", known.join(", "))]
    NotADecoder {
        path: String,
        architecture: String,
        known: Vec<&'static str>,
    },
    #[error(
        "{path} has no weights that score the next token (`{layer}`): it was saved with another head"
    )]
    NoScores { path: String, layer: String },
    #[error("{origin}: `eos_token_id` is {found}, expected a token id or a list of them")]
    EndOfText { origin: String, found: String },
    #[error("the prompt is empty")]
    EmptyPrompt,
    #[error("the prompt has {tokens} tokens, and the model {positions} positions")]
    LongPrompt { tokens: usize, positions: i64 },
    #[error("the model's scores of the next token are not finite: its weights have diverged")]
    NotFinite,
}

impl GenerateError {
    /// Whether it is the machine or the program that failed, and not what was given.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        match self {
            Self::Trained(error) => error.is_failure(),
            Self::Model(error) => error.is_failure(),
            _ => false,
        }
    }
}

impl From<tch::TchError> for GenerateError {
    fn from(error: tch::TchError) -> Self {
        Self::Model(error.into())
    }
}
