//! Norms of what a run has learned, logged with each evaluation of the validation split.

use serde::{Deserialize, Serialize};

/// The state of a run after `step` steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diagnostics {
    pub step: usize,
    pub epoch: usize,
    /// Tokens that were trained on so far.
    pub tokens: u64,
    /// Multiply-adds of the linear layers for them, forward and backward.
    pub multiply_adds: u64,
    /// Over all layers: the root of the sum of squares of Frobenius norms, the largest of spectral norms.
    pub total: Norms,
    /// Those layers that learn, in the model's order.
    pub layers: Vec<LayerNorms>,
}

/// Norms of one linear layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerNorms {
    /// Hugging Face's module path.
    pub name: String,
    #[serde(flatten)]
    pub norms: Norms,
}

/// Norms of matrices of a layer, y = Wx + s B A x. Absent are those that do not exist: LoRA's under full fine-tuning,
/// those of the last step before the first.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Norms {
    /// Frobenius norm of what was learned: s B A (less what it was at the start, where the init scheme compensated), or
    /// W - W0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<f64>,
    /// The same over the Frobenius norm of W0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relative_change: Option<f64>,
    /// Largest singular values of A, of B and of B A.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spectral_a: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spectral_b: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spectral_ba: Option<f64>,
    /// Frobenius norms over the layer's trained parameters: the gradient that the last step was made with, and what that
    /// step changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradient: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<f64>,
}
