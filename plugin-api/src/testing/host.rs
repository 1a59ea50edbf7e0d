//! The tables of the fake host.

use std::collections::HashMap;
use std::ffi::c_void;

use super::array::Array;
use super::operators::{self, Outcome};
use super::random::Stream;
use super::store::{self, CallState};
use crate::abi::abi_stable::std_types::{RResult, RSlice, RStr, RVec};
use crate::abi::{
    AUTOGRAD, AutogradTable, COVARIANCE, CovarianceTable, Description, Failure, GRADIENTS,
    GradientTable, HEAD, HeadTable, HostTable, LOG, Lifted, LogTable, Output, TENSOR, TensorServer,
    TensorTable, WEIGHT, WeightTable, answered, connect_static, tag,
};
use crate::sdk::{Error, Kind, Result};

/// Connects this process to the fake host: tensors are float64 on the CPU, computed by nalgebra. Further calls do
/// nothing, and the helpers of this module call it themselves.
///
/// Each thread has tensors and streams of its own.
pub fn install() {
    // Another host can only be there if the crate's own tests made it, and then its tables serve.
    let _ = connect_static(&HOST);
}

static HOST: HostTable = HostTable {
    size: size_of::<HostTable>(),
    extension,
};

extern "C" fn extension(id: RStr<'_>) -> *const c_void {
    match id.as_str() {
        TENSOR => std::ptr::from_ref(&TENSORS).cast(),
        LOG => std::ptr::from_ref(&LOGS).cast(),
        WEIGHT => std::ptr::from_ref(&WEIGHTS).cast(),
        HEAD => std::ptr::from_ref(&HEADS).cast(),
        AUTOGRAD => std::ptr::from_ref(&AUTOGRADS).cast(),
        GRADIENTS => std::ptr::from_ref(&GRADIENT).cast(),
        COVARIANCE => std::ptr::from_ref(&COVARIANCES).cast(),
        _ => std::ptr::null(),
    }
}

static TENSORS: TensorTable = TensorTable::of::<Fake>();

struct Fake;

impl TensorServer for Fake {
    fn resolve(name: &str, overload: &str) -> Result<u64> {
        operators::resolve(name, overload)
    }

