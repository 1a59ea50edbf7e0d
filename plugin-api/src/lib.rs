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
//! # Lifecycle
//! The host reads the manifest without running the plugin, checks the user's parameters against it, and creates the
//! component; no tensors exist yet. It then calls the methods of the component's kind on the training thread, one at a
//! time, and drops it.
//!
//! | kind | trait | methods, in order |
//! |---|---|---|
//! | `init` | [`InitScheme`](sdk::InitScheme) | `ranks` once if it requires [`RANKS`](abi::RANKS), then `init` once a layer |
//! | `alpha` | [`AlphaPolicy`](sdk::AlphaPolicy) | `scale` once a layer |
//! | `optimizer` | [`Optimizer`](sdk::Optimizer) | `prepare`, then `load` in a run that goes on, then `step` and `evaluation` many times, `state` at checkpoints |
//! | `head` | [`TaskHead`](sdk::TaskHead) | `plan`, then `inputs` and `forward` a batch; in an evaluation `reset`, `forward` and `observe` a batch, `metrics` |
//!
//! Gradients are recorded in a head's `forward` alone. There [`grad`](sdk::grad) and
//! [`with_gradients`](sdk::with_gradients) take and give them by hand, and
//! [`HeadContext::sum_in_chunks`](sdk::HeadContext::sum_in_chunks) computes a large loss some rows at a time; both need
//! [`abi::AUTOGRAD`]. What a component cannot do without beyond tensors stands in its
//! `REQUIRES`, so that a host without it says so before the run.
//!
//! # Parameters and state
//! A field with `#[param(default = .., min = .., max = ..)]` is a parameter: `f64`, `i64`, `u64`, `usize`, `bool`,
//! `String`, or an enum with `#[derive(Choice)]`; its comment is what users read. A field with `#[param(skip)]` is state
//! and starts from `Default`; one with `#[param(flatten)]` brings the parameters of its own type, such as
//! [`AdamW`](sdk::AdamW) for an optimizer that ends in it. Tensors may be kept from call to call; what an optimizer keeps,
//! `state` and `load` carry over an interruption.
//!
//! # What an init scheme may ask for
//! Each is an extension of the host that `REQUIRES` names: [`WEIGHT`](abi::WEIGHT) for
//! [`Context::weight`](sdk::Context::weight), [`GRADIENTS`](abi::GRADIENTS) for
//! [`Context::gradient`](sdk::Context::gradient), [`COVARIANCE`](abi::COVARIANCE) for
//! [`Context::covariance`](sdk::Context::covariance), [`RANKS`](abi::RANKS) to choose the ranks of all layers. The model
//! is measured as it came, without dropout, on the batches that training begins with, for all layers at once when the
//! first is asked for. What is worth keeping from run to run goes through [`Context::cached`](sdk::Context::cached).
//!
//! # Tensors
//! [`Tensor`](sdk::Tensor) has the common operators as methods; [`op`](sdk::op) reaches every other one:
//! `op("aten::clamp").arg(&x).named("max", 1.0).tensor()`. Methods that end in `_` change the tensor itself. A tensor
//! that a call was passed is lent: changing a parameter in place is an optimizer's work, keeping one takes
//! [`try_clone`](sdk::Tensor::try_clone) (the same memory) or [`copy`](sdk::Tensor::copy).
//!
//! # Randomness
//! Draw from the [`Context`](sdk::Context) by a name. The host adds the run's seed and the layer or step, so the same
//! name gives the same values whatever else was drawn before. An operator that would draw from libtorch's global
//! generator is refused.
//!
//! # Errors
//! Return [`Error::new`](sdk::Error::new)`("what was wrong").with_help("what to do")`: the host adds plugin, component,
//! phase and layer. The operators `+ - * /` return theirs too, by unwinding to the boundary, so a plugin must be built
//! with `panic = "unwind"`, cargo's default. A panic ends the run, not the host; a component through which a panic or
//! such an error went is only dropped.
//! A shape that does not fit and a value that is not finite are refused by the host.
//!
//! # Testing
//! With the cargo feature `testing`, the module `testing` is a fake host for unit tests: `testing::params` makes a
//! component as a user's settings would, `testing::init`, `testing::Descent` and `testing::TestHead` drive it.

// The derives write paths of this name, also into this crate.
extern crate self as lorahost_plugin_api;

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
        DataKind, EvaluationPhase, Factor, HeadPlan, Layer, Metrics, ParameterInfo, Role, Task,
    };
    pub use crate::sdk::{
        AdamW, AlphaPolicy, Arg, Batch, Choice, Context, Error, Factors, Group, HeadContext,
        InitScheme, Inputs, Kind, Loss, Optimizer, Parameter, Params, Result, Scale, State,
        TaskHead, Tensor, cat, foreach, grad, inverse_gram, op, stack, with_gradients,
    };
}
