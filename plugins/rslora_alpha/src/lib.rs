//! s = alpha / sqrt(r): rank-stabilised LoRA (arXiv 2312.03732), whose activations and gradients neither vanish nor grow
//! with the rank.

use lorahost_plugin_api::prelude::*;

/// s = alpha / sqrt(r).
#[derive(Params)]
struct Rslora {
    /// Numerator of the scale.
    #[param(default = 32.0, min = 0.0)]
    alpha: f64,
}

impl AlphaPolicy for Rslora {
    fn scale(&self, layer: &Layer) -> Result<Scale> {
        Ok(Scale::from(self.alpha / (layer.rank as f64).sqrt()))
    }
}

export_plugin! { alpha "rslora" => Rslora }

#[cfg(test)]
mod tests;
