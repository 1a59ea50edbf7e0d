//! The first columns of a QR decomposition of the weight learn (`OLoRA`, arXiv 2406.01775).

use lorahost_plugin_api::prelude::*;

/// `W = Q R`, `B` = the first r columns of Q, `A` = the first r rows of R; W loses `s B A`.
#[derive(Params)]
struct Olora {}

impl InitScheme for Olora {
    const REQUIRES: &'static [&'static str] = &[lorahost_plugin_api::abi::WEIGHT];

    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        let [q, r] = ctx.cached(layer, "qr", || Ok(ctx.weight()?.qr()?.into()))?;
        let count = layer.rank.min(layer.fan_in).min(layer.fan_out) as i64;
        let (a, b) = (r.narrow(0, 0, count)?, q.narrow(1, 0, count)?);
        Ok(Factors::new(a, b).padded(layer, ctx)?.compensate(true))
    }
}

export_plugin! { init "olora" => Olora }

#[cfg(test)]
mod tests;
