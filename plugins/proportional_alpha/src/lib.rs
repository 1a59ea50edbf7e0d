//! alpha = k r, so s = k at every rank: the original study's third regime, and with k = 2 a folk rule.

use lorahost_plugin_api::prelude::*;

/// s = k, whatever the rank.
#[derive(Params)]
struct Proportional {
    /// alpha / r.
    #[param(default = 10.0, min = 0.0)]
    k: f64,
}

impl AlphaPolicy for Proportional {
    fn scale(&self, _layer: &Layer) -> Result<Scale> {
        Ok(Scale::from(self.k))
    }
}

export_plugin! { alpha "proportional" => Proportional }

#[cfg(test)]
mod tests;
