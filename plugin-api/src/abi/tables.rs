//! The layouts: root module, tables of functions, and what passes through them.

#![expect(
    clippy::expl_impl_clone_on_copy,
    reason = "abi_stable derives `PluginRef` so"
)]

use std::ffi::c_void;

use abi_stable::StableAbi;
use abi_stable::library::RootModule;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::{RResult, RSlice, RStr, RString, RVec};

/// The root module of a plugin file. Frozen: no field is ever added.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginRef, prefix_fields = PluginFields)))]
#[sabi(missing_field(panic))]
pub struct Plugin {
    /// The manifest as JSON: the same bytes as in the file's section.
    pub manifest: extern "C" fn() -> RStr<'static>,
    /// Makes the component `kind/name` with these parameters (a JSON object that holds every one of them).
    ///
    /// `host` points to a [`HostTable`] that lives as long as the process.
    pub create: extern "C" fn(
        component: RStr<'_>,
        parameters: RStr<'_>,
        host: *const c_void,
    ) -> RResult<*mut c_void, Failure>,
    /// The table with this id, or null.
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

/// Why a call across the boundary failed.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct Failure {
    /// A [`FailureCode`].
    pub code: u32,
    /// One paragraph for a person.
    pub message: RString,
}

/// The values of [`Failure::code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum FailureCode {
    /// The callee refused: a wrong shape, a bad parameter, an unknown operator.
    Error = 1,
    /// The plugin unwound, by a panic or by the error of an infix operator; its component may only be dropped.
    Panic = 2,
    /// The method is not known on the other side.
    Unsupported = 3,
}

/// Id of [`ComponentTable`], given by a plugin.
pub const COMPONENT: &str = "lorahost.component/1";

/// How the host talks to a component.
#[repr(C)]
pub struct ComponentTable {
    pub size: usize,
    /// Calls a method of the component; tensors passed in are lent for the call, those in the reply are given away.
    pub invoke: extern "C" fn(
        component: *mut c_void,
        method: RStr<'_>,
        message: RStr<'_>,
        tensors: RSlice<'_, u64>,
    ) -> RResult<Reply, Failure>,
    pub drop: extern "C" fn(component: *mut c_void),
}

/// What a method answers.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Reply {
    /// JSON.
    pub message: RString,
    /// Handles that now belong to the receiver.
    pub tensors: RVec<u64>,
}

/// What the host lends to a plugin; everything by id.
#[repr(C)]
pub struct HostTable {
    pub size: usize,
    pub extension: extern "C" fn(id: RStr<'_>) -> *const c_void,
}

/// The table behind a pointer of the other side; none where the pointer is null or the table shorter than `T`.
///
/// # Safety
/// `pointer` is null, or points to a table that lives as long as the process: a `size` in bytes, then as many bytes of
/// which the first are laid out as `T`.
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

/// Id of [`TensorTable`], given by every host.
pub const TENSOR: &str = "lorahost.tensor/1";

/// Tensors and operators. A handle is a slot and a generation of the host's table, never an address; 0 is none.
#[repr(C)]
pub struct TensorTable {
    pub size: usize,
    /// The id of the operator `aten::name` with this overload.
    pub resolve: extern "C" fn(name: RStr<'_>, overload: RStr<'_>) -> RResult<u64, Failure>,
    /// Calls an operator: arguments by position, then by name; the schema's defaults fill the rest.
    pub call: extern "C" fn(
        operator: u64,
        arguments: RSlice<'_, Argument>,
        named: RSlice<'_, Named<'_>>,
    ) -> RResult<RVec<Output>, Failure>,
    /// A second handle to the same tensor.
    pub clone: extern "C" fn(tensor: u64) -> RResult<u64, Failure>,
    pub drop: extern "C" fn(tensor: u64),
    pub describe: extern "C" fn(tensor: u64) -> RResult<Description, Failure>,
    /// A tensor on the CPU from contiguous bytes.
    pub from_bytes: extern "C" fn(
        bytes: RSlice<'_, u8>,
        shape: RSlice<'_, i64>,
        dtype: i32,
    ) -> RResult<u64, Failure>,
    /// The contiguous bytes of a tensor, fetched to the CPU where necessary.
    pub to_bytes: extern "C" fn(tensor: u64) -> RResult<RVec<u8>, Failure>,
    /// Dtype and device of the run's parameters, with an empty shape.
    pub defaults: extern "C" fn() -> Description,
}

/// Shape, dtype and device of a tensor, in libtorch's numbers.
#[repr(C)]
#[derive(Debug, Clone)]
pub struct Description {
    pub shape: RVec<i64>,
    /// `c10::ScalarType`.
    pub dtype: i32,
    /// `c10::DeviceType`.
    pub device_type: i32,
    pub device_index: i32,
}

/// One argument of an operator: a tagged union, so that an unknown tag is an error and not undefined behaviour.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Argument {
    /// One of [`tag`].
    pub tag: u32,
    /// Handle, integer, bits of a float, or flag.
    pub word: u64,
    /// First element of a list or string, alive for the call.
    pub data: *const c_void,
    /// Number of elements.
    pub len: usize,
}

