//! Layers as a model would have them, and what is measured of them.

use std::rc::Rc;

use lorahost_plugin_api::protocol::Layer;
use lorahost_plugin_api::sdk;
use tch::{Kind, Tensor};

use super::sample::normal;
use super::subject::{Stop, Subject, failed};
use crate::plugins::{InitAccess, InitScheme, LayerFactors, Measure, PluginError, TensorCache};

/// `(fan_out, fan_in)`: square, wide and tall.
pub const SHAPES: [(usize, usize); 5] = [(48, 48), (32, 64), (64, 32), (40, 24), (24, 96)];

/// Layer number `index` under that name.
pub fn layer(index: usize, (fan_out, fan_in): (usize, usize), rank: usize) -> Layer {
    Layer {
        name: format!("encoder.layer.{index}.dense"),
        index,
        fan_in,
        fan_out,
        rank,
        scale: 2.0,
        role: "mlp".to_owned(),
    }
}

/// One layer of each of [`SHAPES`].
pub fn layers(rank: usize) -> Vec<Layer> {
    let shapes = SHAPES.into_iter().enumerate();
    shapes
        .map(|(index, shape)| layer(index, shape, rank))
        .collect()
}

/// An init scheme with its defaults at layers with random weights.
pub struct Trial {
    pub scheme: InitScheme,
    kind: Kind,
    _cache: tempfile::TempDir,
}

impl Trial {
    /// Nothing is in the cache yet.
    pub fn new(subject: &Subject, layers: &[Layer], kind: Kind) -> Result<Self, Stop> {
        let folder = tempfile::tempdir()
            .map_err(|error| failed(format!("no folder for the cache: {error}")))?;
        let access = InitAccess {
            measure: Rc::new(Synthetic {
                layers: layers.to_vec(),
                kind,
            }),
            cache: Rc::new(TensorCache::new(folder.path(), &subject.selection()?)),
        };
        Ok(Self {
            scheme: InitScheme::new(subject.create()?, 7, access),
            kind,
            _cache: folder,
        })
    }

    pub fn factors(&self, layer: &Layer) -> Result<LayerFactors, PluginError> {
        self.scheme.init(layer, &weight(layer, self.kind))
    }
}

/// W `[fan_out, fan_in]` of a layer, with the variance `1/fan_in`.
pub fn weight(layer: &Layer, kind: Kind) -> Tensor {
    let shape = [layer.fan_out as i64, layer.fan_in as i64];
    let name = format!("weight of {}", layer.name);
    normal(&name, &shape, kind) / (layer.fan_in as f64).sqrt()
}

/// Random gradients and inputs in place of a model's.
struct Synthetic {
    layers: Vec<Layer>,
    kind: Kind,
}

impl Synthetic {
    fn layer(&self, name: &str, batches: u64) -> sdk::Result<&Layer> {
        let layer = self.layers.iter().find(|layer| layer.name == name);
        let layer = layer.ok_or_else(|| {
            sdk::Error::new(format!("`{name}` is not among the layers that get factors"))
        })?;
        if batches == 0 {
            return Err(sdk::Error::new("there is nothing in 0 batches"));
        }
        Ok(layer)
    }
}

impl Measure for Synthetic {
    fn gradient(&self, layer: &str, batches: u64) -> sdk::Result<Tensor> {
        let layer = self.layer(layer, batches)?;
        let shape = [layer.fan_out as i64, layer.fan_in as i64];
        Ok(normal(&format!("gradient of {}", layer.name), &shape, self.kind) * 1e-2)
    }

    fn covariance(&self, layer: &str, batches: u64) -> sdk::Result<Tensor> {
        let layer = self.layer(layer, batches)?;
        let rows = 2 * layer.fan_in as i64;
        let name = format!("inputs of {}", layer.name);
        let inputs = normal(&name, &[rows, layer.fan_in as i64], self.kind);
        Ok(inputs.transpose(0, 1).matmul(&inputs) / rows as f64)
    }
}
