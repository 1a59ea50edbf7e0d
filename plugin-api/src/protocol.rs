//! What host and plugin say to each other: JSON messages beside tensor handles.
//!
//! A message is a JSON object that grows by optional fields alone, so an older plugin reads a newer host's messages and
//! the other way round: unknown fields are ignored, absent ones have a default, and a name that an enum of the host's
//! messages does not have reads as its `Other`; only [`EvaluationPhase`] has none. The methods `state` and `reset`, which
//! are told nothing, get the message `null`; a method that has nothing to answer may leave its message empty.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// The ABI that this crate speaks. It is frozen: a plugin of ABI 1 works in every later host.
pub const ABI: u32 = 1;

/// [`ABI`] as text, for the manifest that is made at compile time.
pub const ABI_TEXT: &str = "1";

/// The section of a plugin file that holds its [`Manifest`] as JSON.
pub const MANIFEST_SECTION: &str = ".lorahost.manifest";

/// What a plugin file says of itself without being run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub abi: u32,
    /// Name of the crate.
    pub package: String,
    /// Version of the crate.
    pub version: String,
    #[serde(default)]
    pub licence: String,
    pub components: Vec<ComponentManifest>,
}

/// One component: an init scheme, alpha policy, optimizer or head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComponentManifest {
    /// `init`, `alpha`, `optimizer`, `head`; a later host may know more.
    pub kind: String,
    /// Unique within its kind: `gaussian`.
    pub name: String,
    /// One line.
    #[serde(default)]
    pub summary: String,
    /// Host extensions that it cannot do without.
    #[serde(default)]
    pub requires: Vec<String>,
    #[serde(default)]
    pub parameters: Vec<Parameter>,
    /// Of a head: the name of the [`DataKind`] that it learns from; a later plugin may name one that this host has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

/// What a row of the data is to a head.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataKind {
    /// A text, with its class where the data has classes.
    #[default]
    Classes,
    /// A text alone.
    Text,
    /// A block of tokens: all texts of a split joined and cut into blocks of one length.
    Blocks,
    /// A text and a number.
    Numbers,
    /// Words, each with its tag.
    Tags,
    /// Two texts: the chosen and the rejected one.
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

    /// As it stands in a manifest.
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

    /// The kind of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// One parameter of a component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: ParameterKind,
    pub default: Value,
    /// Smallest value allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Largest value allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// The strings that [`ParameterKind::Choice`] allows.
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

/// A linear layer that gets factors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// Hugging Face's module name: `encoder.layer.0.attention.self.query`.
    pub name: String,
    /// Place among the layers that get factors, from 0.
    pub index: usize,
    pub fan_in: usize,
    pub fan_out: usize,
    pub rank: usize,
    /// s in y = W x + s B A x.
    pub scale: f64,
    /// `attention`, `mlp`, `head` or `other`.
    #[serde(default)]
    pub role: String,
}

/// One of the two factors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Factor {
    A,
    B,
}

/// Asks an init scheme for the factors of a layer; the reply carries A and B.
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

/// Asks an init scheme for the ranks of all layers that get factors; their scales are not known yet and 1.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RanksRequest {
    pub layers: Vec<Layer>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RanksReply {
    /// In the order of the layers, 0 for one that is to have no factors; absent where all keep their rank.
    #[serde(default)]
    pub ranks: Option<Vec<usize>>,
}

/// Asks an alpha policy for the scale of a layer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AlphaRequest {
    pub layer: Layer,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AlphaReply {
    /// Like its neighbours NaN where it arrives as null, which is how JSON has NaN and infinity.
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

/// What a parameter is to the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// `[rank, fan_in]`.
    A,
    /// `[fan_out, rank]`.
    B,
    /// Weight of a linear layer of the model.
    Base,
    Bias,
    /// Gain or shift of a normalisation.
    Norm,
    Embedding,
    /// Weight or bias of the task head.
    Head,
    /// None that this API knows; from a later host.
    #[serde(other)]
    Other,
}

/// What an optimizer knows of a parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParameterInfo {
    /// Hugging Face's name, or the module's with `.lora_A` or `.lora_B`.
    pub name: String,
    pub role: Role,
    /// Shared by the A and the B of one layer.
    #[serde(default)]
    pub pair: Option<usize>,
    /// s of the pair; 1 for the others.
    #[serde(default = "one")]
    pub scale: f64,
    /// Factor on the learning rate.
    #[serde(default = "one")]
    pub lr: f64,
    /// Whether weight decay applies.
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

/// One step; the tensors are the parameters, then their gradients.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct StepRequest {
    /// From 1.
    pub step: u64,
    pub lr: f64,
}

/// Names of the state tensors that go beside it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct OptimizerState {
    pub names: Vec<String>,
}

/// Tells an optimizer that an evaluation, a checkpoint or the end begins or is over; the tensors are the parameters.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct EvaluationRequest {
    pub phase: EvaluationPhase,
}

/// Where an evaluation, a checkpoint or the end stands. There is no `Other`: these two are all that a host ever sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EvaluationPhase {
    Before,
    After,
}

/// What the data is, for a head.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Names of the classes in the order of their numbers; empty where the data has none.
    #[serde(default)]
    pub labels: Vec<String>,
    pub vocab_size: usize,
    #[serde(default)]
    pub mask_token: Option<i64>,
    /// Ids that are never text: `[CLS]`, `[SEP]`, `[PAD]`, ...
    #[serde(default)]
    pub special_tokens: Vec<i64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HeadPrepareRequest {
    pub task: Task,
}

