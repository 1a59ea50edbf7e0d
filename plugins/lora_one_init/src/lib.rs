//! A start along one full gradient step, which training then follows (`LoRA-One`, arXiv 2502.01235).

use lorahost_plugin_api::abi::GRADIENTS;
use lorahost_plugin_api::prelude::*;

/// `-dL/dW = U S V'`, `A = sqrt(S/S0) V'/sqrt(gamma)`, `B = U sqrt(S/S0)/sqrt(gamma)` of the r largest singular values.
///
/// The model starts moved by `s B A`. The paper's scale is alpha/sqrt(r): choose the alpha policy `rslora`.
#[derive(Params)]
struct LoraOne {
    /// Training batches whose mean gradient is decomposed.
    #[param(default = 8, min = 1)]
    batches: u64,
    /// Divides the squares of both factors; the larger, the smaller they are.
    #[param(default = 128.0, min = 1e-6)]
    gamma: f64,
}

impl InitScheme for LoraOne {
    const REQUIRES: &'static [&'static str] = &[GRADIENTS];

    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        let [u, s, vt] = ctx.cached(layer, "svd", || {
            let (u, s, vt) = (-&ctx.gradient(layer, self.batches)?).svd()?;
            let largest = s.max()?;
            if largest.item()? == 0.0 {
                return Err(Error::new(format!(
                    "the gradient of `{}` is zero",
                    layer.name
                )));
            }
            Ok([u, s / &largest, vt])
        })?;
        let count = layer.rank.min(layer.fan_in).min(layer.fan_out) as i64;
        let (u, vt) = (u.narrow(1, 0, count)?, vt.narrow(0, 0, count)?);
        let s = s.narrow(0, 0, count)? / self.gamma;
        Factors::balanced(&u, &s, &vt)?.padded(layer, ctx)
    }
}

export_plugin! { init "lora-one" => LoraOne }

#[cfg(test)]
mod tests;
