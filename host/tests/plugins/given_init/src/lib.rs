//! An init scheme whose A is given: for runs that are compared with those of other programs.

use std::path::Path;

use lorahost_plugin_api::prelude::*;

/// A from files, B zero.
#[derive(Params)]
struct Given {
    /// Folder with one file a layer, `LAYER.f32`: A `[rank, fan_in]`, row by row, little endian.
    #[param(default = "")]
    folder: String,
}

impl InitScheme for Given {
    fn init(&self, layer: &Layer, _ctx: &Context) -> Result<Factors> {
        let path = Path::new(&self.folder).join(format!("{}.f32", layer.name));
        let bytes = std::fs::read(&path)
            .map_err(|error| Error::new(format!("cannot read {}: {error}", path.display())))?;
        let values: Vec<f64> = bytes
            .as_chunks()
            .0
            .iter()
            .map(|chunk| f64::from(f32::from_le_bytes(*chunk)))
            .collect();
        let a = Tensor::from_f64(&values, &[layer.rank as i64, layer.fan_in as i64])?;
        let b = Tensor::zeros(&[layer.fan_out as i64, layer.rank as i64])?;
        Ok(Factors::new(a, b))
    }
}

export_plugin! { init "given" => Given }