/// Which of the model's heads a task needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeadPlan {
    /// A layout that the model may know: `pooled` (outputs a row), `tokens` (outputs a token), `vocabulary` (scores of
    /// the words at every token, for a model that sees both sides) or `causal` (scores of the next word).
    pub layout: String,
    /// Width of the last layer; the layouts `vocabulary` and `causal` bring their own.
    #[serde(default)]
    pub outputs: Option<usize>,
}

/// Which hidden states a head has a use for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sees {
    /// Of each row that which stands for the whole of it ([`HeadLayers::pooled`]).
    Pooled,
    /// Those of all tokens; also what a later head may say that this API does not know.
    #[default]
    #[serde(other)]
    Tokens,
}

/// Answer to `plan`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanReply {
    #[serde(flatten)]
    pub plan: HeadPlan,
    #[serde(default)]
    pub sees: Sees,
}

/// The layers of the model's head, in order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HeadLayers {
    pub layers: Vec<HeadLayer>,
    /// Where the first layer looks; absent for heads that see every token.
    #[serde(default)]
    pub pooled: Option<Pooled>,
}

/// The token of a row that stands for the whole of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooled {
    First,
    Last,
    /// None that this API knows; from a later host.
    #[serde(other)]
    Other,
}

/// One layer of the model's head; the host owns its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeadLayer {
    /// Hugging Face's module name: `pre_classifier`.
    pub name: String,
    pub kind: HeadLayerKind,
    pub fan_in: usize,
    pub fan_out: usize,
    pub bias: bool,
    /// Probability of the dropout before the layer.
    #[serde(default)]
    pub input_dropout: f64,
    /// Applied after the layer.
    #[serde(default)]
    pub activation: Option<Activation>,
    /// Probability of the dropout after the activation.
    #[serde(default)]
    pub dropout: f64,
    /// Whether the weights came with the model.
    #[serde(default)]
    pub pretrained: bool,
    /// Whether the weight is the model's own embedding.
    #[serde(default)]
    pub tied: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeadLayerKind {
    Linear,
    Norm,
    /// None that this API knows; from a later host.
    #[serde(other)]
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    Relu,
    Tanh,
    /// With the error function.
    Gelu,
    /// With the tanh approximation.
    GeluTanh,
    Silu,
    /// None that this API knows; from a later host.
    #[serde(other)]
    Other,
}

/// Of `inputs` and `forward`: which pass this is, and what there is to say of the batch beside its tensors.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct ForwardRequest {
    pub training: bool,
    /// Length in UTF-8 of the text that the batch's predicted tokens cover, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// Whether the tokens in the reply are followed by labels.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct InputsReply {
    pub labels: bool,
}

/// The reply carries the sum of the loss.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct ForwardReply {
    /// What the sum runs over.
    pub count: u64,
}

/// Asks a head for the metrics of all that it observed.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct MetricsRequest {
    /// Mean over everything counted.
    #[serde(deserialize_with = "null_or_number")]
    pub loss: f64,
}

/// What an evaluation measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// By name: `accuracy`, `macro_f1`. JSON has no NaN and no infinity: they travel as null and arrive as NaN.
    #[serde(deserialize_with = "null_is_nan")]
    pub values: BTreeMap<String, f64>,
    /// The one of them that a table shows.
    pub headline: String,
    /// Its short name in `results.json`: `acc` gives `test_acc`.
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

#[cfg(test)]
mod tests {
    use serde_json::{from_str, json};

    use super::*;

    #[test]
    fn the_number_of_the_abi_has_one_value() {
        assert_eq!(ABI_TEXT, ABI.to_string());
    }

    #[test]
    fn a_later_host_may_say_more() {
        let later = json!({
            "parameters": [{"name": "x", "role": "position", "curvature": 1.5}],
            "phase": "before", "reason": "checkpoint",
            "loss": null,
            "layers": [{
                "name": "score", "kind": "router", "fan_in": 4, "fan_out": 2, "bias": true,
                "activation": "mish", "experts": 8,
            }],
            "pooled": "mean",
        });
        let later = later.to_string();
        let parameters = from_str::<PrepareRequest>(&later).unwrap().parameters;
        assert_eq!(parameters[0].role, Role::Other);
        let phase = from_str::<EvaluationRequest>(&later).unwrap().phase;
        assert_eq!(phase, EvaluationPhase::Before);
        assert!(from_str::<MetricsRequest>(&later).unwrap().loss.is_nan());
        let head: HeadLayers = from_str(&later).unwrap();
        assert_eq!(head.pooled, Some(Pooled::Other));
        let layer = &head.layers[0];
        assert_eq!(layer.kind, HeadLayerKind::Other);
        assert_eq!(layer.activation, Some(Activation::Other));
    }

    #[test]
    fn an_earlier_side_may_say_less() {
        let reply: AlphaReply = from_str(r#"{"scale": 2.0}"#).unwrap();
        assert_eq!((reply.lr_a, reply.lr_b), (1.0, 1.0));
        let reply: InitReply = from_str("{}").unwrap();
        assert!(!reply.compensate && reply.frozen.is_none());
        assert!(from_str::<RanksReply>("{}").unwrap().ranks.is_none());
        let task: Task = from_str(r#"{"vocab_size": 9}"#).unwrap();
        assert!(task.labels.is_empty() && task.mask_token.is_none());
    }

    #[test]
    fn numbers_arrive_as_they_were_sent() {
        let mut lr = 1e-5_f64;
        while lr < 1.0 {
            let sent = serde_json::to_string(&StepRequest { step: 1, lr }).unwrap();
            let arrived: StepRequest = from_str(&sent).unwrap();
            assert_eq!(arrived.lr.to_bits(), lr.to_bits(), "{sent}");
            lr *= 1.0 + 1.0 / 7.0;
        }
    }
}
