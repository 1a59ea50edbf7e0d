//! s = alpha / r^p: one family with LoRA's own rule (p = 1, arXiv 2106.09685), rank-stabilised LoRA (p = 1/2, arXiv
//! 2312.03732) and a scale that knows no rank (p = 0) in it.

use lorahost_plugin_api::prelude::*;

/// s = alpha / r^p.
#[derive(Params)]
struct Power {
    /// Numerator of the scale.
    #[param(default = 32.0, min = 0.0)]
    alpha: f64,
    /// Power of the rank.
    #[param(default = 1.0)]
    p: f64,
}

impl AlphaPolicy for Power {
    fn scale(&self, layer: &Layer) -> Result<Scale> {
        Ok(Scale::from(self.alpha / (layer.rank as f64).powf(self.p)))
    }
}

export_plugin! { alpha "power" => Power }

#[cfg(test)]
mod tests;
