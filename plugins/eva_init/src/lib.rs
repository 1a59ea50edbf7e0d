//! A spans the directions in which the layer's inputs are largest (`EVA`, arXiv 2410.07170). PEFT's subtracts the
//! inputs' mean first; this one does not.

use lorahost_plugin_api::abi::{COVARIANCE, RANKS};
use lorahost_plugin_api::prelude::*;

/// `A` = the r first right singular vectors of the layer's inputs, `B = 0`; ranks may move to where more is explained.
#[derive(Params)]
struct Eva {
    /// Training batches whose inputs are looked at.
    #[param(default = 8, min = 1)]
    batches: u64,
    /// Whether layers share the sum of all ranks by the share of its inputs that each direction explains.
    #[param(default = false)]
    redistribute: bool,
    /// The largest rank after redistribution, as a factor on the rank.
    #[param(default = 2.0, min = 1.0)]
    rho: f64,
}

impl Eva {
    /// Eigenvalues of E[x x'], falling, and eigenvectors as rows. The singular values of the inputs are the roots of the
    /// former times that of their number.
    fn directions(&self, layer: &Layer, ctx: &Context) -> Result<[Tensor; 2]> {
        ctx.cached(layer, "eigh", || {
            let (values, vectors) = ctx.covariance(layer, self.batches)?.eigh()?;
            let falling = |rising: &Tensor| op("aten::flip").arg(rising).arg(&[0]).tensor();
            Ok([falling(&values)?, falling(&vectors.t()?)?])
        })
    }
}

impl InitScheme for Eva {
    const REQUIRES: &'static [&'static str] = &[COVARIANCE, RANKS];

    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        let [_, vectors] = self.directions(layer, ctx)?;
        let a = vectors.narrow(0, 0, layer.rank.min(layer.fan_in) as i64)?;
        let b = Tensor::zeros(&[layer.fan_out as i64, layer.rank as i64])?;
        Factors::new(a, b).padded(layer, ctx)
    }

    fn ranks(&self, layers: &[Layer], ctx: &Context) -> Result<Option<Vec<usize>>> {
        if !self.redistribute {
            return Ok(None);
        }
        let mut shares = Vec::new();
        for (place, layer) in layers.iter().enumerate() {
            let [values, _] = self.directions(layer, ctx)?;
            let values = values.to_f64()?;
            // Inputs that are all zero explain nothing.
            let total = values.iter().sum::<f64>().max(f64::MIN_POSITIVE);
            let largest = (layer.rank as f64 * self.rho).round() as usize;
            shares.extend(
                values
                    .iter()
                    .take(largest)
                    .map(|value| (value / total, place)),
            );
        }
        // The order of layers decides among equals.
        shares.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        let budget: usize = layers.iter().map(|layer| layer.rank).sum();
        let mut ranks = vec![0; layers.len()];
        for (_, place) in shares.into_iter().take(budget) {
            ranks[place] += 1;
        }
        Ok(Some(ranks))
    }
}

export_plugin! { init "eva" => Eva }

#[cfg(test)]
mod tests;
