//! Init schemes as the host calls them.

use super::fixtures::begin;
use super::host::install;
use super::store::{self, CallState};
use crate::protocol::Layer;
use crate::sdk::{Error, Factors, InitScheme, Result, Tensor, caught};

/// The factors of a layer whose weight is not asked for.
///
/// # Errors
/// What the scheme returned, or that a factor has another shape than it must, or a value that is not finite: what the
/// host refuses too.
pub fn init(scheme: &impl InitScheme, layer: &Layer, seed: u64) -> Result<Factors> {
    run(scheme, layer, None, seed)
}

/// The factors of a layer with this weight `[fan_out, fan_in]`.
///
/// # Errors
/// As [`init`].
pub fn init_on(
    scheme: &impl InitScheme,
    layer: &Layer,
    weight: &Tensor,
    seed: u64,
) -> Result<Factors> {
    run(scheme, layer, Some(weight), seed)
}

fn run(
    scheme: &impl InitScheme,
    layer: &Layer,
    weight: Option<&Tensor>,
    seed: u64,
) -> Result<Factors> {
    install();
    let ctx = begin(CallState {
        seed,
        name: format!("init {}", layer.name),
        weight: weight
            .map(|weight| store::get(weight.handle()))
            .transpose()?,
        ..CallState::default()
    })?;
    let factors = caught(|| scheme.init(layer, &ctx))?;
    let expected = [
        ("A", factors.a(), [layer.rank, layer.fan_in]),
        ("B", factors.b(), [layer.fan_out, layer.rank]),
    ];
    for (name, factor, shape) in expected {
        let array = store::get(factor.handle())?;
        if array.shape != shape {
            return Err(Error::new(format!(
                "{name} has the shape {:?}, not {shape:?}",
                array.shape
            )));
        }
        if array.values().iter().any(|value| !value.is_finite()) {
            return Err(Error::new(format!(
                "{name} holds a value that is not finite"
            )));
        }
    }
    Ok(factors)
}
