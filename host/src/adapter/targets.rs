//! Which linear layers get LoRA.

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::AdapterError;
use super::linear::{Linear, ModuleKind};

/// Which linear layers of the encoder get LoRA.
#[derive(Debug, Clone)]
pub enum Targets {
    All,
    Kind(ModuleKind),
    /// Found anywhere in Hugging Face's module name, as `attention\.self\.(query|value)$`.
    Pattern(Regex),
}

impl Targets {
    /// Reads `all`, `attention`, `mlp` or a regular expression.
    ///
    /// # Errors
    /// Where the text is no regular expression.
    pub fn parse(text: &str) -> Result<Self, AdapterError> {
        match text {
            "all" => Ok(Self::All),
            "attention" => Ok(Self::Kind(ModuleKind::Attention)),
            "mlp" => Ok(Self::Kind(ModuleKind::Mlp)),
            pattern => {
                Regex::new(pattern)
                    .map(Self::Pattern)
                    .map_err(|error| AdapterError::BadPattern {
                        pattern: pattern.to_owned(),
                        reason: last_line(&error),
                    })
            }
        }
    }

    /// Whether `linear` is chosen.
    #[must_use]
    pub fn choose(&self, linear: &Linear) -> bool {
        match self {
            Self::All => true,
            Self::Kind(kind) => linear.kind() == *kind,
            Self::Pattern(pattern) => pattern.is_match(linear.name()),
        }
    }
}

impl std::fmt::Display for Targets {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => out.write_str("all"),
            Self::Kind(kind) => out.write_str(kind.name()),
            Self::Pattern(pattern) => out.write_str(pattern.as_str()),
        }
    }
}

/// A layer that is to get LoRA, as init schemes and alpha policies see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerInfo {
    /// Hugging Face's module path.
    pub name: String,
    /// Position among all linear layers of the model, its head included.
    pub index: usize,
    pub fan_in: i64,
    pub fan_out: i64,
    pub kind: ModuleKind,
}

/// The last line of a message that draws its pattern first.
fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().last().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}
