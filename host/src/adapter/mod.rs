//! LoRA on linear layers: the layer itself, which layers are chosen, what training sees of them, and PEFT's files.

mod error;
mod linear;
mod lowered;
mod observer;
mod parameter;
pub mod peft;
mod targets;

pub use error::AdapterError;
pub use linear::{Factors, Linear, ModuleKind};
pub use observer::{Observer, observed};
pub use parameter::{Parameter, Role};
pub use targets::{LayerInfo, Targets};
