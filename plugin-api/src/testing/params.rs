//! Parameters as the host makes them of what a user gave: defaults filled in, everything checked.

use serde_json::{Map, Value};

use crate::manifest;
use crate::protocol::{Parameter, ParameterKind};
use crate::sdk::{Error, Params, Result};

/// A component with these parameters, an object such as `json!({ "gain": 2.0 })`; the others have their defaults.
///
/// # Errors
/// When a parameter is unknown, of another type, or out of its bounds.
pub fn params<T: Params>(given: Value) -> Result<T> {
    let schema: Vec<Parameter> = serde_json::from_str(&manifest::text(T::PARAMETERS))?;
    let Value::Object(given) = given else {
        return Err(Error::new(format!("parameters are an object, not {given}")));
    };
    if let Some(unknown) = given
        .keys()
        .find(|key| schema.iter().all(|known| known.name != **key))
    {
        let known: Vec<_> = schema.iter().map(|known| known.name.as_str()).collect();
        return Err(Error::new(format!("unknown parameter `{unknown}`"))
            .with_help(format!("known: {}", known.join(", "))));
    }
    let filled = schema.into_iter().map(|parameter| {
        let value = given.get(&parameter.name).unwrap_or(&parameter.default);
        check(&parameter, value)?;
        Ok((parameter.name, value.clone()))
    });
    T::from_parameters(&filled.collect::<Result<Map<_, _>>>()?)
}

fn check(parameter: &Parameter, value: &Value) -> Result<()> {
    let Parameter {
        name,
        kind,
        min,
        max,
        choices,
        ..
    } = parameter;
    let fits = match kind {
        ParameterKind::Float => value.is_number(),
        ParameterKind::Int => value.is_i64() || value.is_u64(),
        ParameterKind::Bool => value.is_boolean(),
        ParameterKind::String => value.is_string(),
        ParameterKind::Choice => {
            let known = |name| choices.iter().any(|choice| choice == name);
            value.as_str().is_some_and(known)
        }
    };
    if !fits {
        let wanted = match kind {
            ParameterKind::Choice => format!("one of {}", choices.join(", ")),
            kind => format!("of type {kind:?}").to_lowercase(),
        };
        return Err(Error::new(format!(
            "parameter `{name}` must be {wanted}, not {value}"
        )));
    }
    let number = value.as_f64();
    for (bound, word, broken) in [
        (min, "below", number < *min),
        (max, "above", max.is_some() && number > *max),
    ] {
        if let (Some(bound), true) = (bound, broken) {
            return Err(Error::new(format!(
                "parameter `{name}` is {value}, {word} {bound}"
            )));
        }
    }
    Ok(())
}
