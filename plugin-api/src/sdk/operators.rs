//! ATen operators: any by its schema's name through [`op`], the common ones as methods named as in PyTorch.

use std::collections::HashMap;
use std::ops::{Add, Div, Mul, Neg, Sub};
use std::sync::{LazyLock, Mutex, PoisonError};

use super::{Arg, Device, Error, Kind, Result, Tensor, Value};
use crate::abi::{self, Named, abi_stable::std_types::RStr};

/// A call of an ATen operator in the making.
///
/// ```no_run
/// # use lorahost_plugin_api::prelude::*;
/// # fn example(x: &Tensor) -> Result<Tensor> {
/// op("aten::clamp").arg(x).named("max", 1.0).tensor()
/// # }
/// ```
#[must_use]
pub struct Operator<'a> {
    name: &'a str,
    arguments: Vec<Arg<'a>>,
    named: Vec<(&'a str, Arg<'a>)>,
}

/// An operator by the name of its schema: `aten::mul.Tensor`; the part after the dot is the overload.
pub fn op(name: &str) -> Operator<'_> {
    Operator {
        name,
        arguments: Vec::new(),
        named: Vec::new(),
    }
}

impl<'a> Operator<'a> {
    /// The next argument by position.
    pub fn arg(mut self, value: impl Into<Arg<'a>>) -> Self {
        self.arguments.push(value.into());
        self
    }

    /// An argument by its name; what is left out takes the schema's default.
    pub fn named(mut self, name: &'a str, value: impl Into<Arg<'a>>) -> Self {
        self.named.push((name, value.into()));
        self
    }

    /// All results.
    ///
    /// # Errors
    /// When the operator is unknown, an argument does not fit, or it refuses its inputs.
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

    /// The one result, a tensor.
    ///
    /// # Errors
    /// As [`call`](Self::call), or when there are other results.
    pub fn tensor(self) -> Result<Tensor> {
        let [tensor] = self.tensors()?;
        Ok(tensor)
    }

    /// The `N` results, all tensors.
    ///
    /// # Errors
    /// As [`call`](Self::call), or when there are other results.
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

    /// Calls for the effect alone, such as an update in place.
    ///
    /// # Errors
    /// As [`call`](Self::call).
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

/// Joins tensors along an existing dimension.
///
/// # Errors
/// When the shapes do not fit.
pub fn cat(tensors: &[&Tensor], dim: i64) -> Result<Tensor> {
    op("aten::cat").arg(tensors).arg(dim).tensor()
}

/// Joins tensors along a new dimension.
///
/// # Errors
/// When the shapes do not fit.
pub fn stack(tensors: &[&Tensor], dim: i64) -> Result<Tensor> {
    op("aten::stack").arg(tensors).arg(dim).tensor()
}

/// A method that passes its arguments on by position.
macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) = $schema:literal;)+) => {
        impl Tensor {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// When the host refuses the operator, as for shapes that do not fit.
                pub fn $name(&self $(, $arg: $type)*) -> Result<Tensor> {
                    op($schema).arg(self)$(.arg($arg))*.tensor()
                }
            )+
        }

        #[cfg(test)]
        pub(crate) const METHODS: &[&str] = &[$(stringify!($name)),+];
    };
}

