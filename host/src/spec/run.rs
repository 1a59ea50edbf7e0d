//! One run, fully resolved: what a worker gets, what is hashed into the run's name, and what stands in its folder.
//!
//! Nothing here is optional "because there is a default": [`crate::spec::plan`] has filled every field. Fields that do
//! not concern a method are absent (`None`), so that full fine-tuning has one identity whatever LoRA's settings are.

use std::path::PathBuf;

use lorahost_plugin_api::protocol::DataKind;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The two methods that lorahost compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Only the LoRA factors (and the head, see [`HeadMode`]) are trained.
    Lora,
    /// Full fine-tuning: every parameter is trained.
    Full,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSpec {
    pub method: Method,
    pub model: ModelSpec,
    pub data: DataSpec,
    /// Present for [`Method::Lora`] alone, like `init` and `alpha`.
    pub lora: Option<LoraSpec>,
    pub init: Option<Selection>,
    pub alpha: Option<Selection>,
    pub optimizer: Selection,
    pub head: Selection,
    pub train: TrainSpec,
    pub seeds: Seeds,
}

impl RunSpec {
    /// The components that the run uses, with their kinds.
    pub fn selections(&self) -> impl Iterator<Item = (&'static str, &Selection)> {
        let of_lora = [("init", &self.init), ("alpha", &self.alpha)];
        of_lora
            .into_iter()
            .filter_map(|(kind, selection)| Some((kind, selection.as_ref()?)))
            .chain([("optimizer", &self.optimizer), ("head", &self.head)])
    }
}

/// A plugin's component with all of its parameters, checked against its manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    pub name: String,
    /// Every parameter of the manifest, defaults filled in.
    pub parameters: Map<String, Value>,
    /// sha256 of the plugin file, in hexadecimal; part of the identity.
    pub sha256: String,
    /// Where the file was found; provenance, not part of the identity.
    pub file: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// A folder in Hugging Face's layout, an id on its hub, or `builtin:NAME`.
    pub path: String,
    pub weights: Weights,
    /// Replaces every dropout probability of the model's `config.json`. Like every dropout it is rounded to a multiple
    /// of 2^-16: below 2^-17 there is none.
    pub dropout: Option<f64>,
    /// Of what the linear layers' products are made; absent for float32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
    /// The folder of a PEFT adapter that the run goes on from: LoRA with its factors, full fine-tuning with them merged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<PathBuf>,
    /// sha256 of that adapter, in hexadecimal; part of the identity, as its place is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter_sha256: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    Float32,
    /// What learns, its gradients and everything that plugins see stay float32.
    Bfloat16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weights {
    Pretrained,
    /// Drawn from the config's `initializer_range`; the folder needs no weights.
    Random,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSpec {
    /// What the task head learns from.
    #[serde(default)]
    pub kind: DataKind,
    /// `builtin:NAME`, an id on the hub, a file, or a folder with `train.csv` and, if they exist, `validation.csv` and
    /// `test.csv`.
    /// The three files below, where given, come before it.
    pub path: Option<String>,
    pub train_file: Option<PathBuf>,
    pub validation_file: Option<PathBuf>,
    pub test_file: Option<PathBuf>,
    /// Column names joined by `+`: their texts are joined by a space.
    pub text_column: Option<String>,
    pub label_column: Option<String>,
    /// Of pairs, like the two after it of blocks alone.
    #[serde(default)]
    pub rejected_column: Option<String>,
    /// Tokens of a block; the model's positions, at most 1024, when absent.
    #[serde(default)]
    pub block_size: Option<usize>,
    /// Tokens from the start of a block to that of the next; `block_size` when absent.
    #[serde(default)]
    pub stride: Option<usize>,
    /// Rows kept of each split, from its front after shuffling; all of them when absent.
    pub train_size: Option<usize>,
    pub validation_size: Option<usize>,
    pub test_size: Option<usize>,
    /// Share of the train rows that becomes the validation split where there is no file for it.
    pub validation_fraction: f64,
    /// Seed of the shuffle before that split.
    pub split_seed: u64,
    /// Longest sequence in tokens, special tokens included; longer ones are cut. The model's positions bound it.
    pub max_length: usize,
}

impl DataSpec {
    /// Sets the kind, and forgets what does not concern it: it must not tell runs apart that are the same.
    pub(super) fn arrange(&mut self, kind: DataKind) {
        self.kind = kind;
        if kind != DataKind::Pairs {
            self.rejected_column = None;
        }
        if kind != DataKind::Blocks {
            self.block_size = None;
            self.stride = None;
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraSpec {
    pub rank: usize,
    /// `all`, `attention`, `mlp`, or a regular expression over Hugging Face's module names.
    pub targets: String,
    /// Dropout on the input of the LoRA path.
    pub dropout: f64,
    pub head_mode: HeadMode,
    /// Factor on A after the init scheme.
    pub init_scale_a: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeadMode {
    /// The head's own weights are trained; no LoRA on them.
    Train,
    /// The head stays as it was drawn, under LoRA of its own: the original study's way.
    Lora,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSpec {
    pub lr: f64,
    /// Factors on the learning rate of A and of B.
    pub lr_a: f64,
    pub lr_b: f64,
    pub epochs: usize,
    pub batch_size: usize,
    /// Batches whose gradients are summed before one step.
    pub accumulate: usize,
    /// Ends the run after that many steps, whatever `epochs` says.
    pub max_steps: Option<usize>,
    /// Evaluates on the validation split every that many steps; at the end of each epoch in any case.
    pub eval_every: Option<usize>,
    /// Ends the run as diverged after that many evaluations in a row above the untrained model's loss.
    #[serde(default)]
    pub diverged_after: Option<usize>,
    pub schedule: Schedule,
    /// Steps of linear warm-up from 0.
    pub warmup: usize,
    /// Largest global norm of the gradient.
    pub grad_clip: Option<f64>,
    pub save: Save,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    Constant,
    /// Linearly to 0 at the last step.
    Linear,
    /// Half a cosine to 0 at the last step.
    Cosine,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Save {
    None,
    /// The LoRA factors and what else was trained.
    Adapter,
    /// The whole model, LoRA merged, as a Hugging Face folder.
    Full,
}

/// Seeds of the named random streams, one a purpose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seeds {
    /// LoRA factors, and the weights of a model that starts at random.
    pub init: u64,
    /// Order of the training rows.
    pub data: u64,
    pub dropout: u64,
    /// New weights of the task head, and what it draws.
    pub head: u64,
}

impl Seeds {
    /// As one word: `42`, or `init1-data0-dropout1-head1` where they differ.
    #[must_use]
    pub fn label(&self) -> String {
        let Self {
            init,
            data,
            dropout,
            head,
        } = *self;
        if [data, dropout, head] == [init; 3] {
            init.to_string()
        } else {
            format!("init{init}-data{data}-dropout{dropout}-head{head}")
        }
    }
}
