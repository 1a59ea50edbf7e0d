use std::ffi::c_void;

use super::{Device, Error, Kind, Result, Tensor};
use crate::abi::{Argument, Output, tag};

#[derive(Clone)]
pub enum Arg<'a> {
    None,
    Tensor(&'a Tensor),
    Tensors(Vec<u64>),
    OptionalTensors(Vec<u64>),
    Int(i64),
    Float(f64),
    Bool(bool),
    Str(&'a str),
    Ints(&'a [i64]),
    Floats(&'a [f64]),
    Bools(&'a [bool]),
    Kind(Kind),
    Device(Device),
    MemoryFormat(i8),
    Stream(&'a str),
}

impl Arg<'_> {
    pub(super) fn lower(&self) -> Argument {
        let word = |tag, word| Argument {
            tag,
            word,
            data: std::ptr::null(),
            len: 0,
        };
        match self {
            Arg::None => word(tag::NONE, 0),
            Arg::Tensor(tensor) => word(tag::TENSOR, tensor.handle()),
            Arg::Tensors(list) => lower_list(tag::TENSORS, list),
            Arg::OptionalTensors(list) => lower_list(tag::OPTIONAL_TENSORS, list),
            Arg::Int(value) => word(tag::INT, value.cast_unsigned()),
            Arg::Float(value) => word(tag::FLOAT, value.to_bits()),
            Arg::Bool(value) => word(tag::BOOL, u64::from(*value)),
            Arg::Str(text) => lower_list(tag::STRING, text.as_bytes()),
            Arg::Ints(list) => lower_list(tag::INTS, list),
            Arg::Floats(list) => lower_list(tag::FLOATS, list),
            Arg::Bools(list) => lower_list(tag::BOOLS, list),
            Arg::Kind(kind) => word(tag::DTYPE, u64::from(kind.code().cast_unsigned())),
            Arg::Device(device) => word(tag::DEVICE, device.word()),
            Arg::MemoryFormat(format) => {
                word(tag::MEMORY_FORMAT, u64::from(format.cast_unsigned()))
            }
            Arg::Stream(name) => lower_list(tag::STREAM, name.as_bytes()),
        }
    }
}

fn lower_list<T>(tag: u32, list: &[T]) -> Argument {
    Argument {
        tag,
        word: 0,
        data: list.as_ptr().cast::<c_void>(),
        len: list.len(),
    }
}

macro_rules! from {
    ($($type:ty => |$value:ident| $arg:expr;)+) => {
        $(impl<'a> From<$type> for Arg<'a> {
            fn from($value: $type) -> Self {
                $arg
            }
        })+
    };
}

from! {
    &'a Tensor => |value| Arg::Tensor(value);
    Option<&'a Tensor> => |value| value.map_or(Arg::None, Arg::Tensor);
    &[&Tensor] => |value| Arg::Tensors(value.iter().map(|tensor| tensor.handle()).collect());
    &[Tensor] => |value| Arg::Tensors(value.iter().map(Tensor::handle).collect());
    &Vec<&Tensor> => |value| Arg::Tensors(value.iter().map(|tensor| tensor.handle()).collect());
    &Vec<Tensor> => |value| Arg::Tensors(value.iter().map(Tensor::handle).collect());
    i64 => |value| Arg::Int(value);
    i32 => |value| Arg::Int(value.into());
    Option<i64> => |value| value.map_or(Arg::None, Arg::Int);
    f64 => |value| Arg::Float(value);
    bool => |value| Arg::Bool(value);
    &'a str => |value| Arg::Str(value);
    &'a [i64] => |value| Arg::Ints(value);
    &'a [f64] => |value| Arg::Floats(value);
    &'a [bool] => |value| Arg::Bools(value);
    Kind => |value| Arg::Kind(value);
    Device => |value| Arg::Device(value);
}

impl<'a, const N: usize> From<&'a [i64; N]> for Arg<'a> {
    fn from(value: &'a [i64; N]) -> Self {
        Arg::Ints(value)
    }
}

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

impl Value {
    pub(super) fn lift(output: Output) -> Result<Self> {
        Ok(match output.tag {
            tag::NONE => Value::None,
            tag::TENSOR => Value::Tensor(Tensor::owned(output.word)),
            tag::TENSORS => Value::Tensors(output.list.into_iter().map(Tensor::owned).collect()),
            tag::INT => Value::Int(output.word.cast_signed()),
            tag::FLOAT => Value::Float(f64::from_bits(output.word)),
            tag::BOOL => Value::Bool(output.word != 0),
            tag::INTS => Value::Ints(output.list.into_iter().map(u64::cast_signed).collect()),
            tag::FLOATS => Value::Floats(output.list.into_iter().map(f64::from_bits).collect()),
            other => {
                return Err(Error::new(format!(
                    "the host answered a value with the unknown tag {other}"
                )));
            }
        })
    }
}
