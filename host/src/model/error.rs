//! What can go wrong with a model.

use std::path::PathBuf;

use thiserror::Error;

use crate::adapter::AdapterError;
use crate::adapter::peft::PeftError;

/// What can go wrong between a model's folder and its hidden states.
#[derive(Debug, Error)]
pub enum ModelError {
    #[error("cannot read {}: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot write {}: {reason}", path.display())]
    Write { path: PathBuf, reason: String },
    #[error("`{name}` has numbers beyond the range of {precision}: write it with --dtype fp32")]
    Overflow {
        name: String,
        precision: &'static str,
    },
    #[error("no folder {}: a model is a folder with config.json and model.safetensors, or builtin:NAME", path.display())]
    NoFolder { path: PathBuf },
    #[error("{} has no config.json: a model is a folder with config.json and model.safetensors", folder.display())]
    NoConfig { folder: PathBuf },
    #[error("no built-in model `{name}`; there is {}", known.join(", "))]
    NoBuiltin { name: String, known: Vec<String> },
    #[error("{origin}: not JSON: {source}")]
    NotJson {
        origin: String,
        source: serde_json::Error,
    },
    #[error("{origin}: `{key}` is missing")]
    ConfigMissing { origin: String, key: String },
    #[error("{origin}: `{key}` is {found}, expected {expected}")]
    ConfigValue {
        origin: String,
        key: String,
        found: String,
        expected: String,
    },
    #[error(
        "{origin}: settings that are not known here and may change what the model computes: {}; remove them from \
         config.json if they have no effect",
        keys.join(", ")
    )]
    UnknownSettings { origin: String, keys: Vec<String> },
    #[error(
        "config.json describes more than {most} {what}: no such model is served; see its number of layers and sizes"
    )]
    TooLarge { most: i64, what: &'static str },
    #[error(
        "{origin} describes {parameters} parameters, which drawn take {bytes} bytes; this machine has {memory} bytes of \
         memory: see its number of layers and sizes"
    )]
    BeyondMemory {
        origin: String,
        parameters: u64,
        bytes: u64,
        memory: u64,
    },
    #[error(
        "{origin}: `model_type` is `{found}`, which is not among those known here: {}",
        known.join(", ")
    )]
    UnknownArchitecture {
        origin: String,
        found: String,
        known: Vec<String>,
    },
    #[error("{origin} is not a safetensors file: {reason}")]
    NotSafetensors { origin: String, reason: String },
    #[error(
        "{} has no model.safetensors but {}: only the safetensors format is read, never pickle, which can run code; \
         open the model with transformers and write it again with `save_pretrained`, which makes safetensors",
        folder.display(),
        found.join(", ")
    )]
    OtherFormat { folder: PathBuf, found: Vec<String> },
    #[error("{origin} is not an index of safetensors files: {reason}")]
    BadIndex { origin: String, reason: String },
    #[error("{origin} does not fit the files that it names: {problem}")]
    Shards { origin: String, problem: String },
    #[error("{} has no model.safetensors", folder.display())]
    NoWeights { folder: PathBuf },
    #[error("{origin} does not fit its config.json: {}", problems.join("; "))]
    Weights {
        origin: String,
        problems: Vec<String>,
    },
    #[error("{origin} is not an adapter of this model: {problem}")]
    NotAnAdapter { origin: String, problem: String },
    #[error(transparent)]
    Peft(#[from] PeftError),
    #[error("architecture `{architecture}` has no head of layout `{layout}`; it has {}", known.join(", "))]
    UnknownLayout {
        architecture: String,
        layout: String,
        known: Vec<String>,
    },
    #[error("the head has no layer `{name}`; it has {}", known.join(", "))]
    UnknownHeadLayer { name: String, known: Vec<String> },
    #[error("the model has no head yet")]
    NoHead,
    #[error("a head of layout `{layout}` needs at least 1 output")]
    NoOutputs { layout: String },
    #[error("batch: {0}")]
    Batch(String),
    #[error("token {id} is not one of the model's {vocabulary}")]
    Token { id: i64, vocabulary: i64 },
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}

impl ModelError {
    /// Whether it is the machine or the program that failed, and not what was given.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Write { .. } | Self::Torch(_))
    }
}

/// Names that a message lists; of more it tells the number alone.
const LISTED: usize = 5;

/// `what` with the first of `names` and their number: `2 missing: a, b`.
pub(crate) fn listed(what: &str, names: &[String]) -> String {
    let first = names[..names.len().min(LISTED)].join(", ");
    let rest = match names.len().saturating_sub(LISTED) {
        0 => String::new(),
        rest => format!(" and {rest} more"),
    };
    format!("{} {what}: {first}{rest}", names.len())
}

/// A text that stands in a file as a message may show it: printable, on one line, not without end.
pub(crate) fn shown(text: &str) -> String {
    const MOST: usize = 100;
    let mut letters = text.chars();
    let mut shown = String::new();
    for letter in letters.by_ref().take(MOST) {
        match letter {
            '"' | '\'' | '\\' => shown.push(letter),
            _ => shown.extend(letter.escape_debug()),
        }
    }
    if letters.next().is_some() {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_a_file_stays_on_its_line() {
        assert_eq!(shown("a \"b\"\\c\u{e4}"), "a \"b\"\\c\u{e4}");
        assert_eq!(shown("x\n\u{1b}[2J\u{202e}"), "x\\n\\u{1b}[2J\\u{202e}");
        assert_eq!(shown(&"y".repeat(101)), "y".repeat(100) + "...");
    }

    #[test]
    fn a_long_list_ends_with_a_count() {
        let names: Vec<String> = (0..8).map(|n| n.to_string()).collect();
        assert_eq!(listed("missing", &names[..2]), "2 missing: 0, 1");
        assert_eq!(
            listed("missing", &names),
            "8 missing: 0, 1, 2, 3, 4 and 3 more"
        );
    }
}
