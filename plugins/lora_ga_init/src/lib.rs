//! The first step of LoRA goes where that of full fine-tuning would (`LoRA-GA`, arXiv 2407.05000).

use lorahost_plugin_api::abi::GRADIENTS;
use lorahost_plugin_api::prelude::*;

/// `dL/dW = U S V'`, `A` = the r first rows of V', `B` = the next r columns of U, both times `fan_out^(1/4)/sqrt(gamma)`.
///
/// W loses `s B A`. The paper's scale is alpha/sqrt(r): choose the alpha policy `rslora`.
#[derive(Params)]
struct LoraGa {
    /// Training batches whose mean gradient is decomposed.
    #[param(default = 8, min = 1)]
    batches: u64,
    /// Divides the squares of both factors; the larger, the smaller they are.
    #[param(default = 16.0, min = 1e-6)]
    gamma: f64,
}

impl InitScheme for LoraGa {
    const REQUIRES: &'static [&'static str] = &[GRADIENTS];

    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        let [u, vt] = ctx.cached(layer, "svd", || {
            let (u, s, vt) = ctx.gradient(layer, self.batches)?.svd()?;
            if s.max()?.item()? == 0.0 {
                return Err(Error::new(format!(
                    "the gradient of `{}` is zero",
                    layer.name
                )));
            }
            Ok([u, vt])
        })?;
        let directions = layer.fan_in.min(layer.fan_out);
        let of_a = layer.rank.min(directions);
        let of_b = layer.rank.min(directions - of_a);
        let size = (layer.fan_out as f64).powf(0.25) / self.gamma.sqrt();
        let a = vt.narrow(0, 0, of_a as i64)? * size;
        let b = u.narrow(1, of_a as i64, of_b as i64)? * size;
        Ok(Factors::new(a, b).padded(layer, ctx)?.compensate(true))
    }
}

export_plugin! { init "lora-ga" => LoraGa }

#[cfg(test)]
mod tests;
