//! The minor part of the weight learns, the principal part is frozen (`MiLoRA`, arXiv 2406.09044).

use lorahost_plugin_api::prelude::*;

/// `W = U S V'`, `A = sqrt(S/s) V'`, `B = U sqrt(S/s)` of the r smallest singular values; W loses `s B A`.
#[derive(Params)]
struct Milora {}

impl InitScheme for Milora {
    const REQUIRES: &'static [&'static str] = &[lorahost_plugin_api::abi::WEIGHT];

    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        let [u, s, vt] = ctx.cached(layer, "svd", || Ok(ctx.weight()?.svd()?.into()))?;
        let directions = layer.fan_in.min(layer.fan_out);
        let count = layer.rank.min(directions) as i64;
        let first = directions as i64 - count;
        let (u, vt) = (u.narrow(1, first, count)?, vt.narrow(0, first, count)?);
        let s = s.narrow(0, first, count)? / layer.positive_scale()?;
        Ok(Factors::balanced(&u, &s, &vt)?
            .padded(layer, ctx)?
            .compensate(true))
    }
}

export_plugin! { init "milora" => Milora }

#[cfg(test)]
mod tests;
