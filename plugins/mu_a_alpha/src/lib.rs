//! Maximal-update adaptation (arXiv 2602.06204): the scale and the learning rate move with the rank together,
//!
//! ```text
//! s = alpha r^-g, lr <- lr (r / r0)^(-(1 - g) / 2)
//! ```
//!
//! so that the learning rate which is best at r0 is best at every rank. With g = 1 the rate stays as it is, and with
//! g = 0 it falls as 1/sqrt(r).

use lorahost_plugin_api::prelude::*;

/// s = alpha r^-g, and learning rates that make up for the rest of the rank.
#[derive(Params)]
struct MuA {
    /// The scale at rank 1.
    #[param(default = 32.0, min = 0.0)]
    alpha: f64,
    /// How fast the scale falls with the rank; what is missing to 1 is left to the learning rates.
    #[param(default = 1.0)]
    g: f64,
    /// The rank at which a learning rate means itself.
    #[param(default = 16.0, min = 1.0)]
    r0: f64,
}

impl AlphaPolicy for MuA {
    fn scale(&self, layer: &Layer) -> Result<Scale> {
        let rank = layer.rank as f64;
        let lr = (rank / self.r0).powf(-(1.0 - self.g) / 2.0);
        Ok(Scale {
            s: self.alpha * rank.powf(-self.g),
            lr_a: lr,
            lr_b: lr,
        })
    }
}

export_plugin! { alpha "mu-a" => MuA }

#[cfg(test)]
mod tests;
