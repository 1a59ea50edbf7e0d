//! Elementwise functions between linear layers.

pub use lorahost_plugin_api::protocol::Activation;
use tch::{TchError, Tensor};

use crate::adapter::Linear;
use crate::dropout::Pass;
use crate::native::linear::First;

/// Names in Hugging Face's `config.json`.
const NAMES: &[(&str, Activation)] = &[
    ("gelu", Activation::Gelu),
    ("gelu_new", Activation::GeluTanh),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("relu", Activation::Relu),
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
    ("tanh", Activation::Tanh),
];

/// The activation that `config.json` calls `name`.
#[must_use]
pub fn named(name: &str) -> Option<Activation> {
    NAMES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, activation)| *activation)
}

/// All names that [`named`] knows.
#[must_use]
pub fn names() -> Vec<&'static str> {
    NAMES.iter().map(|(name, _)| *name).collect()
}

/// # Errors
/// What libtorch reports.
pub fn apply(activation: Activation, x: &Tensor) -> Result<Tensor, TchError> {
    match activation {
        Activation::Gelu => x.f_gelu("none"),
        Activation::GeluTanh => x.f_gelu("tanh"),
        Activation::Relu => x.f_relu(),
        Activation::Silu => x.f_silu(),
        Activation::Tanh => x.f_tanh(),
        Activation::Other => Err(TchError::Convert("an activation without a name".to_owned())),
    }
}

/// What `linear` makes of the activation of `x`.
///
/// # Errors
/// What libtorch reports.
pub fn then(
    activation: Activation,
    x: &Tensor,
    linear: &Linear,
    pass: &Pass,
) -> Result<Tensor, TchError> {
    match activation {
        Activation::Gelu => linear.after(First::Gelu, x, pass),
        Activation::GeluTanh => linear.after(First::GeluTanh, x, pass),
        other => linear.forward(&apply(other, x)?, pass),
    }
}