methods! {
    matmul(other: &Tensor) = "aten::matmul";
    /// Transpose of a matrix.
    t() = "aten::t";
    transpose(dim0: i64, dim1: i64) = "aten::transpose.int";
    permute(dims: &[i64]) = "aten::permute";
    reshape(shape: &[i64]) = "aten::reshape";
    expand(shape: &[i64]) = "aten::expand";
    unsqueeze(dim: i64) = "aten::unsqueeze";
    squeeze(dim: i64) = "aten::squeeze.dim";
    contiguous() = "aten::contiguous";
    narrow(dim: i64, start: i64, length: i64) = "aten::narrow";
    /// From `start` to before `end` along `dim`; negative ends count from the end.
    slice(dim: i64, start: Option<i64>, end: Option<i64>) = "aten::slice.Tensor";
    select(dim: i64, index: i64) = "aten::select.int";
    index_select(dim: i64, index: &Tensor) = "aten::index_select";
    gather(dim: i64, index: &Tensor) = "aten::gather";
    /// Positions of what is not zero, `[found, dims]`.
    nonzero() = "aten::nonzero";
    masked_fill(mask: &Tensor, value: f64) = "aten::masked_fill.Scalar";
    sqrt() = "aten::sqrt";
    rsqrt() = "aten::rsqrt";
    exp() = "aten::exp";
    log() = "aten::log";
    /// log(1 + x), exact for small x.
    log1p() = "aten::log1p";
    abs() = "aten::abs";
    sign() = "aten::sign";
    square() = "aten::square";
    reciprocal() = "aten::reciprocal";
    tanh() = "aten::tanh";
    sigmoid() = "aten::sigmoid";
    relu() = "aten::relu";
    silu() = "aten::silu";
    log_sigmoid() = "aten::log_sigmoid";
    /// With the error function.
    gelu() = "aten::gelu";
    maximum(other: &Tensor) = "aten::maximum";
    minimum(other: &Tensor) = "aten::minimum";
    eq_tensor(other: &Tensor) = "aten::eq.Tensor";
    eq_scalar(value: f64) = "aten::eq.Scalar";
    ne_scalar(value: f64) = "aten::ne.Scalar";
    lt_scalar(value: f64) = "aten::lt.Scalar";
    le_scalar(value: f64) = "aten::le.Scalar";
    gt_scalar(value: f64) = "aten::gt.Scalar";
    ge_scalar(value: f64) = "aten::ge.Scalar";
    logical_and(other: &Tensor) = "aten::logical_and";
    logical_not() = "aten::logical_not";
    isfinite() = "aten::isfinite";
    isnan() = "aten::isnan";
    /// Whether everything is true, or not 0.
    all() = "aten::all";
    /// Whether something is.
    any() = "aten::any";
    /// Sum over everything.
    sum() = "aten::sum";
    sum_dim(dims: &[i64], keepdim: bool) = "aten::sum.dim_IntList";
    /// Mean over everything.
    mean() = "aten::mean";
    mean_dim(dims: &[i64], keepdim: bool) = "aten::mean.dim";
    /// Largest of everything.
    max() = "aten::max";
    /// Smallest of everything.
    min() = "aten::min";
    /// Largest along the dimensions.
    amax(dims: &[i64], keepdim: bool) = "aten::amax";
    /// Smallest along the dimensions.
    amin(dims: &[i64], keepdim: bool) = "aten::amin";
    argmax(dim: i64) = "aten::argmax";
    argmin(dim: i64) = "aten::argmin";
    /// Logarithm of the sum of exponentials along the dimensions.
    logsumexp(dims: &[i64], keepdim: bool) = "aten::logsumexp";
    /// Euclidean (Frobenius) norm over everything.
    norm() = "aten::linalg_vector_norm";
    softmax(dim: i64) = "aten::softmax.int";
    log_softmax(dim: i64) = "aten::log_softmax.int";
    diagonal() = "aten::diagonal";
    diag() = "aten::diag";
    triu(diagonal: i64) = "aten::triu";
    tril(diagonal: i64) = "aten::tril";
    inverse() = "aten::linalg_inv";
    /// X with `self` X = `other`.
    solve(other: &Tensor) = "aten::linalg_solve";
    zeros_like() = "aten::zeros_like";
    ones_like() = "aten::ones_like";
    detach() = "aten::detach";
    /// A copy with memory of its own.
    copy() = "aten::clone";
    add_tensor(other: &Tensor) = "aten::add.Tensor";
    sub_tensor(other: &Tensor) = "aten::sub.Tensor";
    mul_tensor(other: &Tensor) = "aten::mul.Tensor";
    div_tensor(other: &Tensor) = "aten::div.Tensor";
    pow(exponent: f64) = "aten::pow.Tensor_Scalar";
    clamp(min: f64, max: f64) = "aten::clamp";
}

