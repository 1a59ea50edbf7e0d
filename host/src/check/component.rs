//! Tests of every component: its creation, its parameters, and what it makes of nonsense.

use lorahost_plugin_api::protocol::{Parameter, ParameterKind};
use serde_json::{Map, Value as Json, json};

use super::subject::{Stop, Subject, Verdict, ensure, failed, is_refusal, words};
use crate::spec::{Origin, Value, check_parameter, default_of};

pub fn creates(subject: &Subject) -> Verdict {
    subject.create().map(drop)
}

pub fn defaults(subject: &Subject) -> Verdict {
    for parameter in &subject.manifest()?.parameters {
        let default = value_of(&parameter.default).ok_or_else(|| {
            failed(format!(
                "the default of `{}` is {}, which no parameter can be",
                parameter.name, parameter.default
            ))
        })?;
        allowed(parameter, &default).map_err(Stop::Failed)?;
    }
    Ok(())
}

pub fn bounds(subject: &Subject) -> Verdict {
    let parameters = &subject.manifest()?.parameters;
    for parameter in parameters {
        for outside in beyond(parameter) {
            let refusal = allowed(parameter, &outside).err();
            let named = refusal.is_some_and(|text| text.contains(&parameter.name));
            ensure(named, || {
                format!(
                    "`{}` = {outside} is not refused by its name",
                    parameter.name
                )
            })?;
        }
        for within in edges(parameter) {
            let mut all = subject.defaults()?;
            all.insert(parameter.name.clone(), within.clone());
            let created = subject.create_with(&all);
            created.map_err(|stop| match stop {
                Stop::Failed(what) => failed(format!(
                    "the manifest allows `{}` = {within}: {what}",
                    parameter.name
                )),
                skipped @ Stop::Skipped(_) => skipped,
            })?;
        }
    }
    Ok(())
}

pub fn types(subject: &Subject) -> Verdict {
    let defaults = subject.defaults()?;
    for Parameter { name, kind, .. } in &subject.manifest()?.parameters {
        let wrong = match kind {
            ParameterKind::Bool => json!("neither"),
            _ => json!([true]),
        };
        let mut of_another_type = defaults.clone();
        of_another_type.insert(name.clone(), wrong);
        let mut without = defaults.clone();
        without.remove(name);
        for (parameters, what) in [
            (of_another_type, "of another type"),
            (without, "that is missing"),
        ] {
            refused_by_name(subject, &parameters, name, what)?;
        }
    }
    Ok(())
}

pub fn nonsense(subject: &Subject) -> Verdict {
    let component = subject.create()?;
    let known = match subject.manifest()?.kind.as_str() {
        "init" => "init",
        "alpha" => "scale",
        "optimizer" => "prepare",
        _ => "plan",
    };
    for (method, what) in [
        ("lorahost.nothing", "a method that nobody knows"),
        (known, "a message that does not fit"),
    ] {
        match component.call(method, &json!({"sense": null})) {
            Ok(()) => return Err(failed(format!("it answered {what}, `{method}`"))),
            Err(error) => ensure(is_refusal(&error), || words(&error))?,
        }
    }
    Ok(())
}

fn refused_by_name(
    subject: &Subject,
    parameters: &Map<String, Json>,
    name: &str,
    what: &str,
) -> Verdict {
    match subject.create_with(parameters) {
        Ok(_) => Err(failed(format!("it takes a `{name}` {what}"))),
        Err(Stop::Failed(message)) if message.contains("panicked") || !message.contains(name) => {
            Err(failed(format!("a `{name}` {what}: {message}")))
        }
        Err(_) => Ok(()),
    }
}

/// What the host says of a value that a user gave.
fn allowed(parameter: &Parameter, value: &Value) -> Result<(), String> {
    let checked = check_parameter("the component", parameter, value, &Origin::Default);
    checked.map(drop).map_err(|error| error.to_string())
}

/// A default as a value of a user.
fn value_of(json: &Json) -> Option<Value> {
    Some(match json {
        Json::Bool(value) => Value::Bool(*value),
        Json::String(text) => Value::Text(text.clone()),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => Value::Int(whole),
            None => Value::Float(number.as_f64()?),
        },
        _ => return None,
    })
}

/// Values that lie just outside of what is allowed.
fn beyond(parameter: &Parameter) -> Vec<Value> {
    // Far enough to be another float.
    let number = |bound: f64, sign: f64| match parameter.kind {
        ParameterKind::Int => Value::Int((bound + sign) as i64),
        _ => Value::Float(bound + sign * bound.abs().max(1.0) * 1e-6),
    };
    let below = parameter.min.map(|min| number(min, -1.0));
    let above = parameter.max.map(|max| number(max, 1.0));
    let other = (parameter.kind == ParameterKind::Choice)
        .then(|| Value::Text(parameter.choices.join("-or-") + "-or-none"));
    below.into_iter().chain(above).chain(other).collect()
}

/// Values at the edge of what is allowed: each bound, each choice.
fn edges(parameter: &Parameter) -> Vec<Json> {
    let number = |bound: f64| match parameter.kind {
        ParameterKind::Int => json!(bound as i64),
        _ => json!(bound),
    };
    let bounds = parameter.min.into_iter().chain(parameter.max).map(number);
    let choices = parameter.choices.iter().map(|choice| json!(choice));
    bounds
        .chain(choices)
        .chain([default_of(parameter)])
        .collect()
}
