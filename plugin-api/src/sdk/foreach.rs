//! The same operator on many tensors in one call of the host, named as in PyTorch (`torch._foreach_mul_`).
//!
//! Where an optimizer does the same to every parameter, this costs one passage through the boundary for all of them.

use super::{Error, Result, Tensor, Value, op};

macro_rules! in_place {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) = $schema:literal;)+) => {
        $(
            $(#[$doc])*
            ///
            /// # Errors
            /// When the lists differ in length, or the host refuses the operator for one of the tensors.
            pub fn $name(tensors: &[&Tensor] $(, $arg: $type)*) -> Result<()> {
                op($schema).arg(tensors)$(.arg($arg))*.run()
            }
        )+
    };
}

in_place! {
    /// `tensor + value`.
    add_scalar_(value: f64) = "aten::_foreach_add_.Scalar";
    /// `tensor * value`.
    mul_scalar_(value: f64) = "aten::_foreach_mul_.Scalar";
    /// `tensor - other`.
    sub_(others: &[&Tensor]) = "aten::_foreach_sub_.List";
    /// `tensor + weight (end - tensor)`.
    lerp_(ends: &[&Tensor], weight: f64) = "aten::_foreach_lerp_.Scalar";
    /// `tensor + value * a * b`.
    addcmul_(a: &[&Tensor], b: &[&Tensor], value: f64) = "aten::_foreach_addcmul_.Scalar";
    /// `tensor + value * a / b`.
    addcdiv_(a: &[&Tensor], b: &[&Tensor], value: f64) = "aten::_foreach_addcdiv_.Scalar";
    /// Square root.
    sqrt_() = "aten::_foreach_sqrt_";
}

macro_rules! new {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) = $schema:literal;)+) => {
        $(
            $(#[$doc])*
            ///
            /// # Errors
            /// When the lists differ in length, or the host refuses the operator for one of the tensors.
            pub fn $name(tensors: &[&Tensor] $(, $arg: $type)*) -> Result<Vec<Tensor>> {
                match op($schema).arg(tensors)$(.arg($arg))*.call()?.pop() {
                    Some(Value::Tensors(tensors)) => Ok(tensors),
                    other => Err(Error::new(format!(concat!($schema, " answered {:?}"), other))),
                }
            }
        )+
    };
}

new! {
    /// `tensor / value`.
    div_scalar(value: f64) = "aten::_foreach_div.Scalar";
    /// `tensor / other`.
    div(others: &[&Tensor]) = "aten::_foreach_div.List";
    /// Square root.
    sqrt() = "aten::_foreach_sqrt";
    /// `tensor + weight (end - tensor)`.
    lerp(ends: &[&Tensor], weight: f64) = "aten::_foreach_lerp.Scalar";
    /// -1, 0 or 1; 0 for NaN.
    sign() = "aten::_foreach_sign";
}

/// `tensor + alpha * other` in place.
///
/// # Errors
/// When the lists differ in length, or the host refuses the operator for one of the tensors.
pub fn add_scaled_(tensors: &[&Tensor], others: &[&Tensor], alpha: f64) -> Result<()> {
    op("aten::_foreach_add_.List")
        .arg(tensors)
        .arg(others)
        .named("alpha", alpha)
        .run()
}
