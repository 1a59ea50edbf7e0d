//! Random tensors of the tests: the same on every machine and in every call.

use tch::{Kind, Tensor};

use crate::random::Stream;

/// Standard normal values of a shape, from the stream `name`.
pub fn normal(name: &str, shape: &[i64], kind: Kind) -> Tensor {
    let mut stream = Stream::named(0, "check", name);
    let count: i64 = shape.iter().product();
    let values: Vec<f64> = (0..count).map(|_| stream.normal()).collect();
    Tensor::from_slice(&values).reshape(shape).to_kind(kind)
}

/// Whether two tensors are the same, bit for bit: NaN equals itself.
pub fn same(a: &Tensor, b: &Tensor) -> bool {
    let bits = |tensor: &Tensor| match tensor.kind() {
        Kind::Float => tensor.contiguous().view_dtype(Kind::Int),
        Kind::Double => tensor.contiguous().view_dtype(Kind::Int64),
        _ => tensor.shallow_clone(),
    };
    a.size() == b.size() && a.kind() == b.kind() && bits(a).equal(&bits(b))
}
