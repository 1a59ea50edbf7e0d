extern crate self as lorahost_plugin_api;

pub mod abi;
mod export;
pub mod manifest;
pub mod protocol;
pub mod sdk;

#[doc(hidden)]
pub type Parameters = serde_json::Map<String, serde_json::Value>;

pub mod prelude {
    pub use lorahost_plugin_derive::Params;

    pub use crate::export_plugin;
    pub use crate::protocol::{HeadPlan, Layer, Metrics, Task};
    pub use crate::sdk::{
        AdamW, AlphaPolicy, Batch, Context, Error, Factors, Group, HeadContext, InitScheme, Loss,
        Optimizer, Params, Result, Scale, State, TaskHead, Tensor, grad, with_gradients,
    };
}
