//! `[[exclude]]`: which points of a grid are left out.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::error::SpecError;
use super::layer::{Alternative, Layer, ParameterSetting};
use super::select::{Catalogue, kind_name, require};
use super::series::series;
use super::value::{Origin, Value};

/// Conditions that leave out the points at which all of them hold. Of several values of a key any one may hold.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Exclusion {
    conditions: Layer,
    pub origin: Origin,
}

impl Exclusion {
    pub fn new(conditions: Layer, origin: Origin) -> Self {
        Self { conditions, origin }
    }

    /// Whether a point is left out. `values` has the point's value of each key that concerns it; a component's is a
    /// selection.
    pub fn matches(&self, values: &BTreeMap<&str, &Json>) -> bool {
        let settings = self.conditions.settings().all(|(key, wanted)| {
            values
                .get(key)
                .is_some_and(|value| wanted.values.contains(value))
        });
        let components = self.conditions.all_wanted().all(|(kind, wanted)| {
            values.get(kind).is_some_and(|selection| {
                let alternatives = &wanted.alternatives;
                let chosen = |one: &Alternative| {
                    selection["name"] == one.name.as_str() && all_hold(&one.parameters, selection)
                };
                (alternatives.is_empty() || alternatives.iter().any(chosen))
                    && all_hold(&wanted.parameters, selection)
            })
        });
        settings && components
    }

    /// Whether the components that it names exist, and have the parameters that it names. `selected` has the components
    /// of the experiment, by kind and name.
    ///
    /// # Errors
    /// [`SpecError::UnknownComponent`], [`SpecError::UnknownParameter`].
    pub fn check(
        &self,
        selected: &BTreeSet<(&str, String)>,
        catalogue: &dyn Catalogue,
    ) -> Result<(), SpecError> {
        for (kind, wanted) in self.conditions.all_wanted() {
            for one in &wanted.alternatives {
                let entry = require(kind, &one.name, &one.origin, catalogue)?;
                let of = format!("{} `{}`", kind_name(kind), one.name);
                let known: Vec<String> = (entry.manifest.parameters.iter())
                    .map(|parameter| parameter.name.clone())
                    .collect();
                known_all(&one.parameters, &of, &known)?;
            }
            let names = wanted.alternatives.iter().map(|one| one.name.as_str());
            let names: BTreeSet<&str> = names.collect();
            let concerned = catalogue.components(kind).into_iter().filter(|entry| {
                let name = &entry.manifest.name;
                names.contains(name.as_str())
                    || names.is_empty() && selected.contains(&(kind, name.clone()))
            });
            let known: BTreeSet<String> = concerned
                .flat_map(|entry| entry.manifest.parameters.iter())
                .map(|parameter| parameter.name.clone())
                .collect();
            let of = format!("{} of this experiment", kind_name(kind));
            known_all(&wanted.parameters, &of, &Vec::from_iter(known))?;
        }
        Ok(())
    }
}

fn known_all(parameters: &[ParameterSetting], of: &str, known: &[String]) -> Result<(), SpecError> {
    match parameters.iter().find(|one| !known.contains(&one.name)) {
        None => Ok(()),
        Some(unknown) => Err(SpecError::UnknownParameter {
            of: of.to_owned(),
            parameter: unknown.name.clone(),
            origin: unknown.origin.clone(),
            known: known.to_owned(),
        }),
    }
}

fn all_hold(parameters: &[ParameterSetting], selection: &Json) -> bool {
    parameters.iter().all(|parameter| {
        let own = &selection["parameters"][&parameter.name];
        parameter.values.iter().any(|value| same(value, own))
    })
}

/// Whether a value as it was written is the typed one.
fn same(value: &Value, typed: &Json) -> bool {
    match typed {
        Json::Bool(typed) => value.as_bool() == Some(*typed),
        Json::String(typed) => value.as_text() == Some(typed),
        Json::Number(_) => match value.as_text().and_then(series) {
            Some(Ok(values)) => values.iter().any(|value| same(value, typed)),
            _ => value.as_float().is_some() && value.as_float() == typed.as_f64(),
        },
        _ => false,
    }
}
