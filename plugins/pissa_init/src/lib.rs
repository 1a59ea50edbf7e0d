//! The principal part of the weight learns, the rest is frozen (`PiSSA`, arXiv 2404.02948).

use lorahost_plugin_api::prelude::*;

/// `W = U S V'`, `A = sqrt(S/s) V'`, `B = U sqrt(S/s)` of the r largest singular values; W loses `s B A`.
#[derive(Params)]
struct Pissa {
    /// `exact`, made once a layer and kept, or `randomised`, faster and made for each rank.
    #[param(default = "exact")]
    svd: Svd,
    /// Power iterations of the randomised decomposition.
    #[param(default = 4, max = 1000)]
    niter: usize,
}

#[derive(Choice)]
enum Svd {
    Exact,
    Randomised,
}

impl InitScheme for Pissa {
    const REQUIRES: &'static [&'static str] = &[lorahost_plugin_api::abi::WEIGHT];

    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        let count = layer.rank.min(layer.fan_in).min(layer.fan_out);
        let [u, s, vt] = match self.svd {
            Svd::Exact => ctx.cached(layer, "svd", || Ok(ctx.weight()?.svd()?.into()))?,
            Svd::Randomised => ctx
                .svd_lowrank(&ctx.weight()?, count, self.niter, "svd")?
                .into(),
        };
        let count = count as i64;
        let (u, vt) = (u.narrow(1, 0, count)?, vt.narrow(0, 0, count)?);
        let s = s.narrow(0, 0, count)? / layer.positive_scale()?;
        Ok(Factors::balanced(&u, &s, &vt)?
            .padded(layer, ctx)?
            .compensate(true))
    }
}

export_plugin! { init "pissa" => Pissa }

#[cfg(test)]
mod tests;
