//! Values as a user wrote them, before a key or a parameter has given them a type.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use toml::de::{DeInteger, DeValue};

/// Where a value was written; every message about the value says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The host's own default.
    Default,
    File {
        path: Arc<Path>,
        line: usize,
    },
    /// A flag with its dashes: `--lrs`.
    Flag(String),
    /// `--set key=value`.
    Set,
    /// `key=value` after the name of an experiment file.
    Override,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Flag(flag) => f.write_str(flag),
            Self::Set => f.write_str("--set"),
            Self::Override => f.write_str("command line"),
        }
    }
}

/// A value of an experiment file or of the command line.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// Text of the command line: the key decides whether it is a number, a truth value or a text.
    Bare(String),
    List(Vec<Value>),
    Table(Vec<(String, Value)>),
}

impl Value {
    /// The value of `--set key=VALUE`: TOML where it starts like a TOML list, table or string, plain text otherwise.
    ///
    /// # Errors
    /// What looks like TOML is not valid.
    pub fn of_text(text: &str) -> Result<Self, toml::de::Error> {
        let text = text.trim();
        match (text.chars().next(), text.chars().last()) {
            (Some('['), Some(']')) | (Some('{'), Some('}')) => {
                DeValue::parse(text).map(|v| Self::from(v.get_ref()))
            }
            (Some('"'), Some('"')) | (Some('\''), Some('\'')) if text.len() > 1 => {
                DeValue::parse(text).map(|v| Self::from(v.get_ref()))
            }
            _ => Ok(Self::Bare(text.to_owned())),
        }
    }

    /// As [`of_text`](Self::of_text), and several values between commas are a list: `1e-4,3e-4`. A comma in quotes or
    /// brackets separates nothing.
    ///
    /// # Errors
    /// What looks like TOML is not valid.
    pub fn of_list(text: &str) -> Result<Self, toml::de::Error> {
        match split(text).as_slice() {
            [_] => Self::of_text(text),
            several => several
                .iter()
                .map(|part| Self::of_text(part))
                .collect::<Result<_, _>>()
                .map(Self::List),
        }
    }

    /// Several words after one flag are a list; one is a single value.
    #[must_use]
    pub fn of_words(words: &[String]) -> Self {
        match words {
            [word] => Self::Bare(word.clone()),
            words => Self::List(words.iter().cloned().map(Self::Bare).collect()),
        }
    }

    /// The elements of a list, or the value itself as the only one.
    #[must_use]
    pub fn into_elements(self) -> Vec<Self> {
        match self {
            Self::List(values) => values,
            value => vec![value],
        }
    }

    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            Self::Bare(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// An integer; a float is none, even if its value is whole.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            Self::Bare(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// A number; an integer is one too.
    #[must_use]
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Self::Int(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            Self::Bare(text) => text.parse().ok(),
            _ => None,
        }
    }

    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Bare(text) => Some(text),
            _ => None,
        }
    }
}

/// The parts of a text between commas that stand outside quotes and brackets; the whole where these do not match.
pub(crate) fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut from) = (Vec::new(), 0);
    let mut open = Vec::new();
    let mut escaped = false;
    for (place, c) in text.char_indices() {
        if std::mem::take(&mut escaped) {
            continue;
        }
        match (c, open.last()) {
            ('\\', _) => escaped = true,
            (c, Some(close)) if c == *close => {
                open.pop();
            }
            (_, Some('"' | '\'')) => {}
            ('"' | '\'', _) => open.push(c),
            ('(', _) => open.push(')'),
            ('[', _) => open.push(']'),
            ('{', _) => open.push('}'),
            (',', None) => {
                parts.push(text[from..place].trim());
                from = place + 1;
            }
            _ => {}
        }
    }
    if !open.is_empty() {
        return vec![text];
    }
    parts.push(text[from..].trim());
    parts
}

impl From<&DeValue<'_>> for Value {
    fn from(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::Boolean(value) => Self::Bool(*value),
            DeValue::Integer(value) => int(value),
            DeValue::Float(value) => Self::Float(value.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::String(text) => Self::Text(text.clone().into_owned()),
            DeValue::Datetime(date) => Self::Text(date.to_string()),
            DeValue::Array(values) => {
                Self::List(values.iter().map(|v| Self::from(v.get_ref())).collect())
            }
            DeValue::Table(table) => Self::Table(
                table
                    .iter()
                    .map(|(k, v)| (k.get_ref().to_string(), Self::from(v.get_ref())))
                    .collect(),
            ),
        }
    }
}

/// An integer that does not fit 64 bits stays text, so that the key refuses it and shows it.
fn int(value: &DeInteger<'_>) -> Value {
    i64::from_str_radix(value.as_str(), value.radix())
        .map_or_else(|_| Value::Text(value.to_string()), Value::Int)
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Bare(text) => f.write_str(text),
            Self::List(values) => {
                f.write_str("[")?;
                for (i, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Self::Table(entries) => {
                f.write_str("{ ")?;
                for (i, (key, value)) in entries.iter().enumerate() {
                    write!(f, "{}{key} = {value}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str(" }")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare(text: &str) -> Value {
        Value::Bare(text.to_owned())
    }

    #[test]
    fn set_values_are_toml_where_they_look_like_it() {
        assert_eq!(Value::of_text("4").unwrap(), bare("4"));
        assert_eq!(
            Value::of_text("gaussian:std_a=1").unwrap(),
            bare("gaussian:std_a=1")
        );
        assert_eq!(
            Value::of_text("[4, 8]").unwrap(),
            Value::List(vec![Value::Int(4), Value::Int(8)])
        );
        assert_eq!(
            Value::of_text("'a b'").unwrap(),
            Value::Text("a b".to_owned())
        );
        assert_eq!(Value::of_text("[qv]_proj$").unwrap(), bare("[qv]_proj$"));
        assert!(Value::of_text("[gaussian, uniform]").is_err());
    }

    #[test]
    fn commas_outside_of_brackets_and_quotes_make_a_list() {
        let shown = |text| Value::of_list(text).unwrap().to_string();
        assert_eq!(shown("1e-4, 3e-4"), "[1e-4, 3e-4]");
        assert_eq!(shown("logspace(1,4,3),8"), "[logspace(1,4,3), 8]");
        assert_eq!(shown("q{1,2}$,[a,b]c,\\(x"), "[q{1,2}$, [a,b]c, \\(x]");
        assert_eq!(shown("'a,b'"), "\"a,b\"");
        assert_eq!(shown("'a,b','c'"), "[\"a,b\", \"c\"]");
        assert_eq!(shown("[1, 2]"), "[1, 2]");
        assert_eq!(shown("what (a, b"), "what (a, b");
        assert_eq!(shown(""), "");
    }

    #[test]
    fn an_integer_is_a_float_and_not_the_other_way_round() {
        assert_eq!(Value::Int(3).as_float(), Some(3.0));
        assert_eq!(Value::Float(3.0).as_int(), None);
        assert_eq!(bare("1e-4").as_float(), Some(1e-4));
        assert_eq!(bare("3.0").as_int(), None);
        assert_eq!(Value::Text("3".to_owned()).as_int(), None);
    }

    #[test]
    fn values_are_shown_as_they_were_written() {
        let shown = |text| Value::of_text(text).unwrap().to_string();
        assert_eq!(shown("[1e-4, 2.0, 'x']"), "[0.0001, 2.0, \"x\"]");
        assert_eq!(shown("{ name = 'a', n = 1 }"), "{ n = 1, name = \"a\" }");
        assert_eq!(
            shown("[99999999999999999999]"),
            "[\"99999999999999999999\"]"
        );
    }
}
