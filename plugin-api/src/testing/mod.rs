//! A fake host, so that a plugin's unit tests need no libtorch; behind the cargo feature `testing`.
//!
//! Tensors are float64 on the CPU, computed by nalgebra: creation, element-wise operators, products of matrices,
//! reductions, views, factorisations. There is no autograd, there are no batches of matrices, and any operator beyond
//! the usual ones is an error that names `lorahost plugin check`, which runs a plugin in the real host.
//!
//! ```toml
//! [dev-dependencies]
//! lorahost-plugin-api = { version = "0.1", features = ["testing"] }
//! ```
//!
//! ```
//! use lorahost_plugin_api::prelude::*;
//! use lorahost_plugin_api::testing::{self, json};
//!
//! /// A and B of one value each.
//! #[derive(Params)]
//! struct Flat {
//!     /// Value of A.
//!     #[param(default = 0.5, min = 0.0)]
//!     value: f64,
//! }
//!
//! impl InitScheme for Flat {
//!     fn init(&self, layer: &Layer, _ctx: &Context) -> Result<Factors> {
//!         let size = |size: usize| size as i64;
//!         let a = Tensor::zeros(&[size(layer.rank), size(layer.fan_in)])? + self.value;
//!         let b = Tensor::zeros(&[size(layer.fan_out), size(layer.rank)])?;
//!         Ok(Factors::new(a, b))
//!     }
//! }
//!
//! # fn main() -> Result<()> {
//! // In a #[test]:
//! let scheme = testing::params::<Flat>(json!({ "value": 2.0 }))?;
//! let factors = testing::init(&scheme, &testing::layer(8, 6, 4), 7)?;
//! assert_eq!(factors.a().to_f64()?, [2.0; 24]);
//! assert!(testing::params::<Flat>(json!({ "value": -1.0 })).is_err());
//! # Ok(())
//! # }
//! ```
//!
//! Optimizers are driven by [`Descent`], or along a trajectory of another program by [`follow`]; heads by [`TestHead`]; alpha policies need tensors neither of the host nor of
//! the fake one: call [`AlphaPolicy::scale`](crate::sdk::AlphaPolicy::scale). Everything a thread does here is its
//! own, so tests run side by side.

mod array;
mod descent;
mod fixtures;
mod head;
mod host;
mod init;
mod operators;
mod params;
mod random;
mod reference;
mod schema;
mod store;

pub use serde_json::json;

pub use descent::{Descent, parameter};
pub use fixtures::{batch, fresh_call, integers, layer, live_handles, take_log, tensor};
pub use head::{TestHead, linear};
pub use host::install;
pub use init::{Given, init, init_given, init_on, ranks};
pub use params::params;
pub use reference::follow;
