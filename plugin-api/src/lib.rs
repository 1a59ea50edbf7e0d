//! All that a lorahost plugin needs: traits to implement, tensors to compute with, one macro to export.
//!
//! A plugin is a crate of `crate-type = ["cdylib"]` whose only dependency is this one. It links no libtorch: tensors
//! are handles of the host, and every ATen operator is reached by its schema's name.
//!
//! ```
//! use lorahost_plugin_api::prelude::*;
//!
//! /// A uniform within 1/sqrt(fan_in), B zero.
//! #[derive(Params)]
//! struct Mine {
//!     /// Factor on the bound.
//!     #[param(default = 1.0, min = 0.0)]
//!     gain: f64,
//! }
//!
//! impl InitScheme for Mine {
//!     fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
//!         let bound = self.gain / (layer.fan_in as f64).sqrt();
//!         let a = (ctx.rand("A", [layer.rank, layer.fan_in])? * 2.0 - 1.0) * bound;
//!         let b = Tensor::zeros(&[layer.fan_out as i64, layer.rank as i64])?;
//!         Ok(Factors::new(a, b))
//!     }
//! }
//!
//! export_plugin! { init "mine" => Mine }
//! # fn main() {}
//! ```
//!
#![doc = include_str!("../docs/guide.md")]

// The derives write paths of this name, also into this crate.
extern crate self as lorahost_plugin_api;

#[expect(unsafe_code, reason = "pointers that come over the boundary")]
pub mod abi;
mod export;
pub mod manifest;
pub mod protocol;
pub mod sdk;
#[cfg(feature = "testing")]
pub mod testing;

#[doc(hidden)]
pub type Parameters = serde_json::Map<String, serde_json::Value>;

/// What an author imports.
pub mod prelude {
    pub use lorahost_plugin_derive::{Choice, Params};

    pub use crate::export_plugin;
    pub use crate::protocol::{
        DataKind, EvaluationPhase, Factor, HeadPlan, Layer, Metrics, ParameterInfo, Role, Sees,
        Task,
    };
    pub use crate::sdk::{
        AdamW, AlphaPolicy, Arg, Batch, Choice, Context, Error, Factors, Group, HeadContext,
        InitScheme, Inputs, Kind, Loss, Optimizer, Parameter, Params, Result, Scale, State,
        TaskHead, Tensor, cat, foreach, grad, inverse_gram, op, stack, with_gradients,
    };
}
