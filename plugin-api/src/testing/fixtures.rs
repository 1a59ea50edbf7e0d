//! Small things that tests start from.

use super::host::install;
use super::store::{self, CallState};
use crate::protocol::Layer;
use crate::sdk::{Batch, Context, Result, Tensor};

/// A float64 tensor of these values in row-major order.
///
/// # Errors
/// When the number of values is not the product of the shape.
pub fn tensor(values: &[f64], shape: &[i64]) -> Result<Tensor> {
    install();
    Tensor::from_f64(values, shape)
}

/// An int64 tensor of one dimension: tokens, offsets, labels.
///
/// # Errors
/// When there are more values than an `i64` counts.
pub fn integers(values: &[i64]) -> Result<Tensor> {
    install();
    let count = i64::try_from(values.len()).unwrap_or(i64::MAX);
    Tensor::from_i64(values, &[count])
}

/// A packed batch: ids `[total]`, offsets `[rows + 1]`, and labels.
#[must_use]
pub fn batch<'a>(tokens: &'a Tensor, offsets: &'a Tensor, labels: Option<&'a Tensor>) -> Batch<'a> {
    Batch {
        tokens,
        offsets,
        labels,
        bytes: None,
    }
}

/// A layer of this size with scale 1, named `layer`.
#[must_use]
pub fn layer(fan_out: usize, fan_in: usize, rank: usize) -> Layer {
    Layer {
        name: "layer".to_owned(),
        index: 0,
        fan_in,
        fan_out,
        rank,
        scale: 1.0,
        role: "other".to_owned(),
    }
}

/// Begins a call of the host, such as `layer 3` or `step 10`: streams start anew, and are those of this seed and name.
///
/// # Errors
/// Never with the fake host.
pub fn fresh_call(seed: u64, name: &str) -> Result<Context> {
    install();
    begin(CallState {
        seed,
        name: name.to_owned(),
        ..CallState::default()
    })
}

pub(super) fn begin(call: CallState) -> Result<Context> {
    store::begin_call(call);
    Context::new()
}

/// Number of tensors that this thread holds: the same before and after whatever leaks nothing.
#[must_use]
pub fn live_handles() -> usize {
    store::count()
}

/// What was logged on this thread since the last time: `warn: the rank is large`.
#[must_use]
pub fn take_log() -> Vec<String> {
    store::take_log()
}
