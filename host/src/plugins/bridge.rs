//! The functions that the host lends to plugins. Nothing may unwind out of them, and no error is silent.

use std::collections::HashMap;
use std::ffi::c_void;
use std::rc::Rc;
use std::sync::{LazyLock, Mutex, PoisonError};

use abi_stable::std_types::{RResult, RSlice, RStr, RVec};
use lorahost_plugin_api::abi::{
    AUTOGRAD, AutogradTable, Description, Failure, HEAD, HeadTable, HostTable, LOG, Lifted,
    LogTable, Output, TENSOR, TensorServer, TensorTable, WEIGHT, WeightTable, answered, tag,
};
use lorahost_plugin_api::sdk::{Error, Result};
use tch::{Device, Kind, Tensor};

use super::extensions::{self, INIT_EXTENSIONS};
use super::handles::{self, Entry};
use super::scope;
use crate::native::dispatch::{self, Generator, Operator, Value};
use crate::native::gradients;

/// Whether [`extension`] answers this id.
pub fn has_extension(id: &str) -> bool {
    [TENSOR, LOG, WEIGHT, HEAD, AUTOGRAD].contains(&id) || INIT_EXTENSIONS.contains(&id)
}

/// The table that a component gets.
pub fn host_table() -> *const c_void {
    static TABLE: HostTable = HostTable {
        size: size_of::<HostTable>(),
        extension,
    };
    std::ptr::from_ref(&TABLE).cast()
}

extern "C" fn extension(id: RStr<'_>) -> *const c_void {
    static TENSORS: TensorTable = TensorTable::of::<Tensors>();
    static LOGS: LogTable = LogTable {
        size: size_of::<LogTable>(),
        log,
    };
    static WEIGHTS: WeightTable = WeightTable {
        size: size_of::<WeightTable>(),
        weight,
    };
    static HEADS: HeadTable = HeadTable {
        size: size_of::<HeadTable>(),
        layer,
        dropout,
        parameters,
    };
    static GRADIENTS: AutogradTable = AutogradTable {
        size: size_of::<AutogradTable>(),
        grad,
        with_gradients,
    };
    match id.as_str() {
        id if INIT_EXTENSIONS.contains(&id) => extensions::table(id),
        TENSOR => std::ptr::from_ref(&TENSORS).cast(),
        LOG => std::ptr::from_ref(&LOGS).cast(),
        WEIGHT => std::ptr::from_ref(&WEIGHTS).cast(),
        HEAD => std::ptr::from_ref(&HEADS).cast(),
        AUTOGRAD => std::ptr::from_ref(&GRADIENTS).cast(),
        _ => std::ptr::null(),
    }
}

/// libtorch behind handles.
struct Tensors;

impl TensorServer for Tensors {
    fn resolve(name: &str, overload: &str) -> Result<u64> {
        scope::check()?;
        let mut operators = OPERATORS.lock().unwrap_or_else(PoisonError::into_inner);
        operators.id(name, overload)
    }

