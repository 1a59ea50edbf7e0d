//! The binary interface: the only `unsafe` code of this crate and the only place where `abi_stable` is seen.
//!
//! A plugin exports one root module of three functions, which never changes its layout. Everything else is asked for
//! by a string id and answered by a table or by null ("this side does not have it").
//!
//! ABI 1 is frozen. None of the layouts here changes, no table is appended to, and `abi_stable` stays at 0.11: a new
//! function comes in a table of its own under a new id, which a component that cannot do without it names in its
//! `requires`. What methods say to each other grows in the JSON of their messages, see [`protocol`](crate::protocol). The
//! size at the start of a table tells a table that is cut short from a whole one.

mod export;
mod host;
mod lift;
mod serve;
mod tables;

pub use abi_stable;
pub use export::{
    Component, Header, answered, constructor, create, erased, manifest_text, root_module,
};
pub use host::{
    AutogradHost, CacheHost, CovarianceHost, GradientHost, HeadHost, Host, LogHost, TensorHost,
    WeightHost, connect_static, connected,
};
pub use lift::{LiftError, Lifted, lift};
pub use serve::TensorServer;
pub use tables::{
    AUTOGRAD, Argument, AutogradTable, CACHE, COMPONENT, COVARIANCE, CacheTable, ComponentTable,
    CovarianceTable, Description, Failure, FailureCode, GRADIENTS, GradientTable, HEAD, HeadTable,
    HostTable, LOG, LogTable, Named, Output, Plugin, PluginRef, RANKS, RanksTable, Reply, TENSOR,
    TensorTable, WEIGHT, WeightTable, table, tag,
};