/// ATen's number for a loss that is summed.
const SUM: i64 = 2;

/// Updates in place; each returns nothing, since the tensor itself changes.
macro_rules! in_place {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) = $schema:literal;)+) => {
        impl Tensor {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// When the host refuses the operator, as for shapes that do not fit.
                pub fn $name(&self $(, $arg: $type)*) -> Result<()> {
                    op($schema).arg(self)$(.arg($arg))*.run()
                }
            )+
        }

        #[cfg(test)]
        pub(crate) const IN_PLACE: &[&str] = &[$(stringify!($name)),+];
    };
}

in_place! {
    add_(other: &Tensor) = "aten::add_.Tensor";
    sub_(other: &Tensor) = "aten::sub_.Tensor";
    mul_(other: &Tensor) = "aten::mul_.Tensor";
    div_(other: &Tensor) = "aten::div_.Tensor";
    mul_scalar_(value: f64) = "aten::mul_.Scalar";
    /// `self + weight (end - self)`.
    lerp_(end: &Tensor, weight: f64) = "aten::lerp_.Scalar";
    copy_(other: &Tensor) = "aten::copy_";
    zero_() = "aten::zero_";
    fill_(value: f64) = "aten::fill_.Scalar";
}

impl Tensor {
    /// `self + alpha * other` in place.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn add_scaled_(&self, other: &Tensor, alpha: f64) -> Result<()> {
        op("aten::add_.Tensor")
            .arg(self)
            .arg(other)
            .named("alpha", alpha)
            .run()
    }

    /// `self + value * a * b` in place.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn addcmul_(&self, a: &Tensor, b: &Tensor, value: f64) -> Result<()> {
        op("aten::addcmul_")
            .arg(self)
            .arg(a)
            .arg(b)
            .named("value", value)
            .run()
    }

    /// `self + value * a / b` in place.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn addcdiv_(&self, a: &Tensor, b: &Tensor, value: f64) -> Result<()> {
        op("aten::addcdiv_")
            .arg(self)
            .arg(a)
            .arg(b)
            .named("value", value)
            .run()
    }

    /// `self` where `condition` holds, `other` elsewhere.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn where_else(&self, condition: &Tensor, other: &Tensor) -> Result<Tensor> {
        op("aten::where.self")
            .arg(condition)
            .arg(self)
            .arg(other)
            .tensor()
    }

    /// `self - value`.
    ///
    /// # Errors
    /// When the host refuses the operator.
    pub fn sub_int(&self, value: i64) -> Result<Tensor> {
        op("aten::sub.Scalar").arg(self).arg(value).tensor()
    }

    /// Another element type.
    ///
    /// # Errors
    /// When the host refuses the operator.
    pub fn to_kind(&self, kind: Kind) -> Result<Tensor> {
        op("aten::to.dtype").arg(self).arg(kind).tensor()
    }

    /// Another device.
    ///
    /// # Errors
    /// When the device is not there.
    pub fn to_device(&self, device: Device) -> Result<Tensor> {
        op("aten::to.dtype_layout")
            .arg(self)
            .named("device", device)
            .tensor()
    }

    /// Device and element type of the run's parameters.
    pub(crate) fn to_default(&self) -> Result<Tensor> {
        op("aten::to.dtype_layout")
            .arg(self)
            .named("dtype", Self::default_kind()?)
            .named("device", Self::default_device()?)
            .tensor()
    }

    /// Zeros on the device of the run.
    ///
    /// # Errors
    /// When the shape is negative.
    pub fn zeros(shape: &[i64]) -> Result<Tensor> {
        op("aten::zeros")
            .arg(shape)
            .named("dtype", Self::default_kind()?)
            .named("device", Self::default_device()?)
            .tensor()
    }

    /// Ones on the diagonal, `[n, n]`.
    ///
    /// # Errors
    /// When `n` is negative.
    pub fn eye(n: i64) -> Result<Tensor> {
        op("aten::eye")
            .arg(n)
            .named("dtype", Self::default_kind()?)
            .named("device", Self::default_device()?)
            .tensor()
    }

    /// Squared differences summed over everything; a target of the same shape.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn mse_loss_sum(&self, target: &Tensor) -> Result<Tensor> {
        op("aten::mse_loss")
            .arg(self)
            .arg(target)
            .named("reduction", SUM)
            .tensor()
    }

    /// Cross-entropy of `sigmoid(self)` against probabilities of the same shape, summed over everything:
    /// `softplus(x) - x y`.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn binary_cross_entropy_with_logits_sum(&self, target: &Tensor) -> Result<Tensor> {
        op("aten::binary_cross_entropy_with_logits")
            .arg(self)
            .arg(target)
            .named("reduction", SUM)
            .tensor()
    }

    /// Cross-entropy summed over rows: logits `[rows, classes]`, target `[rows]` int64; -100 is left out.
    ///
    /// # Errors
    /// When the shapes do not fit or a target is out of range.
    pub fn cross_entropy_sum(&self, target: &Tensor) -> Result<Tensor> {
        op("aten::cross_entropy_loss")
            .arg(self)
            .arg(target)
            .named("reduction", SUM)
            .tensor()
    }
}

