//! A uniform, B zero: the usual start of LoRA (arXiv 2106.09685, with the bound of its authors' code).

use lorahost_plugin_api::prelude::*;

/// `A ~ U(-gain/sqrt(fan_in), gain/sqrt(fan_in))`, `B = 0`.
#[derive(Params)]
struct Uniform {
    /// Factor on the bound; 1 gives the standard deviation `1/sqrt(3 fan_in)`.
    #[param(default = 1.0, min = 0.0)]
    gain: f64,
}

impl InitScheme for Uniform {
    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        let bound = self.gain / (layer.fan_in as f64).sqrt();
        let a = (ctx.rand("A", [layer.rank, layer.fan_in])? * 2.0 - 1.0) * bound;
        let b = Tensor::zeros(&[layer.fan_out as i64, layer.rank as i64])?;
        Ok(Factors::new(a, b))
    }
}

export_plugin! { init "uniform" => Uniform }

#[cfg(test)]
mod tests;
