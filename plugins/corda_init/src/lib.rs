//! The weight's part that matters most, or least, for the inputs at hand learns (`CorDA`, arXiv 2406.05223).

use lorahost_plugin_api::abi::{COVARIANCE, WEIGHT};
use lorahost_plugin_api::prelude::*;

/// `W C = U S V'` with the inputs' covariance C; `B = U sqrt(S/s)`, `A = sqrt(S/s) V' C^-1`; W loses `s B A`.
#[derive(Params)]
struct Corda {
    /// `ipm` adapts to the data (the r largest singular values), `kpm` preserves what it needs (the r smallest).
    #[param(default = "ipm")]
    mode: Mode,
    /// Training batches whose inputs are looked at.
    #[param(default = 8, min = 1)]
    batches: u64,
    /// What C's diagonal gains, in parts of its mean; doubled until the inverse is accurate.
    #[param(default = 0.01, min = 1e-9)]
    damping: f64,
}

#[derive(Choice)]
enum Mode {
    Ipm,
    Kpm,
}

/// Frobenius norm of C C^-1 - I, from which on an inverse counts as inaccurate.
const INACCURATE: f64 = 0.05;
/// Doublings of the damping; by then C is nearly the identity's multiple.
const DOUBLINGS: usize = 40;

impl Corda {
    /// U, S and V' C^-1.
    fn decompose(&self, layer: &Layer, ctx: &Context) -> Result<[Tensor; 3]> {
        let covariance = ctx.covariance(layer, self.batches)?;
        let identity = Tensor::eye(layer.fan_in as i64)?;
        let mean = covariance.diagonal()?.mean()?;
        let mut damping = self.damping;
        for _ in 0..DOUBLINGS {
            let damped = &covariance + &identity * &mean * damping;
            // Too close to singular is as good as inaccurate.
            if let Ok(inverse) = damped.inverse()
                && (damped.matmul(&inverse)? - &identity).norm()?.item()? < INACCURATE
            {
                let (u, s, vt) = ctx.weight()?.matmul(&damped)?.svd()?;
                return Ok([u, s, vt.matmul(&inverse)?]);
            }
            damping *= 2.0;
        }
        Err(
            Error::new("the covariance of the layer's inputs has no accurate inverse")
                .with_help("are its inputs all zero, or not finite?"),
        )
    }
}

impl InitScheme for Corda {
    const REQUIRES: &'static [&'static str] = &[WEIGHT, COVARIANCE];

    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        let [u, s, vt] = ctx.cached(layer, "svd", || self.decompose(layer, ctx))?;
        let directions = layer.fan_in.min(layer.fan_out);
        let count = layer.rank.min(directions);
        let first = match self.mode {
            Mode::Ipm => 0,
            Mode::Kpm => directions - count,
        };
        let (first, count) = (first as i64, count as i64);
        let (u, vt) = (u.narrow(1, first, count)?, vt.narrow(0, first, count)?);
        let s = s.narrow(0, first, count)? / layer.positive_scale()?;
        Ok(Factors::balanced(&u, &s, &vt)?
            .padded(layer, ctx)?
            .compensate(true))
    }
}

export_plugin! { init "corda" => Corda }

#[cfg(test)]
mod tests;
