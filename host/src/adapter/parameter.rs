//! What training sees of a tensor that can learn.

pub use lorahost_plugin_api::protocol::Role;
use tch::Tensor;

/// A tensor that is trained, and what an optimizer may want to know of it.
#[derive(Debug)]
pub struct Parameter {
    /// Hugging Face's module path with `.weight`, `.bias`, `.lora_A.weight` or `.lora_B.weight`.
    pub name: String,
    pub role: Role,
    /// The same number for A and B of one layer, and for no others.
    pub pair: Option<usize>,
    /// The s of y = Wx + sBAx for A and B, 1 for all else.
    pub scale: f64,
    /// The leaf itself, not a copy: an update in place is an update of the model.
    pub tensor: Tensor,
    /// Whether weight decay applies.
    pub decay: bool,
}
