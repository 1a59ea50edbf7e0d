//! The one table of keys: names, types, defaults, flags and help. The host's defaults stand here and nowhere else.

use std::fmt::{self, Write as _};

use serde_json::Value as Json;

use super::error::SpecError;
pub use super::kind::{Bounds, Kind};
use super::value::{Origin, Value};
use crate::nearest::nearest;

/// A dotted key of an experiment file.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    pub default: Fallback,
    pub flag: Option<Flag>,
    pub doc: &'static str,
}

/// The flag that is an alias of a key.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// Without the dashes.
    pub long: &'static str,
    pub alias: Option<&'static str>,
    /// What stands for the value in help.
    pub value: &'static str,
}

/// What holds where a key is not given.
#[derive(Debug, Clone, Copy)]
pub enum Fallback {
    /// A TOML value.
    Is(&'static str),
    /// A path that holds where neither a model nor data is named.
    Builtin(&'static str),
    /// None; the text says what that means.
    Unset(&'static str),
    /// The value of `seed`.
    Seed,
}

/// A flag that sets one parameter of whichever component is selected.
#[derive(Debug, Clone, Copy)]
pub struct ParameterFlag {
    pub flag: Flag,
    /// `KIND.PARAMETER`.
    pub key: &'static str,
    pub doc: &'static str,
}

use Bounds::{Fraction, NonNegative, Positive, Probability};
use Fallback::{Builtin, Is, Seed, Unset};

/// Every key, in the order of help and of the axes of an experiment.
pub const KEYS: &[Key] = &[
    key(
        "method",
        Kind::Choice(&["lora", "full"]),
        Is(r#""lora""#),
        "LoRA or full fine-tuning: --full-finetune, --with-full-finetune",
    ),
    key(
        "seed",
        Kind::Int(0),
        Is("42"),
        "Seed of every random stream that has none of its own",
    )
    .flag("seed", "N"),
    key(
        "model.path",
        Kind::Path,
        Builtin("builtin:tiny-bert"),
        "Model: a Hugging Face folder, an id on its hub such as distilbert-base-uncased, or builtin:NAME",
    )
    .flag("model", "PATH"),
    key(
        "model.weights",
        Kind::Choice(&["pretrained", "random"]),
        Is(r#""pretrained""#),
        "Weights of the folder, or drawn at random from its config",
    ),
    key(
        "model.dropout",
        Kind::Float(Probability),
        Unset("as in the model's config"),
        "Dropout inside the model",
    )
    .flag("dropout", "P"),
    key(
        "model.precision",
        Kind::Choice(&["float32", "bfloat16"]),
        Unset("float32"),
        "Of what the linear layers' products are made; what learns stays float32",
    ),
    key(
        "model.adapter",
        Kind::Path,
        Unset("none"),
        "PEFT adapter that LoRA goes on from, with its ranks, scales and layers; full fine-tuning has it merged",
    )
    .flag("adapter", "FOLDER"),
    key(
        "data.path",
        Kind::Path,
        Builtin("builtin:topics"),
        "Data: a folder with train, validation and test files (CSV, TSV, JSON Lines, Parquet, text), a file, an id on the hub as NAME[:CONFIG][@REVISION], or builtin:NAME",
    )
    .flag("data", "PATH"),
    key(
        "data.train_file",
        Kind::Path,
        Unset("from data.path"),
        "File of the train split",
    )
    .flag("train-file", "FILE"),
    key(
        "data.validation_file",
        Kind::Path,
        Unset("from data.path, else part of the train split"),
        "File of the validation split",
    )
    .flag("validation-file", "FILE"),
    key(
        "data.test_file",
        Kind::Path,
        Unset("from data.path"),
        "File of the test split",
    )
    .flag("test-file", "FILE"),
    key(
        "data.text_column",
        Kind::Text,
        Unset("recognised"),
        "Column with the text or words, or several joined by +",
    )
    .flag("text-column", "NAME"),
    key(
        "data.label_column",
        Kind::Text,
        Unset("recognised"),
        "Column with the label, number or tags",
    )
    .flag("label-column", "NAME"),
    key(
        "data.rejected_column",
        Kind::Text,
        Unset("recognised"),
        "Of pairs: column with the rejected text, where the text column has the chosen one",
    ),
    key(
        "data.block_size",
        Kind::Int(2),
        Unset("the model's positions, at most 1024"),
        "Of blocks: tokens of a block",
    )
    .flag("block-size", "N"),
    key(
        "data.stride",
        Kind::Int(1),
        Unset("data.block_size"),
        "Of blocks: tokens from one block's start to the next one's in the train split",
    ),
    key(
        "data.train_size",
        Kind::Int(1),
        Unset("all"),
        "Rows kept of the train split",
    )
    .flag("train-size", "N"),
    key(
        "data.validation_size",
        Kind::Int(1),
        Unset("all"),
        "Rows kept of the validation split",
    )
    .flag("validation-size", "N"),
    key(
        "data.test_size",
        Kind::Int(1),
        Unset("all"),
        "Rows kept of the test split",
    )
    .flag("test-size", "N"),
    key(
        "data.validation_fraction",
        Kind::Float(Fraction),
        Is("0.1"),
        "Share of the train rows that becomes the validation split where there is no file for it",
    ),
    key(
        "data.split_seed",
        Kind::Int(0),
        Is("36"),
        "Seed of the shuffle before that split",
    ),
    key(
        "data.max_length",
        Kind::Int(1),
        Is("512"),
        "Longest sequence in tokens; longer ones are cut",
    )
    .flag("max-length", "N"),
    key("lora.rank", Kind::Int(1), Is("128"), "Rank of LoRA").flag("rank", "N"),
    key(
        "lora.targets",
        Kind::Targets,
        Is(r#""all""#),
        "Layers under LoRA: all, attention, mlp or a regular expression",
    )
    .flag("targets", "WHICH"),
    key(
        "lora.dropout",
        Kind::Float(Probability),
        Is("0"),
        "Dropout on the input of LoRA",
    )
    .flag("lora-dropout", "P"),
    key(
        "lora.head_mode",
        Kind::Choice(&["train", "lora"]),
        Is(r#""train""#),
        "Train the head itself, or leave it as drawn under LoRA of its own",
    )
    .flag("head-mode", "MODE"),
    key(
        "lora.init_scale_a",
        Kind::Float(Positive),
        Is("1"),
        "Factor on A after the init scheme",
    ),
    key(
        "init",
        Kind::Component,
        Is(r#""uniform""#),
        "Init scheme: how A and B start",
    )
    .flag("init", "NAME[:KEY=VALUE,...]"),
    key(
        "alpha",
        Kind::Component,
        Is(r#""constant:alpha=256""#),
        "Alpha policy: the scale of BA",
    )
    .flag("alpha-policy", "NAME[:KEY=VALUE,...]"),
    key(
        "optimizer",
        Kind::Component,
        Is(r#""adamw:weight_decay=1e-3""#),
        "Optimizer",
    )
    .flag("optimizer", "NAME[:KEY=VALUE,...]"),
    key(
        "head",
        Kind::Component,
        Is(r#""sequence-classification""#),
        "Task head: logits, loss and metrics",
    )
    .flag("head", "NAME[:KEY=VALUE,...]"),
    key(
        "train.lr",
        Kind::Float(Positive),
        Is("[1e-4, 5e-4, 1e-3]"),
        "Learning rates",
    )
    .flag("lrs", "LR"),
    key(
        "train.lr_a",
        Kind::Float(NonNegative),
        Is("1"),
        "Factor on the learning rate of A",
    ),
    key(
        "train.lr_b",
        Kind::Float(NonNegative),
        Is("1"),
        "Factor on the learning rate of B",
    ),
    key(
        "train.epochs",
        Kind::Between(1, 1_000_000),
        Is("5"),
        "Passes over the train split",
    )
    .flag("epochs", "N"),
    key("train.batch_size", Kind::Int(1), Is("32"), "Rows a batch")
        .flag("batch-size", "N")
        .alias("batch_size"),
    key(
        "train.accumulate",
        Kind::Int(1),
        Is("1"),
        "Batches whose gradients make one step",
    )
    .flag("accumulate", "N"),
    key(
        "train.max_steps",
        Kind::Int(1),
        Unset("by epochs alone"),
        "Steps after which a run ends in any case",
    )
    .flag("max-steps", "N"),
    key(
        "train.eval_every",
        Kind::Int(1),
        Unset("each epoch"),
        "Steps between evaluations, besides each epoch's",
    )
    .flag("eval-every", "N"),
    key(
        "train.diverged_after",
        Kind::Int(1),
        Unset("only by its last one"),
        "Evaluations in a row above the untrained model's loss after which a run has diverged and ends",
    ),
    key(
        "train.schedule",
        Kind::Choice(&["constant", "linear", "cosine"]),
        Is(r#""constant""#),
        "Course of the learning rate after warm-up",
    )
    .flag("schedule", "NAME"),
    key(
        "train.warmup",
        Kind::Int(0),
        Is("0"),
        "Steps of linear warm-up",
    )
    .flag("warmup", "N"),
    key(
        "train.grad_clip",
        Kind::Float(Positive),
        Unset("none"),
        "Largest global norm of the gradient",
    )
    .flag("grad-clip", "NORM"),
    key(
        "train.save",
        Kind::Choice(&["adapter", "full", "none"]),
        Is(r#""none""#),
        "What a run keeps of its weights, where full fine-tuning takes adapter for full",
    )
    .flag("save", "WHAT"),
    key(
        "seeds.init",
        Kind::Int(0),
        Seed,
        "Seed of A and B, and of weights drawn at random",
    ),
    key(
        "seeds.data",
        Kind::Int(0),
        Seed,
        "Seed of the order of the train rows",
    ),
    key("seeds.dropout", Kind::Int(0), Seed, "Seed of dropout"),
    key(
        "seeds.head",
        Kind::Int(0),
        Seed,
        "Seed of the task head's new weights and of what it draws",
    ),
    key(
        "search.strategy",
        Kind::Choice(&["grid", "bracket"]),
        Is(r#""grid""#),
        "The given learning rates, or as many more as the optimum needs",
    )
    .flag("search", "WAY"),
    key(
        "search.width",
        Kind::Float(Positive),
        Is("0.25"),
        "Decades of the 90% interval of an optimum at which bracket is content",
    ),
    key(
        "search.budget",
        Kind::Int(1),
        Is("12"),
        "Learning rates of a cell at most, with bracket",
    ),
    key(
        "run.device",
        Kind::Device,
        Is(r#""auto""#),
        "Device: auto, cpu, cuda or cuda:N",
    )
    .flag("device", "DEVICE"),
    key("run.threads", Kind::Int(1), Is("1"), "Threads a worker").flag("threads", "N"),
    key(
        "run.workers",
        Kind::Int(1),
        Unset("one a core, or one a GPU"),
        "Runs at a time, each in a process",
    )
    .flag("workers", "N"),
    key(
        "run.checkpoint_every",
        Kind::Float(NonNegative),
        Is("60"),
        "Seconds between checkpoints of a run; 0 makes none but when the sweep is stopped",
    ),
    key(
        "run.retries",
        Kind::Int(0),
        Is("1"),
        "How often a run is tried again after a failure that may pass: a dead or silent worker, memory, a disk",
    ),
    key(
        "run.heartbeat",
        Kind::Float(NonNegative),
        Is("600"),
        "Seconds without a sign of life after which a worker is killed; 0 waits for ever",
    ),
    key(
        "run.output",
        Kind::Path,
        Unset("runs/MODEL-DATA-HASH"),
        "Folder of the results",
    )
    .flag("output", "DIR"),
];

/// Flags for the two parameters that the original study names.
pub const PARAMETER_FLAGS: &[ParameterFlag] = &[
    ParameterFlag {
        flag: Flag {
            long: "alpha",
            alias: None,
            value: "ALPHA",
        },
        key: "alpha.alpha",
        doc: "Parameter alpha of the alpha policy",
    },
    ParameterFlag {
        flag: Flag {
            long: "weight-decay",
            alias: None,
            value: "DECAY",
        },
        key: "optimizer.weight_decay",
        doc: "Parameter weight_decay of the optimizer",
    },
];

/// The key of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// `init.std_a` as the component key `init` and the parameter `std_a`.
#[must_use]
pub fn find_parameter(name: &str) -> Option<(&'static Key, &str)> {
    let (kind, parameter) = name.split_once('.')?;
    let key = find(kind).filter(|key| key.kind == Kind::Component)?;
    (!parameter.is_empty() && !parameter.contains('.')).then_some((key, parameter))
}

/// The known key that `name` was probably meant to be; a flag's name or a key without its section is understood too.
pub(crate) fn nearest_key(name: &str) -> Option<&'static str> {
    let last = |key: &'static Key| key.name.rsplit('.').next().unwrap_or(key.name);
    let exact = KEYS
        .iter()
        .find(|key| last(key) == name || key.flag.is_some_and(|flag| flag.long == name));
    if let Some(key) = exact {
        return Some(key.name);
    }
    nearest(name, KEYS.iter().map(|key| key.name)).or_else(|| {
        let close = nearest(name, KEYS.iter().map(last))?;
        KEYS.iter()
            .find(|key| last(key) == close)
            .map(|key| key.name)
    })
}

/// All keys with type, default, flag and meaning, as text for a terminal.
#[must_use]
pub fn listing() -> String {
    let mut text = String::from(
        "Keys of an experiment file (lorahost sweep FILE, --config FILE) and of KEY=VALUE words behind it, with their\n\
         defaults and flags.\n\n\
         A list makes a key an axis of the experiment, except for run.* and search.*: all runs at each of its values. Where numbers\n\
         stand, logspace(START, STOP, COUNT), linspace(START, STOP, COUNT) and range(START, STOP[, STEP]) do too, in\n\
         quotes in a file. On the command line several values stand between commas: train.lr=1e-4,3e-4.\n\
         A component is \"NAME\", \"NAME:KEY=VALUE,...\" or a table with `name`; KIND.PARAMETER sets one parameter of it.\n\
         Paths are relative to the working folder.\n\n\
         A file can also hold\n\
         \x20   [[pairs]]     lists of one length that vary together\n\
         \x20   [[variants]]  parts of the experiment, each with settings of its own, which go before those of the file\n\
         \x20   [[exclude]]   values of keys; the runs that have all of them are left out\n\n",
    );
    let mut section = KEYS[0].section();
    for key in KEYS {
        if key.section() != section {
            section = key.section();
            text.push('\n');
        }
        let flag = key
            .flag
            .map_or_else(String::new, |flag| format!("  --{}", flag.long));
        let kind = match key.kind {
            Kind::Choice(_) | Kind::Int(_) | Kind::Between(..) | Kind::Float(_) => {
                format!("; {}", key.kind)
            }
            _ => String::new(),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{} = {}{flag}\n    {}{kind}",
            key.name, key.default, key.doc
        );
    }
    text
}

const fn key(name: &'static str, kind: Kind, default: Fallback, doc: &'static str) -> Key {
    Key {
        name,
        kind,
        default,
        flag: None,
        doc,
    }
}

impl Key {
    const fn flag(mut self, long: &'static str, value: &'static str) -> Self {
        self.flag = Some(Flag {
            long,
            alias: None,
            value,
        });
        self
    }

    const fn alias(mut self, alias: &'static str) -> Self {
        if let Some(flag) = &mut self.flag {
            flag.alias = Some(alias);
        }
        self
    }

    /// The part before the dot; empty for a key without one.
    #[must_use]
    pub fn section(&self) -> &'static str {
        self.name.split_once('.').map_or("", |(section, _)| section)
    }

    /// Whether several values are several runs. How and where runs are carried out, and how they are chosen, is not
    /// varied.
    #[must_use]
    pub fn is_axis(&self) -> bool {
        !matches!(self.section(), "run" | "search")
    }

    /// Whether the key is without effect on full fine-tuning.
    #[must_use]
    pub fn is_lora_only(&self) -> bool {
        self.section() == "lora"
            || matches!(self.name, "init" | "alpha" | "train.lr_a" | "train.lr_b")
    }

    /// The key and the place of its value, for messages.
    #[must_use]
    pub fn at(&self, origin: &Origin) -> String {
        format!("`{}` ({origin})", self.name)
    }

    /// Checks one value and gives it the key's type. Components are read elsewhere.
    ///
    /// # Errors
    /// The value is of another type or out of its bounds.
    pub fn read(&self, value: &Value, origin: &Origin) -> Result<Json, SpecError> {
        self.kind.read(value).ok_or_else(|| SpecError::Invalid {
            at: self.at(origin),
            expected: self.kind.to_string(),
            found: value.to_string(),
            hint: self.kind.hint(value),
        })
    }
}

impl fmt::Display for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Is(value) | Builtin(value) => f.write_str(value),
            Unset(meaning) => write!(f, "({meaning})"),
            Seed => f.write_str("(as seed)"),
        }
    }
}
