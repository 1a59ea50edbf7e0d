//! Two init schemes in one file: neither is meant when the file alone is named.

use lorahost_plugin_api::prelude::*;

/// A and B zero.
#[derive(Params)]
struct Zeros;

/// A one, B zero.
#[derive(Params)]
struct Ones;

fn constant(layer: &Layer, value: f64) -> Result<Factors> {
    let zeros = |rows: usize, columns: usize| Tensor::zeros(&[rows as i64, columns as i64]);
    let a = zeros(layer.rank, layer.fan_in)? + value;
    Ok(Factors::new(a, zeros(layer.fan_out, layer.rank)?))
}

impl InitScheme for Zeros {
    fn init(&self, layer: &Layer, _ctx: &Context) -> Result<Factors> {
        constant(layer, 0.0)
    }
}

impl InitScheme for Ones {
    fn init(&self, layer: &Layer, _ctx: &Context) -> Result<Factors> {
        constant(layer, 1.0)
    }
}

export_plugin! { init "zeros" => Zeros, init "ones" => Ones }
