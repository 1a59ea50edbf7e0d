//! s = alpha / r: the scale of LoRA's authors (arXiv 2106.09685), alpha the same at every rank.

use lorahost_plugin_api::prelude::*;

/// s = alpha / r.
#[derive(Params)]
struct Constant {
    /// Numerator of the scale.
    #[param(default = 32.0, min = 0.0)]
    alpha: f64,
}

impl AlphaPolicy for Constant {
    fn scale(&self, layer: &Layer) -> Result<Scale> {
        Ok(Scale::from(self.alpha / layer.rank as f64))
    }
}

export_plugin! { alpha "constant" => Constant }

#[cfg(test)]
mod tests;
