use std::collections::HashMap;
use std::ops::{Mul, Sub};
use std::sync::{LazyLock, Mutex, PoisonError};

use super::{Arg, Device, Error, Kind, Result, Tensor, Value};
use crate::abi::{self, Named, abi_stable::std_types::RStr};

#[must_use]
pub struct Operator<'a> {
    name: &'a str,
    arguments: Vec<Arg<'a>>,
    named: Vec<(&'a str, Arg<'a>)>,
}

pub fn op(name: &str) -> Operator<'_> {
    Operator {
        name,
        arguments: Vec::new(),
        named: Vec::new(),
    }
}

impl<'a> Operator<'a> {
    pub fn arg(mut self, value: impl Into<Arg<'a>>) -> Self {
        self.arguments.push(value.into());
        self
    }

    pub fn named(mut self, name: &'a str, value: impl Into<Arg<'a>>) -> Self {
        self.named.push((name, value.into()));
        self
    }

    pub fn call(self) -> Result<Vec<Value>> {
        let host = abi::connected()?.tensor();
        let operator = resolve(self.name)?;
        let arguments: Vec<_> = self.arguments.iter().map(Arg::lower).collect();
        let named: Vec<_> = self
            .named
            .iter()
            .map(|(name, value)| Named {
                name: RStr::from_str(name),
                value: value.lower(),
            })
            .collect();
        let outputs = host.call(operator, &arguments, &named)?;
        // All of them first: what an error leaves behind must own its handles to drop them.
        let values: Vec<_> = outputs.into_iter().map(Value::lift).collect();
        values.into_iter().collect()
    }

    pub fn tensor(self) -> Result<Tensor> {
        let [tensor] = self.tensors()?;
        Ok(tensor)
    }

    pub fn tensors<const N: usize>(self) -> Result<[Tensor; N]> {
        let name = self.name.to_owned();
        let tensors = self.call()?.into_iter().map(|value| match value {
            Value::Tensor(tensor) => Ok(tensor),
            other => Err(Error::new(format!(
                "{name} answered {other:?}, not a tensor"
            ))),
        });
        <[Tensor; N]>::try_from(tensors.collect::<Result<Vec<_>>>()?).map_err(|other| {
            Error::new(format!("{name} answered {} tensors, not {N}", other.len()))
        })
    }

    pub fn run(self) -> Result<()> {
        self.call().map(drop)
    }
}

fn resolve(name: &str) -> Result<u64> {
    static IDS: LazyLock<Mutex<HashMap<String, u64>>> = LazyLock::new(Mutex::default);
    let mut ids = IDS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(&id) = ids.get(name) {
        return Ok(id);
    }
    let (base, overload) = name.split_once('.').unwrap_or((name, ""));
    let id = abi::connected()?.tensor().resolve(base, overload)?;
    ids.insert(name.to_owned(), id);
    Ok(id)
}

macro_rules! methods {
    ($($name:ident($($arg:ident: $type:ty),*) = $schema:literal;)+) => {
        impl Tensor {
            $(
                pub fn $name(&self $(, $arg: $type)*) -> Result<Tensor> {
                    op($schema).arg(self)$(.arg($arg))*.tensor()
                }
            )+
        }
    };
}

methods! {
    slice(dim: i64, start: Option<i64>, end: Option<i64>) = "aten::slice.Tensor";
    index_select(dim: i64, index: &Tensor) = "aten::index_select";
    tanh() = "aten::tanh";
    relu() = "aten::relu";
    gelu() = "aten::gelu";
    eq_tensor(other: &Tensor) = "aten::eq.Tensor";
    sum() = "aten::sum";
    argmax(dim: i64) = "aten::argmax";
    zeros_like() = "aten::zeros_like";
    detach() = "aten::detach";
}

impl Tensor {
    pub fn sub_int(&self, value: i64) -> Result<Tensor> {
        op("aten::sub.Scalar").arg(self).arg(value).tensor()
    }

    pub fn to_kind(&self, kind: Kind) -> Result<Tensor> {
        op("aten::to.dtype").arg(self).arg(kind).tensor()
    }

    pub fn to_device(&self, device: Device) -> Result<Tensor> {
        op("aten::to.dtype_layout")
            .arg(self)
            .named("device", device)
            .tensor()
    }

    pub(crate) fn to_default(&self) -> Result<Tensor> {
        op("aten::to.dtype_layout")
            .arg(self)
            .named("dtype", Self::default_kind()?)
            .named("device", Self::default_device()?)
            .tensor()
    }

    pub fn zeros(shape: &[i64]) -> Result<Tensor> {
        op("aten::zeros")
            .arg(shape)
            .named("dtype", Self::default_kind()?)
            .named("device", Self::default_device()?)
            .tensor()
    }

    pub fn cross_entropy_sum(&self, target: &Tensor) -> Result<Tensor> {
        const SUM: i64 = 2;
        op("aten::cross_entropy_loss")
            .arg(self)
            .arg(target)
            .named("reduction", SUM)
            .tensor()
    }
}

fn infix(result: Result<Tensor>) -> Tensor {
    result.unwrap_or_else(|error| std::panic::resume_unwind(Box::new(error)))
}

macro_rules! infix {
    ($($trait:ident $method:ident $scalar:literal;)+) => {
        $(impl $trait<f64> for Tensor {
            type Output = Tensor;
            fn $method(self, other: f64) -> Tensor {
                infix(op($scalar).arg(&self).arg(other).tensor())
            }
        })+
    };
}

infix! {
    Sub sub "aten::sub.Scalar";
    Mul mul "aten::mul.Scalar";
}
