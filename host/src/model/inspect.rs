//! A model in numbers, from its settings and the headers of its weight files.

use serde::Serialize;
use serde_json::{Map, Value};
use tch::Device;

use super::{
    HeadDescription, HeadLayerKind, Model, ModelError, Options, Part, Pooled, WeightSummary,
};
use crate::adapter::{Linear, ModuleKind, Targets};
use crate::spec::{Seeds, Weights};

/// The rank for which LoRA is counted.
const RANK: usize = 16;

/// The targets that have a name, and so need no regular expression.
const NAMED_TARGETS: [&str; 3] = ["all", "attention", "mlp"];

/// What `lorahost model inspect` tells.
#[derive(Debug, Serialize)]
pub struct Inspection {
    /// `model_type` of `config.json`.
    pub architecture: &'static str,
    /// The whole numbers of `config.json`, as they stand there, without the ids of tokens.
    pub sizes: Map<String, Value>,
    /// Settings that are not known here: a run refuses them.
    pub unknown_settings: Vec<String>,
    /// The longest sequence, in tokens.
    pub positions: i64,
    /// Number of token ids.
    pub vocabulary: i64,
    /// None where the folder has no weights.
    pub weights: Option<WeightSummary>,
    /// The linear layers of the encoder, in the order in which LoRA numbers them.
    pub layers: Vec<LayerReport>,
    pub parameters: PartCounts,
    pub operations: Operations,
    pub heads: Vec<HeadReport>,
}

/// A linear layer.
#[derive(Debug, Serialize)]
pub struct LayerReport {
    pub name: String,
    pub kind: ModuleKind,
    pub fan_in: i64,
    pub fan_out: i64,
    /// Which of the targets with a name choose it.
    pub targets: Vec<&'static str>,
}

/// Numbers of parameters of the encoder.
#[derive(Debug, Default, Serialize)]
pub struct PartCounts {
    pub total: usize,
    pub embeddings: usize,
    pub attention: usize,
    pub mlp: usize,
    pub norms: usize,
    pub lora: LoraCount,
}

/// LoRA on all linear layers of the encoder.
#[derive(Debug, Default, Serialize)]
pub struct LoraCount {
    pub rank: usize,
    /// `r (fan_in + fan_out)` of each layer.
    pub parameters: usize,
}

/// What a token costs, as [`Model::token_cost`] counts it.
#[derive(Debug, Serialize)]
pub struct Operations {
    pub forward: u64,
    pub full_step: u64,
    /// With LoRA on all linear layers of the encoder.
    pub lora_step: u64,
    pub rank: usize,
}

/// A head that the model can have.
#[derive(Debug, Serialize)]
pub struct HeadReport {
    /// How task heads ask for it.
    pub layout: &'static str,
    /// The class of transformers.
    pub class: &'static str,
    /// Why this model cannot have it, where its settings rule it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    pub pooled: Option<Pooled>,
    pub outputs: i64,
    /// Without those that are the encoder's own.
    pub parameters: usize,
    pub layers: Vec<HeadLayerReport>,
}

/// A layer of a head.
#[derive(Debug, Serialize)]
pub struct HeadLayerReport {
    pub name: String,
    pub kind: HeadLayerKind,
    pub fan_in: i64,
    pub fan_out: i64,
    /// Whether the weight files have it.
    pub pretrained: bool,
    /// The parameter whose weight it shares.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tied_to: Option<String>,
}

impl Inspection {
    /// Looks into the model at `path`: `builtin:NAME` or a folder with `config.json`. No weights are read.
    ///
    /// # Errors
    /// As [`Model::open`], but a folder may be without weights.
    pub fn of(path: &str) -> Result<Self, ModelError> {
        let mut model = open(path)?;
        let layers = layers(&model)?;
        let sides = layers.iter().map(|layer| layer.fan_in + layer.fan_out);
        let lora = LoraCount {
            rank: RANK,
            parameters: RANK * sides.sum::<i64>() as usize,
        };
        let full = model.token_cost(None);
        Ok(Self {
            architecture: model.architecture().model_type,
            sizes: sizes(model.config().values()),
            unknown_settings: model.unknown_settings(),
            positions: model.max_positions(),
            vocabulary: model.vocabulary(),
            weights: model.weights().map(super::WeightFile::summary),
            parameters: PartCounts {
                lora,
                ..part_counts(&model)
            },
            operations: Operations {
                forward: full.forward,
                full_step: full.step,
                lora_step: model.token_cost(Some((&Targets::All, RANK))).step,
                rank: RANK,
            },
            heads: heads(&mut model),
            layers,
        })
    }
}

