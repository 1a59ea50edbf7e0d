//! Typed parameters: a struct with a derive, from which come the manifest's schema and the reading.

use serde_json::{Map, Value};

use super::{Error, Result};
use crate::manifest::Piece;

/// A component's parameters, from `#[derive(Params)]`.
///
/// The host has checked types, bounds and names against the manifest before a plugin sees them.
pub trait Params: Sized {
    /// First line of the struct's documentation.
    const SUMMARY: &'static str;
    /// The JSON list of parameters, in pieces.
    const PARAMETERS: Piece;

    /// # Errors
    /// When a parameter is missing or of another type.
    fn from_parameters(parameters: &Map<String, Value>) -> Result<Self>;
}

/// A type that a parameter may have.
pub trait ParamType: Sized {
    /// The `type` in the manifest.
    const KIND: &'static str;
    /// For a choice, the list of names as JSON.
    const CHOICES: &'static str = "[]";
    /// What the manifest says of the smallest value where the author says nothing: `,"min":0` for unsigned types.
    const LEAST: &'static str = "";

    fn read(value: &Value) -> Option<Self>;
}

/// An enum of names, from `#[derive(Choice)]`.
pub trait Choice: Sized {
    /// The names as a JSON list.
    const NAMES: &'static str;

    fn from_name(name: &str) -> Option<Self>;
}

impl<T: Choice> ParamType for T {
    const KIND: &'static str = "choice";
    const CHOICES: &'static str = T::NAMES;

    fn read(value: &Value) -> Option<Self> {
        T::from_name(value.as_str()?)
    }
}

macro_rules! param_types {
    ($($type:ty, $kind:literal, $least:literal, |$value:ident| $read:expr;)+) => {
        $(impl ParamType for $type {
            const KIND: &'static str = $kind;
            const LEAST: &'static str = $least;

            fn read($value: &Value) -> Option<Self> {
                $read
            }
        })+
    };
}

param_types! {
    f64, "float", "", |value| value.as_f64();
    i64, "int", "", |value| value.as_i64();
    u64, "int", ",\"min\":0", |value| value.as_u64();
    usize, "int", ",\"min\":0", |value| value.as_u64().and_then(|value| usize::try_from(value).ok());
    bool, "bool", "", |value| value.as_bool();
    String, "string", "", |value| value.as_str().map(str::to_owned);
}

/// Reads a component from the host's JSON object.
///
/// # Errors
/// When it is no object, or a parameter does not fit.
pub fn parameters_from_json<T: Params>(json: &str) -> Result<T> {
    T::from_parameters(&serde_json::from_str(json)?)
}

/// Reads one field; called by the derive.
///
/// # Errors
/// When it is missing or of another type.
#[doc(hidden)]
pub fn read_parameter<T: ParamType>(parameters: &Map<String, Value>, name: &str) -> Result<T> {
    let value = parameters
        .get(name)
        .ok_or_else(|| Error::new(format!("parameter `{name}` is missing")))?;
    T::read(value).ok_or_else(|| {
        Error::new(format!(
            "parameter `{name}` must be of type {}, not {value}",
            T::KIND
        ))
    })
}
