//! Plugin files: found, checked, opened, and called. The host's side of the ABI.

mod bridge;
mod cache;
mod component;
mod error;
mod extensions;
mod file;
mod handles;
mod kinds;
mod library;
mod registry;
mod scope;

pub use cache::TensorCache;
pub use component::Component;
pub use error::PluginError;
pub(crate) use error::with_causes;
pub use extensions::{InitAccess, Measure};
pub use file::PluginFile;
pub use handles::live as live_handles;
pub use kinds::{
    AlphaPolicy, HeadBatch, HeadLoss, InitScheme, LayerFactors, Optimizer, OptimizerGroup, Pass,
    TaskHead,
};
pub use library::Library;
pub use registry::{Registry, installed_folder, search_folders, survey};
pub use scope::HeadAccess;

/// Runs `body` as the call of a plugin, with the host's table: what fuzzing says instead of one.
#[doc(hidden)]
pub fn as_plugin<T>(body: impl FnOnce(*const std::ffi::c_void) -> T) -> T {
    let scope = scope::Scope {
        streams: Some((0, "fuzz", String::new())),
        ..scope::Scope::default()
    };
    scope::within(scope, || body(bridge::host_table()))
}