/// An argument by its name in the operator's schema.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Named<'a> {
    pub name: RStr<'a>,
    pub value: Argument,
}

/// One result of an operator: the tags are those of [`Argument`].
#[repr(C)]
#[derive(Debug)]
pub struct Output {
    pub tag: u32,
    /// Handle (given away), integer, bits of a float, or flag.
    pub word: u64,
    /// Elements of a list, each as a word.
    pub list: RVec<u64>,
}

/// The tags of [`Argument`] and [`Output`].
pub mod tag {
    pub const NONE: u32 = 0;
    /// `word` is a handle.
    pub const TENSOR: u32 = 1;
    /// `data` points to `u64` handles.
    pub const TENSORS: u32 = 2;
    /// `data` points to `u64` handles, 0 for none.
    pub const OPTIONAL_TENSORS: u32 = 3;
    /// `word` holds an `i64`.
    pub const INT: u32 = 4;
    /// `word` holds the bits of an `f64`.
    pub const FLOAT: u32 = 5;
    /// `word` is 0 or 1.
    pub const BOOL: u32 = 6;
    /// `data` points to UTF-8.
    pub const STRING: u32 = 7;
    /// `data` points to `i64`.
    pub const INTS: u32 = 8;
    /// `data` points to `f64`.
    pub const FLOATS: u32 = 9;
    /// `data` points to bytes of 0 or 1.
    pub const BOOLS: u32 = 10;
    /// `word` is a `c10::ScalarType`.
    pub const DTYPE: u32 = 11;
    /// `word` is `c10::DeviceType` in its upper half and the index in its lower.
    pub const DEVICE: u32 = 12;
    /// `word` is a `c10::MemoryFormat`.
    pub const MEMORY_FORMAT: u32 = 13;
    /// `data` points to the name of a random stream, given to the operator as its generator.
    pub const STREAM: u32 = 14;
}

/// Id of [`LogTable`], given by every host.
pub const LOG: &str = "lorahost.log/1";

