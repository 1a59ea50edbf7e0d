//! Operators by name, with arguments as the plugin ABI has them.

use std::ffi::{CString, c_char, c_void};

use lorahost_plugin_api::abi::tag;
use tch::Tensor;
use torch_sys::C_tensor;

use super::outcome;

#[repr(C)]
#[derive(Clone, Copy)]
struct RawArgument {
    tag: u32,
    word: u64,
    data: *const c_void,
    len: usize,
}

#[repr(C)]
struct RawNamed {
    name: *const c_char,
    name_len: usize,
    value: RawArgument,
}

type Sink = extern "C" fn(context: *mut c_void, tag: u32, word: u64, list: *const u64, len: usize);

unsafe extern "C" {
    fn lh_resolve(
        name: *const c_char,
        overload: *const c_char,
        out: *mut *mut c_void,
    ) -> *mut c_char;
    fn lh_call(
        operator: *const c_void,
        arguments: *const RawArgument,
        count: usize,
        named: *const RawNamed,
        named_count: usize,
        context: *mut c_void,
        sink: Sink,
    ) -> *mut c_char;
    fn lh_check_plain(tensor: *const C_tensor) -> *mut c_char;
    fn lh_same_form(one: *const C_tensor, other: *const C_tensor) -> bool;
    fn lh_generator_new(seed: u64, out: *mut *mut c_void) -> *mut c_char;
    fn lh_generator_delete(generator: *mut c_void);
}

/// An operator of libtorch's dispatcher; lives as long as the process.
#[derive(Debug, Clone, Copy)]
pub struct Operator(*const c_void);

// SAFETY: the dispatcher's handles are immutable and never freed.
unsafe impl Send for Operator {}
// SAFETY: as above.
unsafe impl Sync for Operator {}

/// A generator on the CPU for one named stream.
#[derive(Debug)]
pub struct Generator(*mut c_void);

impl Generator {
    /// # Errors
    /// What libtorch reports.
    pub fn new(seed: u64) -> Result<Self, String> {
        let mut generator = std::ptr::null_mut();
        // SAFETY: `generator` is written before a null message comes back.
        outcome(unsafe { lh_generator_new(seed, &raw mut generator) })?;
        Ok(Self(generator))
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        // SAFETY: made by `lh_generator_new`, dropped once.
        unsafe { lh_generator_delete(self.0) };
    }
}

