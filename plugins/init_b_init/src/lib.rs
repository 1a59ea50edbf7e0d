//! B drawn, A zero: the mirror image of the usual start (arXiv 2406.08447 compares both; by 2602.06204 a learning rate
//! found at s = 1 then carries over to full fine-tuning).

use lorahost_plugin_api::prelude::*;

/// `B ~ N(0, gain^2/r)`, `A = 0`.
#[derive(Params)]
struct InitB {
    /// Factor on the standard deviation `1/sqrt(r)`; r is what B sees as its `fan_in`.
    #[param(default = 1.0, min = 0.0)]
    gain: f64,
}

impl InitScheme for InitB {
    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        let std = self.gain / (layer.rank as f64).sqrt();
        let a = Tensor::zeros(&[layer.rank as i64, layer.fan_in as i64])?;
        let b = ctx.randn("B", [layer.fan_out, layer.rank])? * std;
        Ok(Factors::new(a, b))
    }
}

export_plugin! { init "init-b" => InitB }

#[cfg(test)]
mod tests;
