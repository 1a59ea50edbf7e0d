#![expect(
    clippy::expl_impl_clone_on_copy,
    reason = "abi_stable derives `PluginRef` so"
)]

use std::ffi::c_void;

use abi_stable::StableAbi;
use abi_stable::library::RootModule;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::{RResult, RSlice, RStr, RString, RVec};

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginRef, prefix_fields = PluginFields)))]
#[sabi(missing_field(panic))]
pub struct Plugin {
    pub manifest: extern "C" fn() -> RStr<'static>,
    pub create: extern "C" fn(
        component: RStr<'_>,
        parameters: RStr<'_>,
        host: *const c_void,
    ) -> RResult<*mut c_void, Failure>,
    #[sabi(last_prefix_field)]
    pub extension: extern "C" fn(id: RStr<'_>) -> *const c_void,
}

impl RootModule for PluginRef {
    abi_stable::declare_root_module_statics! {PluginRef}
    const BASE_NAME: &'static str = "lorahost_plugin";
    const NAME: &'static str = "lorahost_plugin";
    // Kept by hand: it is the layout's version, not the crate's.
    const VERSION_STRINGS: VersionStrings = VersionStrings::new("1.0.0");
}

#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct Failure {
    pub code: u32,
    pub message: RString,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum FailureCode {
    Error = 1,
    Panic = 2,
    Unsupported = 3,
}

pub const COMPONENT: &str = "lorahost.component/1";

#[repr(C)]
pub struct ComponentTable {
    pub size: usize,
    pub invoke: extern "C" fn(
        component: *mut c_void,
        method: RStr<'_>,
        message: RStr<'_>,
        tensors: RSlice<'_, u64>,
    ) -> RResult<Reply, Failure>,
    pub drop: extern "C" fn(component: *mut c_void),
}

#[repr(C)]
#[derive(Debug, Default)]
pub struct Reply {
    pub message: RString,
    pub tensors: RVec<u64>,
}

#[repr(C)]
pub struct HostTable {
    pub size: usize,
    pub extension: extern "C" fn(id: RStr<'_>) -> *const c_void,
}

#[must_use]
pub unsafe fn table<T>(pointer: *const c_void) -> Option<&'static T> {
    // SAFETY: every table starts with its size.
    let size = unsafe { pointer.cast::<usize>().as_ref() }?;
    if *size < size_of::<T>() {
        return None;
    }
    // SAFETY: there are as many bytes as `T` has, laid out as `T`.
    unsafe { pointer.cast::<T>().as_ref() }
}

pub const TENSOR: &str = "lorahost.tensor/1";

#[repr(C)]
pub struct TensorTable {
    pub size: usize,
    pub resolve: extern "C" fn(name: RStr<'_>, overload: RStr<'_>) -> RResult<u64, Failure>,
    pub call: extern "C" fn(
        operator: u64,
        arguments: RSlice<'_, Argument>,
        named: RSlice<'_, Named<'_>>,
    ) -> RResult<RVec<Output>, Failure>,
    pub clone: extern "C" fn(tensor: u64) -> RResult<u64, Failure>,
    pub drop: extern "C" fn(tensor: u64),
    pub describe: extern "C" fn(tensor: u64) -> RResult<Description, Failure>,
    pub from_bytes: extern "C" fn(
        bytes: RSlice<'_, u8>,
        shape: RSlice<'_, i64>,
        dtype: i32,
    ) -> RResult<u64, Failure>,
    pub to_bytes: extern "C" fn(tensor: u64) -> RResult<RVec<u8>, Failure>,
    pub defaults: extern "C" fn() -> Description,
}

#[repr(C)]
#[derive(Debug, Clone)]
pub struct Description {
    pub shape: RVec<i64>,
    pub dtype: i32,
    pub device_type: i32,
    pub device_index: i32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Argument {
    pub tag: u32,
    pub word: u64,
    pub data: *const c_void,
    pub len: usize,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Named<'a> {
    pub name: RStr<'a>,
    pub value: Argument,
}

#[repr(C)]
#[derive(Debug)]
pub struct Output {
    pub tag: u32,
    pub word: u64,
    pub list: RVec<u64>,
}

pub mod tag {
    pub const NONE: u32 = 0;
    pub const TENSOR: u32 = 1;
    pub const TENSORS: u32 = 2;
    pub const OPTIONAL_TENSORS: u32 = 3;
    pub const INT: u32 = 4;
    pub const FLOAT: u32 = 5;
    pub const BOOL: u32 = 6;
    pub const STRING: u32 = 7;
    pub const INTS: u32 = 8;
    pub const FLOATS: u32 = 9;
    pub const BOOLS: u32 = 10;
    pub const DTYPE: u32 = 11;
    pub const DEVICE: u32 = 12;
    pub const MEMORY_FORMAT: u32 = 13;
    pub const STREAM: u32 = 14;
}

pub const LOG: &str = "lorahost.log/1";

#[repr(C)]
pub struct LogTable {
    pub size: usize,
    pub log: extern "C" fn(level: u32, message: RStr<'_>),
}

pub const WEIGHT: &str = "lorahost.weight/1";

#[repr(C)]
pub struct WeightTable {
    pub size: usize,
    pub weight: extern "C" fn() -> RResult<u64, Failure>,
}

pub const HEAD: &str = "lorahost.head/1";

#[repr(C)]
pub struct HeadTable {
    pub size: usize,
    pub layer: extern "C" fn(name: RStr<'_>, x: u64) -> RResult<u64, Failure>,
    pub dropout: extern "C" fn(x: u64, p: f64) -> RResult<u64, Failure>,
    pub parameters: extern "C" fn(name: RStr<'_>) -> RResult<RVec<u64>, Failure>,
}

pub const AUTOGRAD: &str = "lorahost.autograd/1";

#[repr(C)]
pub struct AutogradTable {
    pub size: usize,
    pub grad: extern "C" fn(
        outputs: RSlice<'_, u64>,
        inputs: RSlice<'_, u64>,
    ) -> RResult<RVec<u64>, Failure>,
    pub with_gradients: extern "C" fn(
        loss: u64,
        inputs: RSlice<'_, u64>,
        grads: RSlice<'_, u64>,
    ) -> RResult<u64, Failure>,
}

pub const GRADIENTS: &str = "lorahost.gradients/1";

#[repr(C)]
pub struct GradientTable {
    pub size: usize,
    pub gradient: extern "C" fn(layer: RStr<'_>, batches: u64) -> RResult<u64, Failure>,
}

pub const COVARIANCE: &str = "lorahost.covariance/1";

#[repr(C)]
pub struct CovarianceTable {
    pub size: usize,
    pub covariance: extern "C" fn(layer: RStr<'_>, batches: u64) -> RResult<u64, Failure>,
}

pub const RANKS: &str = "lorahost.ranks/1";

#[repr(C)]
pub struct RanksTable {
    pub size: usize,
}

pub const CACHE: &str = "lorahost.cache/1";

#[repr(C)]
pub struct CacheTable {
    pub size: usize,
    pub load: extern "C" fn(layer: RStr<'_>, key: RStr<'_>) -> RResult<RVec<u64>, Failure>,
    pub store: extern "C" fn(
        layer: RStr<'_>,
        key: RStr<'_>,
        tensors: RSlice<'_, u64>,
    ) -> RResult<RVec<u64>, Failure>,
}