/// The host's tracing.
#[repr(C)]
pub struct LogTable {
    pub size: usize,
    /// `level`: 1 error, 2 warn, 3 info, 4 debug, 5 trace.
    pub log: extern "C" fn(level: u32, message: RStr<'_>),
}

/// Id of [`WeightTable`]: within `init`, the weight of the layer at hand.
pub const WEIGHT: &str = "lorahost.weight/1";

/// The frozen weight of the layer that is being initialised.
#[repr(C)]
pub struct WeightTable {
    pub size: usize,
    /// A copy of W `[fan_out, fan_in]`.
    pub weight: extern "C" fn() -> RResult<u64, Failure>,
}

/// Id of [`HeadTable`]: within a head's `forward`, the layers that the host owns.
pub const HEAD: &str = "lorahost.head/1";

/// The model's head layers and dropout.
#[repr(C)]
pub struct HeadTable {
    pub size: usize,
    /// Applies the head layer of this name to `x`.
    pub layer: extern "C" fn(name: RStr<'_>, x: u64) -> RResult<u64, Failure>,
    /// Dropout in training, the identity in evaluation.
    pub dropout: extern "C" fn(x: u64, p: f64) -> RResult<u64, Failure>,
    /// The tensors that learn behind the head layer of this name: weight, bias, LoRA factors.
    pub parameters: extern "C" fn(name: RStr<'_>) -> RResult<RVec<u64>, Failure>,
}

/// Id of [`AutogradTable`]: within a head's `forward`, gradients of parts of its loss.
pub const AUTOGRAD: &str = "lorahost.autograd/1";

/// Gradients taken and given within a forward pass.
#[repr(C)]
pub struct AutogradTable {
    pub size: usize,
    /// Gradients of the sum of `outputs`, all scalars, with respect to each of `inputs`: 0 where the input needs none,
    /// or no output depends on it. What was recorded on the ways between the two is freed.
    pub grad: extern "C" fn(
        outputs: RSlice<'_, u64>,
        inputs: RSlice<'_, u64>,
    ) -> RResult<RVec<u64>, Failure>,
    /// A scalar of the value of `loss` whose backward pass hands `grads`, times the gradient that arrives, to `inputs`;
    /// 0 among `grads` hands nothing.
    pub with_gradients: extern "C" fn(
        loss: u64,
        inputs: RSlice<'_, u64>,
        grads: RSlice<'_, u64>,
    ) -> RResult<u64, Failure>,
}

/// Id of [`GradientTable`]: within `init` and `ranks`, gradients of the layers that get factors.
pub const GRADIENTS: &str = "lorahost.gradients/1";

/// Gradients of the loss at the model as it came, on training data.
#[repr(C)]
pub struct GradientTable {
    pub size: usize,
    /// dL/dW `[fan_out, fan_in]` of the layer of this name: of the mean loss over everything that the first `batches`
    /// training batches count (over all of them where there are fewer), without dropout.
    pub gradient: extern "C" fn(layer: RStr<'_>, batches: u64) -> RResult<u64, Failure>,
}

/// Id of [`CovarianceTable`]: within `init` and `ranks`, what goes into the layers that get factors.
pub const COVARIANCE: &str = "lorahost.covariance/1";

/// Second moments of the layers' inputs in the model as it came, on training data.
#[repr(C)]
pub struct CovarianceTable {
    pub size: usize,
    /// E[x x'] `[fan_in, fan_in]`, not centred, over all rows that the layer of this name sees in the first `batches`
    /// training batches (in all of them where there are fewer), without dropout.
    pub covariance: extern "C" fn(layer: RStr<'_>, batches: u64) -> RResult<u64, Failure>,
}

/// Id of [`RanksTable`]: an init scheme that requires it is asked for all layers' ranks before their factors.
pub const RANKS: &str = "lorahost.ranks/1";

/// Says that the host calls the method `ranks`; there is nothing to ask it for.
#[repr(C)]
pub struct RanksTable {
    pub size: usize,
}

/// Id of [`CacheTable`]: within `init` and `ranks`, tensors that outlive the process.
pub const CACHE: &str = "lorahost.cache/1";

/// Tensors on the disk, for other runs of the same plugin file, component, parameters, model, data, head, batch size
/// and seeds.
#[repr(C)]
pub struct CacheTable {
    pub size: usize,
    /// What was stored for the layer of this name under `key`; empty where nothing was.
    pub load: extern "C" fn(layer: RStr<'_>, key: RStr<'_>) -> RResult<RVec<u64>, Failure>,
    /// Keeps tensors, and gives them back as a later `load` will.
    pub store: extern "C" fn(
        layer: RStr<'_>,
        key: RStr<'_>,
        tensors: RSlice<'_, u64>,
    ) -> RResult<RVec<u64>, Failure>,
}

#[cfg(test)]
mod tests {
    use super::{HostTable, RStr, c_void, table};

    extern "C" fn nothing(_id: RStr<'_>) -> *const c_void {
        std::ptr::null()
    }

    #[test]
    fn a_table_is_as_long_as_it_says() {
        let found = |size| {
            let host = Box::leak(Box::new(HostTable {
                size,
                extension: nothing,
            }));
            // SAFETY: a leaked table that is at least as long as it says.
            unsafe { table::<HostTable>(std::ptr::from_ref(host).cast()) }.is_some()
        };
        assert!(found(size_of::<HostTable>()));
        assert!(!found(size_of::<HostTable>() - 1) && !found(0));
        // SAFETY: null is allowed.
        assert!(unsafe { table::<HostTable>(std::ptr::null()) }.is_none());
    }
}
