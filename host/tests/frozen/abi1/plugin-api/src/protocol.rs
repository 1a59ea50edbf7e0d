use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

pub const ABI: u32 = 1;

pub const ABI_TEXT: &str = "1";

pub const MANIFEST_SECTION: &str = ".lorahost.manifest";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub abi: u32,
    pub package: String,
    pub version: String,
    #[serde(default)]
    pub licence: String,
    pub components: Vec<ComponentManifest>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComponentManifest {
    pub kind: String,
    pub name: String,
    #[serde(default)]
    pub summary: String,
    #[serde(default)]
    pub requires: Vec<String>,
    #[serde(default)]
    pub parameters: Vec<Parameter>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataKind {
    #[default]
    Classes,
    Text,
    Blocks,
    Numbers,
    Tags,
    Pairs,
}

impl DataKind {
    pub const ALL: [Self; 6] = [
        Self::Classes,
        Self::Text,
        Self::Blocks,
        Self::Numbers,
        Self::Tags,
        Self::Pairs,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Classes => "classes",
            Self::Text => "text",
            Self::Blocks => "blocks",
            Self::Numbers => "numbers",
            Self::Tags => "tags",
            Self::Pairs => "pairs",
        }
    }

    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: ParameterKind,
    pub default: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    #[serde(default)]
    pub doc: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ParameterKind {
    Float,
    Int,
    Bool,
    String,
    Choice,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    pub name: String,
    pub index: usize,
    pub fan_in: usize,
    pub fan_out: usize,
    pub rank: usize,
    pub scale: f64,
    #[serde(default)]
    pub role: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Factor {
    A,
    B,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InitRequest {
    pub layer: Layer,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct InitReply {
    #[serde(default)]
    pub compensate: bool,
    #[serde(default)]
    pub frozen: Option<Factor>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RanksRequest {
    pub layers: Vec<Layer>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RanksReply {
    #[serde(default)]
    pub ranks: Option<Vec<usize>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AlphaRequest {
    pub layer: Layer,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AlphaReply {
    #[serde(deserialize_with = "null_or_number")]
    pub scale: f64,
    #[serde(default = "one", deserialize_with = "null_or_number")]
    pub lr_a: f64,
    #[serde(default = "one", deserialize_with = "null_or_number")]
    pub lr_b: f64,
}

fn null_or_number<'de, D: Deserializer<'de>>(source: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(source)?.unwrap_or(f64::NAN))
}

fn one() -> f64 {
    1.0
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    A,
    B,
    Base,
    Bias,
    Norm,
    Embedding,
    Head,
    #[serde(other)]
    Other,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParameterInfo {
    pub name: String,
    pub role: Role,
    #[serde(default)]
    pub pair: Option<usize>,
    #[serde(default = "one")]
    pub scale: f64,
    #[serde(default = "one")]
    pub lr: f64,
    #[serde(default = "yes")]
    pub decay: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PrepareRequest {
    pub parameters: Vec<ParameterInfo>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct StepRequest {
    pub step: u64,
    pub lr: f64,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct OptimizerState {
    pub names: Vec<String>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct EvaluationRequest {
    pub phase: EvaluationPhase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EvaluationPhase {
    Before,
    After,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Task {
    #[serde(default)]
    pub labels: Vec<String>,
    pub vocab_size: usize,
    #[serde(default)]
    pub mask_token: Option<i64>,
    #[serde(default)]
    pub special_tokens: Vec<i64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HeadPrepareRequest {
    pub task: Task,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeadPlan {
    pub layout: String,
    #[serde(default)]
    pub outputs: Option<usize>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HeadLayers {
    pub layers: Vec<HeadLayer>,
    #[serde(default)]
    pub pooled: Option<Pooled>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooled {
    First,
    Last,
    #[serde(other)]
    Other,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeadLayer {
    pub name: String,
    pub kind: HeadLayerKind,
    pub fan_in: usize,
    pub fan_out: usize,
    pub bias: bool,
    #[serde(default)]
    pub input_dropout: f64,
    #[serde(default)]
    pub activation: Option<Activation>,
    #[serde(default)]
    pub dropout: f64,
    #[serde(default)]
    pub pretrained: bool,
    #[serde(default)]
    pub tied: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeadLayerKind {
    Linear,
    Norm,
    #[serde(other)]
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    Relu,
    Tanh,
    Gelu,
    GeluTanh,
    Silu,
    #[serde(other)]
    Other,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct ForwardRequest {
    pub training: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct InputsReply {
    pub labels: bool,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct ForwardReply {
    pub count: u64,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct MetricsRequest {
    #[serde(deserialize_with = "null_or_number")]
    pub loss: f64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    #[serde(deserialize_with = "null_is_nan")]
    pub values: BTreeMap<String, f64>,
    pub headline: String,
    pub short: String,
    pub higher_is_better: bool,
}

fn null_is_nan<'de, D: Deserializer<'de>>(source: D) -> Result<BTreeMap<String, f64>, D::Error> {
    let values = BTreeMap::<String, Option<f64>>::deserialize(source)?;
    Ok(values
        .into_iter()
        .map(|(name, value)| (name, value.unwrap_or(f64::NAN)))
        .collect())
}
