//! What is wrong with factors or targets.

use thiserror::Error;

/// What can be wrong with LoRA factors or with the choice of layers.
#[derive(Debug, Error)]
pub enum AdapterError {
    #[error(
        "targets `{pattern}` is neither `all`, `attention`, `mlp` nor a regular expression: {reason}"
    )]
    BadPattern { pattern: String, reason: String },
    #[error("targets `{pattern}` fits none of the model's linear layers, which are {}", names.join(", "))]
    NothingMatches { pattern: String, names: Vec<String> },
    #[error("factor {factor} of layer `{layer}` has shape {found:?}, expected {expected:?}")]
    Shape {
        layer: String,
        factor: &'static str,
        found: Vec<i64>,
        expected: Vec<i64>,
    },
    #[error("factor {factor} of layer `{layer}` holds a value that is not finite")]
    NotFinite { layer: String, factor: &'static str },
    #[error("the scale of layer `{layer}` is {scale}, expected a finite number")]
    Scale { layer: String, scale: f64 },
    #[error("layer `{layer}` takes no factors: {reason}")]
    NoFactors { layer: String, reason: &'static str },
    #[error("layer `{layer}`: {source}")]
    Torch {
        layer: String,
        source: tch::TchError,
    },
}
