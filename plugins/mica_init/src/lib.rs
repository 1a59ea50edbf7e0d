//! B spans the weight's minor left singular vectors and stays; A learns (`MiCA`, arXiv 2604.01694).

use lorahost_plugin_api::prelude::*;

/// `W = U S V'`, `B` = the last r columns of U, frozen; `A = 0`.
#[derive(Params)]
struct Mica {}

impl InitScheme for Mica {
    const REQUIRES: &'static [&'static str] = &[lorahost_plugin_api::abi::WEIGHT];

    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        let [u] = ctx.cached(layer, "u", || Ok([ctx.weight()?.svd()?.0]))?;
        let directions = layer.fan_in.min(layer.fan_out);
        let count = layer.rank.min(directions) as i64;
        let b = u.narrow(1, directions as i64 - count, count)?;
        let a = Tensor::zeros(&[layer.rank as i64, layer.fan_in as i64])?;
        Ok(Factors::new(a, b).padded(layer, ctx)?.freeze(Factor::B))
    }
}

export_plugin! { init "mica" => Mica }

#[cfg(test)]
mod tests;
