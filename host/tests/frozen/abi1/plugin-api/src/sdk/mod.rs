mod adamw;
mod alpha;
mod autograd;
mod call;
mod context;
mod error;
mod head;
mod init;
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
pub use head::{Batch, Head, HeadContext, Inputs, Loss, TaskHead};
pub use init::{Factors, Init, InitScheme};
pub use operators::{Operator, op};
pub use optimizer::{Alike, Group, Optimize, Optimizer, Parameter, State};
#[doc(hidden)]
pub use params::read_parameter;
pub use params::{ParamType, Params, parameters_from_json};
pub use tensor::{Device, Kind, Tensor};
pub use value::{Arg, Value};