    fn call(
        operator: u64,
        arguments: &[Lifted<'_>],
        named: &[(&str, Lifted<'_>)],
    ) -> Result<Vec<Output>> {
        let results = operators::call(operator, arguments, named)?;
        let output = |result| match result {
            Outcome::Tensor(array) => Output {
                tag: tag::TENSOR,
                word: store::put(array),
                list: RVec::new(),
            },
            Outcome::Tensors(arrays) => Output {
                tag: tag::TENSORS,
                word: 0,
                list: arrays.into_iter().map(store::put).collect(),
            },
        };
        Ok(results.into_iter().map(output).collect())
    }

    fn clone(tensor: u64) -> Result<u64> {
        store::get(tensor).map(store::put)
    }

    fn drop(tensor: u64) {
        store::remove(tensor);
    }

    fn describe(tensor: u64) -> Result<Description> {
        let array = store::get(tensor)?;
        Ok(Description {
            shape: array
                .shape
                .iter()
                .map(|&size| size.cast_signed() as i64)
                .collect(),
            dtype: array.kind.code(),
            ..Self::defaults()?
        })
    }

    fn from_bytes(bytes: &[u8], shape: &[i64], dtype: i32) -> Result<u64> {
        let kind = Kind::from_code(dtype);
        let values = match kind {
            Kind::Double => words(bytes).map(f64::from_ne_bytes).collect(),
            Kind::Float => words(bytes)
                .map(|word| f64::from(f32::from_ne_bytes(word)))
                .collect(),
            Kind::Int64 => words(bytes)
                .map(|word| i64::from_ne_bytes(word) as f64)
                .collect(),
            // Other kinds are refused by the array, and bytes that are left over by their number.
            _ => bytes.iter().map(|&byte| f64::from(byte)).collect(),
        };
        let sizes: Result<Vec<_>, _> = shape.iter().map(|&size| usize::try_from(size)).collect();
        let sizes = sizes.map_err(|_| Error::new(format!("a size below 0 in {shape:?}")))?;
        Array::new(values, &sizes, kind).map(store::put)
    }

    fn to_bytes(tensor: u64) -> Result<Vec<u8>> {
        let array = store::get(tensor)?;
        let values = array.values().into_iter();
        Ok(match array.kind {
            Kind::Double => values.flat_map(f64::to_ne_bytes).collect(),
            Kind::Float => values
                .flat_map(|value| (value as f32).to_ne_bytes())
                .collect(),
            Kind::Int64 => values
                .flat_map(|value| (value as i64).to_ne_bytes())
                .collect(),
            _ => values.map(|value| value as u8).collect(),
        })
    }

    fn defaults() -> Result<Description> {
        Ok(Description {
            shape: RVec::new(),
            dtype: Kind::Double.code(),
            device_type: 0,
            device_index: -1,
        })
    }
}

fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks().0.iter().copied()
}

static LOGS: LogTable = LogTable {
    size: size_of::<LogTable>(),
    log,
};

extern "C" fn log(level: u32, message: RStr<'_>) {
    let level = ["error", "warn", "info", "debug", "trace"]
        .get((level as usize).wrapping_sub(1))
        .unwrap_or(&"unknown level");
    store::log(format!("{level}: {message}"));
}

static WEIGHTS: WeightTable = WeightTable {
    size: size_of::<WeightTable>(),
    weight,
};

extern "C" fn weight() -> RResult<u64, Failure> {
    answered(|| {
        let weight = store::call(|call| call.weight.clone());
        let weight = weight.ok_or_else(|| {
            Error::new("this call has no weight").with_help("call testing::init_on with one")
        })?;
        weight.copy().map(store::put)
    })
}

static GRADIENT: GradientTable = GradientTable {
    size: size_of::<GradientTable>(),
    gradient,
};

extern "C" fn gradient(layer: RStr<'_>, _batches: u64) -> RResult<u64, Failure> {
    answered(|| measured("gradient", &layer, |call| &call.gradients))
}

static COVARIANCES: CovarianceTable = CovarianceTable {
    size: size_of::<CovarianceTable>(),
    covariance,
};

extern "C" fn covariance(layer: RStr<'_>, _batches: u64) -> RResult<u64, Failure> {
    answered(|| measured("covariance", &layer, |call| &call.covariances))
}

/// A copy of what the test gave for this layer.
fn measured(
    what: &str,
    layer: &str,
    of: impl FnOnce(&CallState) -> &HashMap<String, Array>,
) -> Result<u64> {
    let found = store::call(|call| of(call).get(layer).cloned());
    let found = found.ok_or_else(|| {
        Error::new(format!("this call has no {what} of `{layer}`"))
            .with_help("give it to testing::Given")
    })?;
    found.copy().map(store::put)
}

static HEADS: HeadTable = HeadTable {
    size: size_of::<HeadTable>(),
    layer,
    dropout,
    parameters,
};

extern "C" fn layer(name: RStr<'_>, x: u64) -> RResult<u64, Failure> {
    answered(|| {
        let layer = store::call(|call| call.head.get(name.as_str()).cloned());
        let (weight, bias) = layer.ok_or_else(|| no_layer(name.as_str()))?;
        operators::linear(&store::get(x)?, &weight, bias.as_ref()).map(store::put)
    })
}

extern "C" fn dropout(x: u64, p: f64) -> RResult<u64, Failure> {
    answered(|| {
        if !(0.0..1.0).contains(&p) {
            return Err(Error::new(format!("dropout of {p}, outside of 0 <= p < 1")));
        }
        let x = store::get(x)?;
        if !store::call(|call| call.training) {
            return Ok(store::put(x));
        }
        let kept = store::draw("dropout", x.len(), Stream::uniform);
        let values = x.values().into_iter().zip(kept);
        let values = values.map(|(value, draw)| if draw < p { 0.0 } else { value / (1.0 - p) });
        Array::new(values.collect(), &x.shape, x.kind).map(store::put)
    })
}

/// None of them learns here.
extern "C" fn parameters(name: RStr<'_>) -> RResult<RVec<u64>, Failure> {
    answered(|| {
        if store::call(|call| call.head.contains_key(name.as_str())) {
            Ok(RVec::new())
        } else {
            Err(no_layer(name.as_str()))
        }
    })
}

fn no_layer(name: &str) -> Error {
    Error::new(format!("the model's head has no layer `{name}`"))
}

static AUTOGRADS: AutogradTable = AutogradTable {
    size: size_of::<AutogradTable>(),
    grad,
    with_gradients,
};

extern "C" fn grad(_: RSlice<'_, u64>, _: RSlice<'_, u64>) -> RResult<RVec<u64>, Failure> {
    answered(|| Err(no_autograd()))
}

extern "C" fn with_gradients(
    _: u64,
    _: RSlice<'_, u64>,
    _: RSlice<'_, u64>,
) -> RResult<u64, Failure> {
    answered(|| Err(no_autograd()))
}

fn no_autograd() -> Error {
    Error::new("the fake host has no autograd")
        .with_help("test it in the real one: `lorahost plugin check FILE`")
}
