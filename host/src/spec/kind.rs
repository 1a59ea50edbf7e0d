//! What the value of a key may be.

use std::fmt;

use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::error::{SpecError, quoted};
use super::series;
use super::value::{Value, split};
use crate::nearest::nearest;

/// What a key's value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Choice(&'static [&'static str]),
    Text,
    /// A file, a folder, or `builtin:NAME`.
    Path,
    /// `all`, `attention`, `mlp` or a regular expression.
    Targets,
    /// `auto`, `cpu`, `cuda` or `cuda:N`.
    Device,
    /// An integer of at least that.
    Int(i64),
    /// An integer from the first to the second.
    Between(i64, i64),
    Float(Bounds),
    /// A component of the kind that the key is named after.
    Component,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bounds {
    /// Above 0.
    Positive,
    /// 0 or above.
    NonNegative,
    /// From 0 to the largest below 1 that a dropout can have: probabilities are rounded to multiples of 2^-16, so that
    /// below 2^-17 nothing is dropped.
    Probability,
    /// Above 0 and below 1.
    Fraction,
}

/// The largest 16-bit fraction.
const LARGEST_PROBABILITY: f64 = 1.0 - 1.0 / 65536.0;

use Bounds::{Fraction, NonNegative, Positive, Probability};

impl Kind {
    /// The value with its type, if it is of this kind. Components are read elsewhere.
    pub(crate) fn read(self, value: &Value) -> Option<Json> {
        match self {
            Self::Choice(choices) => value
                .as_text()
                .filter(|text| choices.contains(text))
                .map(Json::from),
            Self::Text | Self::Path => value
                .as_text()
                .filter(|text| !text.is_empty())
                .map(Json::from),
            Self::Targets => value
                .as_text()
                .filter(|text| Regex::new(text).is_ok())
                .map(Json::from),
            Self::Device => value
                .as_text()
                .filter(|text| Device::parse(text).is_some())
                .map(Json::from),
            Self::Int(min) => value
                .as_int()
                .filter(|number| *number >= min)
                .map(Json::from),
            Self::Between(min, max) => value
                .as_int()
                .filter(|number| (min..=max).contains(number))
                .map(Json::from),
            Self::Float(bounds) => value
                .as_float()
                .filter(|number| bounds.hold(*number))
                .map(Json::from),
            Self::Component => None,
        }
    }

    /// The elements of a list with every series written out, and with the values between commas of a word of the command
    /// line on their own, where the key takes numbers.
    ///
    /// # Errors
    /// [`SpecError::Series`].
    pub(crate) fn elements(
        self,
        given: Vec<Value>,
        at: impl Fn() -> String,
    ) -> Result<Vec<Value>, SpecError> {
        match self {
            Self::Int(_) | Self::Between(..) | Self::Float(_) => written_out(given, at),
            _ => Ok(given),
        }
    }

    /// What may help after a message that says what was expected and what was found.
    pub(crate) fn hint(self, value: &Value) -> String {
        let Some(text) = value.as_text() else {
            return String::new();
        };
        match self {
            Self::Choice(choices) => nearest(text, choices.iter().copied())
                .map_or_else(String::new, |name| format!("; did you mean `{name}`?")),
            Self::Int(_) | Self::Between(..) | Self::Float(_) => {
                series::hint(text).unwrap_or_default()
            }
            Self::Targets => Regex::new(text).err().map_or_else(String::new, |error| {
                let message = error.to_string();
                format!("; {}", message.lines().last().unwrap_or_default().trim())
            }),
            _ => String::new(),
        }
    }
}

/// Numbers as they are meant: see [`Kind::elements`]. `at` says where they stand, for messages.
///
/// # Errors
/// [`SpecError::Series`].
pub(crate) fn written_out(
    given: Vec<Value>,
    at: impl Fn() -> String,
) -> Result<Vec<Value>, SpecError> {
    let mut values = Vec::new();
    for value in given {
        let parts = match &value {
            Value::Bare(text) => split(text)
                .into_iter()
                .map(|part| Value::Bare(part.to_owned()))
                .collect(),
            _ => vec![value],
        };
        for part in parts {
            match part.as_text().and_then(series::series) {
                None => values.push(part),
                Some(Ok(series)) => values.extend(series),
                Some(Err(problem)) => {
                    return Err(SpecError::Series {
                        at: at(),
                        given: part.as_text().unwrap_or_default().to_owned(),
                        problem,
                    });
                }
            }
        }
    }
    Ok(values)
}

impl Bounds {
    fn hold(self, number: f64) -> bool {
        number.is_finite()
            && match self {
                Positive => number > 0.0,
                NonNegative => number >= 0.0,
                Probability => (0.0..=LARGEST_PROBABILITY).contains(&number),
                Fraction => number > 0.0 && number < 1.0,
            }
    }
}

/// What the value must be, as it follows "expected".
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Choice(choices) => write!(f, "one of {}", quoted(choices.iter().copied())),
            Self::Text => f.write_str("a text"),
            Self::Path => f.write_str("a path"),
            Self::Targets => {
                f.write_str("`all`, `attention`, `mlp` or a regular expression over module names")
            }
            Self::Device => f.write_str("`auto`, `cpu`, `cuda` or `cuda:N`"),
            Self::Int(min) => write!(f, "an integer of at least {min}"),
            Self::Between(min, max) => write!(f, "an integer from {min} to {max}"),
            Self::Float(Positive) => f.write_str("a number above 0"),
            Self::Float(NonNegative) => f.write_str("a number of at least 0"),
            Self::Float(Probability) => f.write_str("a number from 0 to 1 - 2^-16"),
            Self::Float(Fraction) => f.write_str("a number above 0 and below 1"),
            Self::Component => {
                f.write_str("a component: \"NAME\", \"NAME:KEY=VALUE,...\" or a table with `name`")
            }
        }
    }
}

/// Where a worker computes; as text what [`parse`](Self::parse) reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Device {
    /// CUDA where it can be opened, else the CPU.
    Auto,
    Cpu,
    /// Each GPU, or one by its number.
    Cuda(Option<usize>),
}

impl Device {
    /// `auto`, `cpu`, `cuda` or `cuda:N`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "cpu" => Some(Self::Cpu),
            "cuda" => Some(Self::Cuda(None)),
            _ => {
                let number = text.strip_prefix("cuda:")?.parse().ok()?;
                Some(Self::Cuda(Some(number)))
            }
        }
    }
}

impl TryFrom<String> for Device {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("`{text}` is no device"))
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        device.to_string()
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(None) => f.write_str("cuda"),
            Self::Cuda(Some(number)) => write!(f, "cuda:{number}"),
        }
    }
}