/// Infix operators cannot return a `Result`: the error unwinds to the boundary, which returns it as the call's own.
fn infix(result: Result<Tensor>) -> Tensor {
    result.unwrap_or_else(|error| std::panic::resume_unwind(Box::new(error)))
}

/// Runs `body`, whose infix operators return their errors after all; other panics go on.
#[cfg(feature = "testing")]
pub(crate) fn caught<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        Err(match payload.downcast::<Error>() {
            Ok(error) => *error,
            Err(payload) => resume_unwind(payload),
        })
    })
}

macro_rules! infix {
    ($($trait:ident $method:ident $tensor:literal $scalar:literal;)+) => {
        $(
            impl $trait<&Tensor> for &Tensor {
                type Output = Tensor;
                fn $method(self, other: &Tensor) -> Tensor {
                    infix(op($tensor).arg(self).arg(other).tensor())
                }
            }
            impl $trait<&Tensor> for Tensor {
                type Output = Tensor;
                fn $method(self, other: &Tensor) -> Tensor {
                    (&self).$method(other)
                }
            }
            impl $trait<Tensor> for &Tensor {
                type Output = Tensor;
                fn $method(self, other: Tensor) -> Tensor {
                    self.$method(&other)
                }
            }
            impl $trait<Tensor> for Tensor {
                type Output = Tensor;
                fn $method(self, other: Tensor) -> Tensor {
                    (&self).$method(&other)
                }
            }
            impl $trait<f64> for &Tensor {
                type Output = Tensor;
                fn $method(self, other: f64) -> Tensor {
                    infix(op($scalar).arg(self).arg(other).tensor())
                }
            }
            impl $trait<f64> for Tensor {
                type Output = Tensor;
                fn $method(self, other: f64) -> Tensor {
                    (&self).$method(other)
                }
            }
        )+
    };
}

infix! {
    Add add "aten::add.Tensor" "aten::add.Scalar";
    Sub sub "aten::sub.Tensor" "aten::sub.Scalar";
    Mul mul "aten::mul.Tensor" "aten::mul.Scalar";
    Div div "aten::div.Tensor" "aten::div.Scalar";
}

impl Neg for &Tensor {
    type Output = Tensor;
    fn neg(self) -> Tensor {
        infix(op("aten::neg").arg(self).tensor())
    }
}
