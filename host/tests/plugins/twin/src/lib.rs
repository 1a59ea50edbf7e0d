//! Another init scheme of the name `uniform`.

use lorahost_plugin_api::prelude::*;

/// A uniform between 0 and 1, B zero.
#[derive(Params)]
struct Uniform;

impl InitScheme for Uniform {
    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        let a = ctx.rand("A", [layer.rank, layer.fan_in])?;
        let b = Tensor::zeros(&[layer.fan_out as i64, layer.rank as i64])?;
        Ok(Factors::new(a, b))
    }
}

export_plugin! { init "uniform" => Uniform }
