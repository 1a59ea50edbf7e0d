//! A head of a plugin at work on layers that the test owns.

use std::path::Path;
use std::rc::Rc;

use lorahost::plugins::{
    Component, HeadAccess, HeadBatch, HeadLoss, Library, Pass, PluginFile, TaskHead,
};
use lorahost_plugin_api::protocol::{HeadLayer, HeadLayerKind, HeadLayers, Pooled, Task};
use lorahost_plugin_api::sdk::{Error, Result};
use serde_json::{Map, Value, json};
use tch::{Device, Kind, Tensor};

pub type Outcome = std::result::Result<(), Box<dyn std::error::Error>>;

/// The head `name` of the file plugins/FILE with these parameters beside its defaults, that has planned `task`.
pub fn head(
    file: &str,
    name: &str,
    parameters: &Value,
    task: &Task,
) -> std::result::Result<TaskHead, Box<dyn std::error::Error>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../plugins")
        .join(format!("{file}{}", std::env::consts::DLL_SUFFIX));
    assert!(
        path.is_file(),
        "{} is missing: scripts/build-plugins makes it",
        path.display()
    );
    let library = Library::open(PluginFile::read(&path)?)?;
    let manifest = library.manifest().components.iter();
    let mut all = Map::new();
    for parameter in manifest
        .filter(|component| component.name == name)
        .flat_map(|component| &component.parameters)
    {
        let given = parameters.get(&parameter.name);
        all.insert(
            parameter.name.clone(),
            given.unwrap_or(&parameter.default).clone(),
        );
    }
    let component = Component::create(library, "head", name, &all)?;
    let head = TaskHead::new(component, 1, Device::Cpu);
    head.plan(task)?;
    Ok(head)
}

/// A task of these classes or tags, with a vocabulary.
pub fn task(labels: &[&str], vocab_size: usize) -> Task {
    Task {
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        vocab_size,
        mask_token: Some(0),
        special_tokens: Vec::new(),
    }
}

/// Values that are all over -1..1 without a pattern, and the same each time.
pub fn values(shape: &[i64], seed: i64, kind: Kind) -> Tensor {
    let count: i64 = shape.iter().product();
    let steps = Tensor::arange(count, (Kind::Double, Device::Cpu)) + (1000 * seed) as f64;
    (steps.square() * 0.7 + steps * 1.3)
        .sin()
        .reshape(shape)
        .to_kind(kind)
}

/// A linear layer with LoRA: y = W x + b + B A x.
pub struct Layer {
    pub name: &'static str,
    pub weight: Tensor,
    pub bias: Option<Tensor>,
    pub factors: Option<(Tensor, Tensor)>,
}

impl Layer {
    fn forward(&self, x: &Tensor) -> Tensor {
        let y = x.linear(&self.weight, self.bias.as_ref());
        match &self.factors {
            Some((a, b)) => y + x.matmul(&a.tr()).matmul(&b.tr()),
            None => y,
        }
    }

    /// Everything, frozen or not.
    pub fn tensors(&self) -> Vec<Tensor> {
        let factors = self.factors.iter().flat_map(|(a, b)| [a, b]);
        std::iter::once(&self.weight)
            .chain(&self.bias)
            .chain(factors)
            .map(Tensor::shallow_clone)
            .collect()
    }
}

/// Layers as a task head gets them.
pub struct Lent(pub Vec<Layer>);

impl Lent {
    pub fn message(&self, pooled: Option<Pooled>) -> HeadLayers {
        let layer = |layer: &Layer| HeadLayer {
            name: layer.name.to_owned(),
            kind: HeadLayerKind::Linear,
            fan_in: layer.weight.size()[1] as usize,
            fan_out: layer.weight.size()[0] as usize,
            bias: layer.bias.is_some(),
            activation: None,
            input_dropout: 0.0,
            dropout: 0.0,
            pretrained: false,
            tied: false,
        };
        HeadLayers {
            layers: self.0.iter().map(layer).collect(),
            pooled,
        }
    }

    fn layer(&self, name: &str) -> Result<&Layer> {
        let found = self.0.iter().find(|layer| layer.name == name);
        found.ok_or_else(|| Error::new(format!("no layer `{name}`")))
    }
}

impl HeadAccess for Lent {
    fn layer(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        Ok(self.layer(name)?.forward(x))
    }

    fn dropout(&self, x: &Tensor, _p: f64) -> Result<Tensor> {
        Ok(x.shallow_clone())
    }

    fn parameters(&self, name: &str) -> Result<Vec<Tensor>> {
        let mut tensors = self.layer(name)?.tensors();
        tensors.retain(Tensor::requires_grad);
        Ok(tensors)
    }
}

/// A batch of rows of these lengths, whose token ids lie below `vocabulary`.
pub fn batch(lengths: &[i64], labels: Option<Tensor>, vocabulary: i64) -> HeadBatch {
    let mut offsets = vec![0];
    for length in lengths {
        offsets.push(offsets[offsets.len() - 1] + length);
    }
    let total = offsets[lengths.len()];
    let tokens: Vec<i64> = (0..total)
        .map(|at| (at * at * 7 + 3) % vocabulary)
        .collect();
    HeadBatch {
        tokens: Tensor::from_slice(&tokens),
        offsets: Tensor::from_slice(&offsets),
        labels,
        bytes: None,
    }
}

/// The loss of a training pass.
pub fn forward(
    head: &TaskHead,
    hidden: &Tensor,
    batch: &HeadBatch,
    access: &Rc<dyn HeadAccess>,
) -> std::result::Result<HeadLoss, Box<dyn std::error::Error>> {
    Ok(head.forward(hidden, batch, Rc::clone(access), Pass::Training(0))?)
}

/// The parameters of causal-lm with chunks of this size.
pub fn chunk(rows: usize) -> Value {
    json!({ "chunk": rows })
}
