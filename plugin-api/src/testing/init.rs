//! Init schemes as the host calls them.

use super::fixtures::begin;
use super::host::install;
use super::store::{self, CallState};
use crate::protocol::Layer;
use crate::sdk::{Error, Factors, InitScheme, Result, Tensor, caught};

/// What the host measures of a layer, for schemes that ask for it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Given<'a> {
    /// W `[fan_out, fan_in]`.
    pub weight: Option<&'a Tensor>,
    /// dL/dW `[fan_out, fan_in]`.
    pub gradient: Option<&'a Tensor>,
    /// E[x x'] `[fan_in, fan_in]`.
    pub covariance: Option<&'a Tensor>,
}

/// The factors of a layer of which the scheme asks nothing.
///
/// # Errors
/// What the scheme returned, or that a factor has another shape than it must, or a value that is not finite: what the
/// host refuses too.
pub fn init(scheme: &impl InitScheme, layer: &Layer, seed: u64) -> Result<Factors> {
    init_given(scheme, layer, Given::default(), seed)
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
    let given = Given {
        weight: Some(weight),
        ..Given::default()
    };
    init_given(scheme, layer, given, seed)
}

/// The ranks of layers of which this was measured.
///
/// # Errors
/// What the scheme returned.
pub fn ranks(
    scheme: &impl InitScheme,
    layers: &[(Layer, Given<'_>)],
    seed: u64,
) -> Result<Option<Vec<usize>>> {
    install();
    let ctx = begin(call(seed, "ranks", layers)?)?;
    let layers: Vec<Layer> = layers.iter().map(|(layer, _)| layer.clone()).collect();
    caught(|| scheme.ranks(&layers, &ctx))
}

/// The factors of a layer of which this was measured.
///
/// # Errors
/// As [`init`].
pub fn init_given(
    scheme: &impl InitScheme,
    layer: &Layer,
    given: Given<'_>,
    seed: u64,
) -> Result<Factors> {
    install();
    let name = format!("init {}", layer.name);
    let ctx = begin(call(seed, &name, &[(layer.clone(), given)])?)?;
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

fn call(seed: u64, name: &str, layers: &[(Layer, Given<'_>)]) -> Result<CallState> {
    let mut state = CallState {
        seed,
        name: name.to_owned(),
        ..CallState::default()
    };
    let array = |tensor: &Tensor| store::get(tensor.handle());
    for (layer, given) in layers {
        state.weight = given.weight.map(array).transpose()?;
        for (measured, values) in [
            (given.gradient, &mut state.gradients),
            (given.covariance, &mut state.covariances),
        ] {
            if let Some(tensor) = measured {
                values.insert(layer.name.clone(), array(tensor)?);
            }
        }
    }
    Ok(state)
}