    fn call(
        id: u64,
        arguments: &[Lifted<'_>],
        named: &[(&str, Lifted<'_>)],
    ) -> Result<Vec<Output>> {
        scope::check()?;
        let operator = operator(id)?;
        let by_place: Vec<Held<'_>> = arguments.iter().map(Held::new).collect::<Result<_>>()?;
        let by_name = named
            .iter()
            .map(|(name, value)| Ok((*name, Held::new(value)?)));
        let by_name: Vec<(&str, Held<'_>)> = by_name.collect::<Result<_>>()?;
        let by_place: Vec<_> = by_place.iter().map(Held::argument).collect();
        let by_name: Vec<_> = by_name
            .iter()
            .map(|(name, held)| (*name, held.argument()))
            .collect();
        let values = dispatch::call(operator, &by_place, &by_name).map_err(Error::new)?;
        Ok(values.into_iter().map(output).collect())
    }

    fn clone(handle: u64) -> Result<u64> {
        scope::check()?;
        let tensor = handles::get(handle)?.shallow_clone();
        Ok(handles::insert(tensor))
    }

    /// Dropping what is not there is the plugin's mistake, and harmless.
    fn drop(handle: u64) {
        drop(handles::remove(handle));
    }

    fn describe(handle: u64) -> Result<Description> {
        let tensor = plain(handle)?;
        description(tensor.size(), tensor.kind(), tensor.device())
    }

    fn from_bytes(bytes: &[u8], shape: &[i64], dtype: i32) -> Result<u64> {
        scope::check()?;
        let kind = kind_of(dtype).ok_or_else(|| Error::new(format!("unknown dtype {dtype}")))?;
        let elements = shape.iter().try_fold(1_usize, |product, &size| {
            product.checked_mul(usize::try_from(size).ok()?)
        });
        let wanted = elements.and_then(|elements| elements.checked_mul(kind.elt_size_in_bytes()));
        if wanted != Some(bytes.len()) {
            let message = format!(
                "{} bytes do not fill shape {shape:?} of {kind:?}",
                bytes.len()
            );
            return Err(Error::new(message));
        }
        let tensor = Tensor::f_from_data_size(bytes, shape, kind).map_err(torch)?;
        Ok(handles::insert(tensor))
    }

    fn to_bytes(handle: u64) -> Result<Vec<u8>> {
        let tensor = plain(handle)?;
        let kind = tensor.kind();
        let on_cpu = tensor
            .f_detach()
            .and_then(|tensor| tensor.f_to_device(Device::Cpu));
        let tensor = on_cpu
            .and_then(|tensor| tensor.f_contiguous())
            .map_err(torch)?;
        let mut bytes = vec![0; tensor.numel() * kind.elt_size_in_bytes()];
        tensor
            .f_copy_data_u8(&mut bytes, tensor.numel())
            .map_err(torch)?;
        Ok(bytes)
    }

    fn defaults() -> Result<Description> {
        let (kind, device) = scope::defaults();
        description(Vec::new(), kind, device)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "that is what map_err gives")]
fn torch(error: tch::TchError) -> Error {
    Error::new(error.to_string())
}

/// A tensor that a plugin asks about.
fn plain(handle: u64) -> Result<Entry> {
    scope::check()?;
    let tensor = handles::get(handle)?;
    dispatch::check_plain(&tensor)
        .map_err(|what| Error::new(format!("the handle is of {what}")))?;
    Ok(tensor)
}

/// The operators that plugins looked up; an id is a place in the list, from 1.
#[derive(Default)]
struct Operators {
    list: Vec<Operator>,
    /// By name and overload.
    ids: HashMap<(String, String), u64>,
}

impl Operators {
    fn id(&mut self, name: &str, overload: &str) -> Result<u64> {
        let key = (name.to_owned(), overload.to_owned());
        if let Some(&id) = self.ids.get(&key) {
            return Ok(id);
        }
        let operator = dispatch::resolve(name, overload).map_err(Error::new)?;
        self.list.push(operator);
        let id = self.list.len() as u64;
        self.ids.insert(key, id);
        Ok(id)
    }
}

static OPERATORS: LazyLock<Mutex<Operators>> = LazyLock::new(Mutex::default);

fn operator(id: u64) -> Result<Operator> {
    let operators = OPERATORS.lock().unwrap_or_else(PoisonError::into_inner);
    usize::try_from(id)
        .ok()
        .and_then(|id| operators.list.get(id.checked_sub(1)?).copied())
        .ok_or_else(|| Error::new(format!("unknown operator id {id}")))
}

/// An argument with what its handles and streams stand for, alive for the call.
enum Held<'a> {
    Plain(Lifted<'a>),
    Tensor(Entry),
    Tensors(Vec<Entry>),
    OptionalTensors(Vec<Option<Entry>>),
    Bools(Vec<u8>),
    Stream(Rc<Generator>),
}

impl<'a> Held<'a> {
    fn new(lifted: &Lifted<'a>) -> Result<Self> {
        Ok(match *lifted {
            Lifted::Tensor(handle) => Held::Tensor(handles::get(handle)?),
            Lifted::Tensors(list) => {
                let table = handles::table();
                let tensors = list.iter().map(|&handle| table.get(handle));
                Held::Tensors(tensors.collect::<Result<_>>()?)
            }
            Lifted::OptionalTensors(list) => {
                let table = handles::table();
                let one = |&handle: &u64| match handle {
                    0 => Ok(None),
                    handle => table.get(handle).map(Some),
                };
                Held::OptionalTensors(list.iter().map(one).collect::<Result<_>>()?)
            }
            Lifted::Bools(list) => Held::Bools(list.iter().map(|&flag| u8::from(flag)).collect()),
            Lifted::Stream(name) => Held::Stream(scope::generator(name)?),
            plain => Held::Plain(plain),
        })
    }

    fn argument(&self) -> dispatch::Argument<'_> {
        use dispatch::Argument as To;
        match self {
            Held::Tensor(tensor) => To::Tensor(tensor),
            Held::Tensors(list) => To::Tensors(list.iter().map(|tensor| &**tensor).collect()),
            Held::OptionalTensors(list) => To::OptionalTensors(
                list.iter()
                    .map(|tensor| tensor.as_ref().map(|tensor| &**tensor))
                    .collect(),
            ),
            Held::Bools(list) => To::Bools(list),
            Held::Stream(generator) => To::Stream(generator),
            Held::Plain(lifted) => match *lifted {
                Lifted::Int(value) => To::Int(value),
                Lifted::Float(value) => To::Float(value),
                Lifted::Bool(value) => To::Bool(value),
                Lifted::Str(text) => To::Str(text),
                Lifted::Ints(list) => To::Ints(list),
                Lifted::Floats(list) => To::Floats(list),
                Lifted::Dtype(code) => To::Dtype(code),
                Lifted::Device { kind, index } => To::Device { kind, index },
                Lifted::MemoryFormat(format) => To::MemoryFormat(format),
                // The other kinds are held above.
                _ => To::None,
            },
        }
    }
}

fn output(value: Value) -> Output {
    let word = |tag, word| Output {
        tag,
        word,
        list: RVec::new(),
    };
    match value {
        Value::None => word(tag::NONE, 0),
        Value::Tensor(tensor) => word(tag::TENSOR, handles::insert(tensor)),
        Value::Tensors(list) => Output {
            tag: tag::TENSORS,
            word: 0,
            list: list.into_iter().map(handles::insert).collect(),
        },
        Value::Int(value) => word(tag::INT, value.cast_unsigned()),
        Value::Float(value) => word(tag::FLOAT, value.to_bits()),
        Value::Bool(value) => word(tag::BOOL, u64::from(value)),
        Value::Ints(list) => Output {
            tag: tag::INTS,
            word: 0,
            list: list.into_iter().map(i64::cast_unsigned).collect(),
        },
        Value::Floats(list) => Output {
            tag: tag::FLOATS,
            word: 0,
            list: list.into_iter().map(f64::to_bits).collect(),
        },
    }
}

fn description(shape: Vec<i64>, kind: Kind, device: Device) -> Result<Description> {
    let (device_type, device_index) = match device {
        Device::Cuda(index) => (1, i32::try_from(index).unwrap_or(-1)),
        _ => (0, -1),
    };
    let dtype = code_of(kind)
        .ok_or_else(|| Error::new(format!("tensors of {kind:?} are not served to plugins")))?;
    Ok(Description {
        shape: shape.into(),
        dtype,
        device_type,
        device_index,
    })
}

/// The element types that plugins may have, `c10::ScalarType` and tch's name: those of `is_served` in dispatch.cpp.
const KINDS: &[(i32, Kind)] = &[
    (0, Kind::Uint8),
    (1, Kind::Int8),
    (2, Kind::Int16),
    (3, Kind::Int),
    (4, Kind::Int64),
    (5, Kind::Half),
    (6, Kind::Float),
    (7, Kind::Double),
    (11, Kind::Bool),
    (15, Kind::BFloat16),
];

fn code_of(kind: Kind) -> Option<i32> {
    KINDS
        .iter()
        .find(|(_, other)| *other == kind)
        .map(|(code, _)| *code)
}

fn kind_of(code: i32) -> Option<Kind> {
    KINDS
        .iter()
        .find(|(other, _)| *other == code)
        .map(|(_, kind)| *kind)
}

extern "C" fn log(level: u32, message: RStr<'_>) {
    // A message that cannot be shown is lost: there is no other place to say so.
    let _ = answered(|| {
        let message = message.as_str();
        match level {
            0 | 1 => tracing::error!(target: "plugin", "{message}"),
            2 => tracing::warn!(target: "plugin", "{message}"),
            3 => tracing::info!(target: "plugin", "{message}"),
            4 => tracing::debug!(target: "plugin", "{message}"),
            _ => tracing::trace!(target: "plugin", "{message}"),
        }
        Ok(())
    });
}

extern "C" fn weight() -> RResult<u64, Failure> {
    answered(|| scope::weight().map(handles::insert))
}

extern "C" fn layer(name: RStr<'_>, x: u64) -> RResult<u64, Failure> {
    answered(|| {
        let x = handles::get(x)?;
        scope::head()?.layer(&name, &x).map(handles::insert)
    })
}

extern "C" fn dropout(x: u64, p: f64) -> RResult<u64, Failure> {
    answered(|| {
        let x = handles::get(x)?;
        scope::head()?.dropout(&x, p).map(handles::insert)
    })
}

extern "C" fn parameters(name: RStr<'_>) -> RResult<RVec<u64>, Failure> {
    answered(|| {
        let parameters = scope::head()?.parameters(name.as_str())?;
        Ok(parameters.into_iter().map(handles::insert).collect())
    })
}

extern "C" fn grad(
    outputs: RSlice<'_, u64>,
    inputs: RSlice<'_, u64>,
) -> RResult<RVec<u64>, Failure> {
    answered(|| {
        scope::check()?;
        let found = gradients::grad(&held(&outputs)?, &held(&inputs)?).map_err(torch)?;
        let handle = |grad: Option<Tensor>| grad.map_or(0, handles::insert);
        Ok(found.into_iter().map(handle).collect())
    })
}

extern "C" fn with_gradients(
    loss: u64,
    inputs: RSlice<'_, u64>,
    grads: RSlice<'_, u64>,
) -> RResult<u64, Failure> {
    answered(|| {
        scope::check()?;
        if inputs.len() != grads.len() {
            let message = format!("{} gradients for {} inputs", grads.len(), inputs.len());
            return Err(Error::new(message));
        }
        let loss = plain(loss)?;
        let grad = |&handle: &u64| match handle {
            0 => Ok(None),
            handle => Ok(Some(plain(handle)?.shallow_clone())),
        };
        let grads: Vec<_> = grads.iter().map(grad).collect::<Result<_>>()?;
        gradients::with_gradients(&loss, &held(&inputs)?, &grads)
            .map(handles::insert)
            .map_err(torch)
    })
}

fn held(handles: &[u64]) -> Result<Vec<Tensor>> {
    let own = |&handle: &u64| Ok(plain(handle)?.shallow_clone());
    handles.iter().map(own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::scope::{Scope, within};

    #[test]
    fn an_operator_has_one_id() {
        within(Scope::default(), || {
            let id = |overload| Tensors::resolve("aten::mul", overload).unwrap();
            assert_eq!(id("Tensor"), id("Tensor"));
            assert_ne!(id("Tensor"), id("Scalar"));
        });
    }

    #[test]
    fn a_code_that_is_no_served_dtype_is_refused() {
        let zeros = dispatch::resolve("aten::zeros", "").unwrap();
        let shape = dispatch::Argument::Ints(&[3]);
        let accepted =
            |dtype| dispatch::call(zeros, std::slice::from_ref(&shape), &[("dtype", dtype)]);
        for code in (-2..=300).chain([i32::MIN, i32::MAX, 1000, 256 + 6]) {
            for dtype in [
                dispatch::Argument::Dtype(code),
                dispatch::Argument::Int(code.into()),
            ] {
                let outcome = accepted(dtype);
                match kind_of(code) {
                    Some(_) => assert!(outcome.is_ok(), "{code}: {outcome:?}"),
                    None => assert_eq!(outcome.unwrap_err(), format!("there is no dtype {code}")),
                }
            }
        }
        let layout = [("layout", dispatch::Argument::Int(99))];
        let refused = dispatch::call(zeros, std::slice::from_ref(&shape), &layout);
        assert_eq!(refused.unwrap_err(), "there is no layout 99");
    }

    #[test]
    fn tensors_that_cannot_be_described_are_refused() {
        within(Scope::default(), || {
            let sparse = Tensor::zeros([2, 2], (Kind::Float, Device::Cpu)).to_sparse_sparse_dim(2);
            let complex = Tensor::zeros([2], (Kind::ComplexFloat, Device::Cpu));
            for (tensor, what) in [
                (Tensor::new(), "the handle is of an undefined tensor"),
                (sparse, "the handle is of a tensor of layout Sparse"),
                (complex, "the handle is of a tensor of dtype ComplexFloat"),
            ] {
                let handle = handles::insert(tensor);
                assert_eq!(Tensors::describe(handle).unwrap_err().to_string(), what);
                assert_eq!(Tensors::to_bytes(handle).unwrap_err().to_string(), what);
                handles::remove(handle);
            }
        });
    }

    #[test]
    fn gradients_need_tensors_that_fit() {
        let message = |failure: Failure| failure.message.to_string();
        let take = |outputs: &[u64], inputs: &[u64]| {
            let (outputs, inputs) = (RSlice::from_slice(outputs), RSlice::from_slice(inputs));
            grad(outputs, inputs).into_result().map_err(message)
        };
        let give = |loss: u64, inputs: &[u64], grads: &[u64]| {
            let (inputs, grads) = (RSlice::from_slice(inputs), RSlice::from_slice(grads));
            with_gradients(loss, inputs, grads)
                .into_result()
                .map_err(message)
        };
        within(Scope::default(), || {
            let x = Tensor::from_slice(&[1.0_f32, 2.0]).set_requires_grad(true);
            let loss = handles::insert(x.square().sum(Kind::Float));
            let x = handles::insert(x);
            let found = take(&[loss], &[x, loss]).unwrap();
            assert_eq!(handles::get(found[0]).unwrap().double_value(&[1]), 4.0);
            assert!(take(&[0], &[x]).is_err() && take(&[loss], &[0]).is_err());
            assert_eq!(
                give(loss, &[x], &[]).unwrap_err(),
                "0 gradients for 1 inputs"
            );
            assert!(give(loss, &[x], &[u64::MAX]).is_err());
            let given = give(loss, &[x, x], &[0, found[0]]).unwrap();
            for handle in found.into_iter().chain([loss, x, given]) {
                handles::remove(handle);
            }
        });
        assert!(take(&[], &[]).is_err() && give(0, &[], &[]).is_err());
    }

    #[test]
    fn outside_of_a_call_nothing_is_lent() {
        for refused in [
            Tensors::describe(1).err(),
            Tensors::clone(1).err(),
            Tensors::resolve("aten::mul", "").err(),
        ] {
            let refused = refused.unwrap().to_string();
            assert!(refused.contains("only within a call"), "{refused}");
        }
    }
}
