mod export;
mod host;
mod tables;

pub use abi_stable;
pub use export::{
    Component, Header, answered, constructor, create, erased, manifest_text, root_module,
};
pub use host::{
    AutogradHost, CacheHost, CovarianceHost, GradientHost, HeadHost, Host, LogHost, TensorHost,
    WeightHost, connect_static, connected,
};
pub use tables::{
    AUTOGRAD, Argument, AutogradTable, CACHE, COMPONENT, COVARIANCE, CacheTable, ComponentTable,
    CovarianceTable, Description, Failure, FailureCode, GRADIENTS, GradientTable, HEAD, HeadTable,
    HostTable, LOG, LogTable, Named, Output, Plugin, PluginRef, RANKS, RanksTable, Reply, TENSOR,
    TensorTable, WEIGHT, WeightTable, table, tag,
};
