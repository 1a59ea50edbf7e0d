//! What an author writes against: plain traits, a tensor that drops itself, typed parameters.

mod adamw;
mod alpha;
mod autograd;
mod call;
mod chunks;
mod context;
mod error;
pub mod foreach;
mod gram;
mod head;
mod init;
mod linear_algebra;
mod operators;
mod optimizer;
mod params;
mod tensor;
mod value;

pub use adamw::AdamW;
pub use alpha::{Alpha, AlphaPolicy, Scale};
pub use autograd::{grad, with_gradients};
pub use call::{Answer, Call, kind};
pub use context::Context;
pub use error::{Error, Result};
pub use gram::inverse_gram;
pub use head::{Batch, Head, HeadContext, Inputs, Loss, TaskHead};
pub use init::{Factors, Init, InitScheme};
#[cfg(feature = "testing")]
pub(crate) use operators::caught;
#[cfg(test)]
pub(crate) use operators::{IN_PLACE, METHODS};
pub use operators::{Operator, cat, op, stack};
pub use optimizer::{Alike, Group, Optimize, Optimizer, Parameter, State};
#[doc(hidden)]
pub use params::read_parameter;
pub use params::{Choice, ParamType, Params, parameters_from_json};
pub use tensor::{Device, Kind, Tensor};
pub use value::{Arg, Value};
