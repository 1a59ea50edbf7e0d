use serde_json::{Map, Value};

use super::{Error, Result};
use crate::manifest::Piece;

pub trait Params: Sized {
    const SUMMARY: &'static str;
    const PARAMETERS: Piece;

    fn from_parameters(parameters: &Map<String, Value>) -> Result<Self>;
}

pub trait ParamType: Sized {
    const KIND: &'static str;
    const CHOICES: &'static str = "[]";
    const LEAST: &'static str = "";

    fn read(value: &Value) -> Option<Self>;
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

pub fn parameters_from_json<T: Params>(json: &str) -> Result<T> {
    T::from_parameters(&serde_json::from_str(json)?)
}

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