/// An argument of an operator.
#[derive(Debug)]
pub enum Argument<'a> {
    None,
    Tensor(&'a Tensor),
    Tensors(Vec<&'a Tensor>),
    OptionalTensors(Vec<Option<&'a Tensor>>),
    Int(i64),
    Float(f64),
    Bool(bool),
    Str(&'a str),
    Ints(&'a [i64]),
    Floats(&'a [f64]),
    Bools(&'a [u8]),
    /// `c10::ScalarType`.
    Dtype(i32),
    /// `c10::DeviceType` and index, -1 for the current one.
    Device {
        kind: i32,
        index: i32,
    },
    /// `c10::MemoryFormat`.
    MemoryFormat(i8),
    Stream(&'a Generator),
}

/// A result of an operator.
#[derive(Debug)]
pub enum Value {
    None,
    Tensor(Tensor),
    Tensors(Vec<Tensor>),
    Int(i64),
    Float(f64),
    Bool(bool),
    Ints(Vec<i64>),
    Floats(Vec<f64>),
}

/// Looks an operator up: `aten::mul` with overload `Tensor`.
///
/// # Errors
/// When libtorch has no such operator.
pub fn resolve(name: &str, overload: &str) -> Result<Operator, String> {
    let [name, overload] = [name, overload].map(CString::new);
    let (Ok(name), Ok(overload)) = (name, overload) else {
        return Err("an operator's name holds a zero byte".to_owned());
    };
    let mut operator = std::ptr::null_mut();
    // SAFETY: both are C strings, and `operator` is written before a null message comes back.
    outcome(unsafe { lh_resolve(name.as_ptr(), overload.as_ptr(), &raw mut operator) })?;
    Ok(Operator(operator))
}

/// Calls an operator: arguments by position, then by name; the schema's defaults fill the rest.
///
/// # Errors
/// The first line of libtorch's message.
pub fn call(
    operator: Operator,
    arguments: &[Argument<'_>],
    named: &[(&str, Argument<'_>)],
) -> Result<Vec<Value>, String> {
    // Lists of tensors become lists of pointers, which must outlive the call.
    let mut lists = Vec::new();
    let raw: Vec<_> = arguments
        .iter()
        .map(|argument| lower(argument, &mut lists))
        .collect();
    let raw_named: Vec<_> = named
        .iter()
        .map(|(name, value)| RawNamed {
            name: name.as_ptr().cast(),
            name_len: name.len(),
            value: lower(value, &mut lists),
        })
        .collect();
    let mut results = Vec::<Value>::new();
    // SAFETY: every pointer in the arguments is borrowed for the call; the sink only writes to `results`.
    outcome(unsafe {
        lh_call(
            operator.0,
            raw.as_ptr(),
            raw.len(),
            raw_named.as_ptr(),
            raw_named.len(),
            (&raw mut results).cast(),
            take,
        )
    })?;
    Ok(results)
}

/// Whether a tensor that came from outside has a shape, an element type and a device that Rust can name: it is
/// defined, strided, of a served dtype, on CPU or CUDA.
///
/// # Errors
/// What it is instead: `a tensor of layout Sparse`.
pub fn check_plain(tensor: &Tensor) -> Result<(), String> {
    // SAFETY: the tensor is alive for the length of the call.
    outcome(unsafe { lh_check_plain(tensor.as_ptr()) })
}

/// Whether a tensor has the shape, element type and device of another one, which is plain.
pub fn same_form(one: &Tensor, other: &Tensor) -> bool {
    // SAFETY: both tensors are alive for the length of the call, which throws nothing.
    unsafe { lh_same_form(one.as_ptr(), other.as_ptr()) }
}

fn lower(argument: &Argument<'_>, lists: &mut Vec<Vec<*const c_void>>) -> RawArgument {
    let word = |tag, word| RawArgument {
        tag,
        word,
        data: std::ptr::null(),
        len: 0,
    };
    match argument {
        Argument::None => word(tag::NONE, 0),
        Argument::Tensor(tensor) => word(tag::TENSOR, tensor.as_ptr() as u64),
        Argument::Tensors(tensors) => {
            let pointers = tensors
                .iter()
                .map(|tensor| tensor.as_ptr().cast::<c_void>())
                .collect();
            lower_pointers(tag::TENSORS, pointers, lists)
        }
        Argument::OptionalTensors(tensors) => {
            let pointers = tensors
                .iter()
                .map(|tensor| {
                    tensor.map_or(std::ptr::null(), |tensor| tensor.as_ptr().cast::<c_void>())
                })
                .collect();
            lower_pointers(tag::OPTIONAL_TENSORS, pointers, lists)
        }
        Argument::Int(value) => word(tag::INT, value.cast_unsigned()),
        Argument::Float(value) => word(tag::FLOAT, value.to_bits()),
        Argument::Bool(value) => word(tag::BOOL, u64::from(*value)),
        Argument::Str(text) => slice(tag::STRING, text.as_bytes()),
        Argument::Ints(list) => slice(tag::INTS, list),
        Argument::Floats(list) => slice(tag::FLOATS, list),
        Argument::Bools(list) => slice(tag::BOOLS, list),
        Argument::Dtype(code) => word(tag::DTYPE, u64::from(code.cast_unsigned())),
        Argument::Device { kind, index } => {
            let halves = u64::from(kind.cast_unsigned()) << 32 | u64::from(index.cast_unsigned());
            word(tag::DEVICE, halves)
        }
        Argument::MemoryFormat(format) => {
            word(tag::MEMORY_FORMAT, u64::from(format.cast_unsigned()))
        }
        Argument::Stream(generator) => RawArgument {
            tag: tag::STREAM,
            word: 0,
            data: generator.0.cast_const(),
            len: 0,
        },
    }
}

fn slice<T>(tag: u32, list: &[T]) -> RawArgument {
    RawArgument {
        tag,
        word: 0,
        data: list.as_ptr().cast(),
        len: list.len(),
    }
}

fn lower_pointers(
    tag: u32,
    pointers: Vec<*const c_void>,
    lists: &mut Vec<Vec<*const c_void>>,
) -> RawArgument {
    let argument = slice(tag, &pointers);
    // Moving the vector does not move its elements.
    lists.push(pointers);
    argument
}

extern "C" fn take(context: *mut c_void, tag: u32, word: u64, list: *const u64, len: usize) {
    // SAFETY: the context is the vector that `call` passed, borrowed by nobody else meanwhile.
    let results = unsafe { &mut *context.cast::<Vec<Value>>() };
    let list = if list.is_null() {
        &[][..]
    } else {
        // SAFETY: C++ passes `len` words, or null and 0.
        unsafe { std::slice::from_raw_parts(list, len) }
    };
    let own = |word: u64| {
        if word == 0 {
            // An undefined tensor, which a list may hold.
            Tensor::new()
        } else {
            // SAFETY: a tensor's word is a pointer that C++ made with `new` for us.
            unsafe { Tensor::from_ptr(word as *mut _) }
        }
    };
    results.push(match tag {
        tag::TENSOR => Value::Tensor(own(word)),
        tag::TENSORS => Value::Tensors(list.iter().map(|&word| own(word)).collect()),
        tag::INT => Value::Int(word.cast_signed()),
        tag::FLOAT => Value::Float(f64::from_bits(word)),
        tag::BOOL => Value::Bool(word != 0),
        tag::INTS => Value::Ints(list.iter().map(|word| word.cast_signed()).collect()),
        tag::FLOATS => Value::Floats(list.iter().map(|&word| f64::from_bits(word)).collect()),
        _ => Value::None,
    });
}