/// The model without values; without weights too, where there are none.
fn open(path: &str) -> Result<Model, ModelError> {
    let seed = 0;
    let options = |weights| Options {
        weights,
        dropout: None,
        device: Device::Cpu,
        seeds: Seeds {
            init: seed,
            data: seed,
            dropout: seed,
            head: seed,
        },
    };
    match Model::outline(path, options(Weights::Pretrained)) {
        Err(ModelError::NoWeights { .. }) => Model::outline(path, options(Weights::Random)),
        other => other,
    }
}

fn layers(model: &Model) -> Result<Vec<LayerReport>, ModelError> {
    let named = NAMED_TARGETS
        .into_iter()
        .map(|name| Ok((name, Targets::parse(name)?)))
        .collect::<Result<Vec<_>, ModelError>>()?;
    let report = |linear: &Linear| LayerReport {
        name: linear.name().to_owned(),
        kind: linear.kind(),
        fan_in: linear.fan_in(),
        fan_out: linear.fan_out(),
        targets: named
            .iter()
            .filter(|(_, targets)| targets.choose(linear))
            .map(|(name, _)| *name)
            .collect(),
    };
    Ok(model.linears().into_iter().map(report).collect())
}

fn part_counts(model: &Model) -> PartCounts {
    let mut counts = PartCounts::default();
    for part in model.parts() {
        let count = count(&part);
        counts.total += count;
        *match part {
            Part::Embedding(_) => &mut counts.embeddings,
            Part::Norm(_) | Part::RmsNorm(_) => &mut counts.norms,
            Part::Linear(linear) if linear.kind() == ModuleKind::Attention => &mut counts.attention,
            Part::Linear(_) => &mut counts.mlp,
        } += count;
    }
    counts
}

fn count(part: &Part) -> usize {
    let parameters = part.parameters(0);
    parameters
        .iter()
        .map(|parameter| parameter.tensor.numel())
        .sum()
}

fn heads(model: &mut Model) -> Vec<HeadReport> {
    let outputs = labels(model.config().values());
    let layouts = model.architecture().layouts.iter();
    layouts
        .map(|layout| {
            let mut report = HeadReport {
                layout: layout.name,
                class: layout.class,
                refused: None,
                pooled: None,
                outputs,
                parameters: 0,
                layers: Vec::new(),
            };
            match model.build_head(layout.name, outputs) {
                Err(error) => report.refused = Some(error.to_string()),
                Ok(head) => {
                    let parameters = head.parts().iter().map(count).sum();
                    let description = head.description().clone();
                    report.pooled = description.pooled;
                    report.outputs = description.outputs;
                    report.parameters = parameters;
                    report.layers = head_layers(&description, &model.words_name());
                }
            }
            report
        })
        .collect()
}

fn head_layers(description: &HeadDescription, words: &str) -> Vec<HeadLayerReport> {
    let layers = description.layers.iter();
    layers
        .map(|layer| HeadLayerReport {
            name: layer.name.clone(),
            kind: layer.kind,
            fan_in: layer.fan_in,
            fan_out: layer.fan_out,
            pretrained: layer.pretrained,
            tied_to: layer.tied.then(|| words.to_owned()),
        })
        .collect()
}

/// How many classes the settings name; 2 where they name none, as in transformers.
fn labels(config: &Map<String, Value>) -> i64 {
    let named = config.get("id2label").and_then(Value::as_object);
    named
        .map(|names| names.len() as i64)
        .or_else(|| config.get("num_labels").and_then(Value::as_i64))
        .filter(|&count| count > 0)
        .unwrap_or(2)
}

fn sizes(config: &Map<String, Value>) -> Map<String, Value> {
    config
        .iter()
        .filter(|(key, value)| value.is_i64() && !key.ends_with("_id"))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}
