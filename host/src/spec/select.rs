//! Which components a plan uses, and their parameters checked against the manifests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lorahost_plugin_api::protocol::{ComponentManifest, Parameter, ParameterKind};
use serde_json::{Map, Value as Json};

use super::error::{SpecError, quoted};
use super::kind::written_out;
use super::layer::{Alternative, Layer, ParameterSetting, given_twice};
use super::run::Selection;
use super::value::{Origin, Value};
use crate::nearest::nearest;

/// A component that was found in a plugin file.
#[derive(Debug, Clone)]
pub struct ComponentEntry {
    pub manifest: ComponentManifest,
    /// sha256 of the file, in hexadecimal.
    pub sha256: String,
    pub file: PathBuf,
    /// Whether the file was named by `--plugin`.
    pub explicit: bool,
}

/// The components at hand. Names are unique within a kind.
pub trait Catalogue {
    /// All components of a kind: `init`, `alpha`, `optimizer`, `head`.
    fn components(&self, kind: &str) -> Vec<&ComponentEntry>;
}

impl Catalogue for Vec<ComponentEntry> {
    fn components(&self, kind: &str) -> Vec<&ComponentEntry> {
        self.iter()
            .filter(|entry| entry.manifest.kind == kind)
            .collect()
    }
}

/// What a kind's key comes to: its values, and what the user should know about the choice.
pub(crate) struct Selected {
    pub selections: Vec<Selection>,
    pub notices: Vec<String>,
}

/// Selects the components of one kind. `layers` begin with the defaults; later ones go before earlier ones.
///
/// A layer's parameters hold as long as their component stays selected. A file of `--plugin` with one
/// component of the kind is selected where no layer after the defaults selects by name. More than `limit` combinations
/// of one component's parameters are an error.
pub(crate) fn select(
    kind: &str,
    layers: &[&Layer],
    catalogue: &dyn Catalogue,
    limit: usize,
) -> Result<Selected, SpecError> {
    let entries = catalogue.components(kind);
    let wanted: Vec<_> = layers.iter().map(|layer| layer.wanted(kind)).collect();
    let named = wanted
        .iter()
        .skip(1)
        .flatten()
        .any(|wanted| !wanted.alternatives.is_empty());
    let mut notices = Vec::new();
    let mut current: Vec<Alternative> = Vec::new();
    for (i, wanted) in wanted.into_iter().enumerate() {
        if i == 1 && !named {
            let explicit = explicitly_loaded(kind, &entries, &mut notices);
            if !explicit.is_empty() {
                current = inherit(&current, explicit);
            }
        }
        let Some(wanted) = wanted else { continue };
        if !wanted.alternatives.is_empty() {
            current = inherit(&current, wanted.alternatives.clone());
        }
        for setting in &wanted.parameters {
            for alternative in &mut current {
                let own = wanted
                    .alternatives
                    .iter()
                    .find(|own| own.name == alternative.name);
                let own =
                    own.and_then(|own| own.parameters.iter().find(|own| own.name == setting.name));
                if let Some(own) = own.filter(|own| own.values != setting.values) {
                    return Err(given_twice(
                        &format!("{kind}.{}", setting.name),
                        own,
                        setting,
                    ));
                }
                alternative
                    .parameters
                    .retain(|parameter| parameter.name != setting.name);
                alternative.parameters.push(setting.clone());
            }
        }
    }
    let mut known = BTreeSet::new();
    let mut selections = Vec::new();
    for alternative in &current {
        for selection in resolve(kind, alternative, &entries, limit)? {
            if known.insert((
                selection.name.clone(),
                Json::from(selection.parameters.clone()).to_string(),
            )) {
                selections.push(selection);
            }
        }
    }
    Ok(Selected {
        selections,
        notices,
    })
}

/// The component of that kind and name.
///
/// # Errors
/// [`SpecError::UnknownComponent`].
pub(crate) fn require<'a>(
    kind: &str,
    name: &str,
    origin: &Origin,
    catalogue: &'a dyn Catalogue,
) -> Result<&'a ComponentEntry, SpecError> {
    among(&catalogue.components(kind), kind, name, origin)
}

fn among<'a>(
    entries: &[&'a ComponentEntry],
    kind: &str,
    name: &str,
    origin: &Origin,
) -> Result<&'a ComponentEntry, SpecError> {
    let named = entries.iter().find(|entry| entry.manifest.name == name);
    named.copied().ok_or_else(|| SpecError::UnknownComponent {
        kind: kind_name(kind),
        name: name.to_owned(),
        origin: origin.clone(),
        known: entries
            .iter()
            .map(|entry| entry.manifest.name.clone())
            .collect(),
    })
}

/// Checks one value against a parameter's type, bounds and choices, and gives it that type.
/// `of` names the component in messages.
///
/// # Errors
/// The value is of another type, out of bounds, or none of the choices.
pub fn check_parameter(
    of: &str,
    parameter: &Parameter,
    value: &Value,
    origin: &Origin,
) -> Result<Json, SpecError> {
    let checked = match parameter.kind {
        ParameterKind::Bool => value.as_bool().map(Json::from),
        ParameterKind::Int => value
            .as_int()
            .filter(|number| within(parameter, *number as f64))
            .map(Json::from),
        ParameterKind::Float => value
            .as_float()
            .filter(|number| within(parameter, *number))
            .map(Json::from),
        ParameterKind::String => value.as_text().map(Json::from),
        ParameterKind::Choice => value
            .as_text()
            .filter(|text| parameter.choices.iter().any(|choice| choice == text))
            .map(Json::from),
    };
    checked.ok_or_else(|| SpecError::Invalid {
        at: format!("parameter `{}` of {of} ({origin})", parameter.name),
        expected: expected(parameter),
        found: value.to_string(),
        hint: value
            .as_text()
            .and_then(|text| nearest(text, parameter.choices.iter().map(String::as_str)))
            .map_or_else(String::new, |choice| format!("; did you mean `{choice}`?")),
    })
}

/// The components of `--plugin` files that hold one of the kind; a file with several needs a name to choose by.
fn explicitly_loaded(
    kind: &str,
    entries: &[&ComponentEntry],
    notices: &mut Vec<String>,
) -> Vec<Alternative> {
    let mut files: BTreeMap<&Path, Vec<&str>> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.explicit) {
        files
            .entry(&entry.file)
            .or_default()
            .push(&entry.manifest.name);
    }
    for (file, names) in files.iter().filter(|(_, names)| names.len() > 1) {
        notices.push(format!(
            "{} holds several components of kind {kind} and none of them is taken by itself; select by name from {}",
            file.display(),
            quoted(names.iter().copied()),
        ));
    }
    entries
        .iter()
        .filter(|entry| entry.explicit && files[entry.file.as_path()].len() == 1)
        .map(|entry| Alternative {
            name: entry.manifest.name.clone(),
            parameters: Vec::new(),
            origin: Origin::Flag("--plugin".to_owned()),
        })
        .collect()
}

/// Newly selected components keep the parameters that earlier layers gave to components of their name.
fn inherit(earlier: &[Alternative], chosen: Vec<Alternative>) -> Vec<Alternative> {
    let mut inherited = Vec::new();
    for alternative in chosen {
        let mut namesakes = earlier
            .iter()
            .filter(|earlier| earlier.name == alternative.name)
            .peekable();
        if namesakes.peek().is_none() {
            inherited.push(alternative);
            continue;
        }
        for namesake in namesakes {
            let mut merged = alternative.clone();
            for parameter in &namesake.parameters {
                if !merged
                    .parameters
                    .iter()
                    .any(|own| own.name == parameter.name)
                {
                    merged.parameters.push(parameter.clone());
                }
            }
            inherited.push(merged);
        }
    }
    inherited
}

/// The selections that one alternative comes to: the product over the lists of its parameters.
fn resolve(
    kind: &str,
    alternative: &Alternative,
    entries: &[&ComponentEntry],
    limit: usize,
) -> Result<Vec<Selection>, SpecError> {
    let entry = among(entries, kind, &alternative.name, &alternative.origin)?;
    let of = format!("{} `{}`", kind_name(kind), alternative.name);
    let known = &entry.manifest.parameters;
    for setting in &alternative.parameters {
        // A default of the host is for the plugin that it was written for; a namesake may lack the parameter.
        if setting.origin != Origin::Default
            && !known.iter().any(|parameter| parameter.name == setting.name)
        {
            return Err(unknown_parameter(of, setting, known));
        }
    }
    let mut products = vec![Map::new()];
    for parameter in known {
        let setting = alternative
            .parameters
            .iter()
            .find(|setting| setting.name == parameter.name);
        let values = match setting {
            Some(setting) => values(&of, parameter, setting)?,
            None => vec![default_of(parameter)],
        };
        let count = products.len().saturating_mul(values.len());
        if count > limit {
            let axes = alternative
                .parameters
                .iter()
                .map(|setting| format!("`{kind}.{}`", setting.name));
            let axes = axes.collect::<Vec<_>>().join(", ");
            return Err(SpecError::TooManyRuns { count, limit, axes });
        }
        products = products
            .iter()
            .flat_map(|product| {
                values.iter().map(|value| {
                    let mut product = product.clone();
                    product.insert(parameter.name.clone(), value.clone());
                    product
                })
            })
            .collect();
    }
    let selection = |parameters| Selection {
        name: alternative.name.clone(),
        parameters,
        sha256: entry.sha256.clone(),
        file: entry.file.clone(),
    };
    Ok(products.into_iter().map(selection).collect())
}

/// The values of one parameter, checked; a series of numbers is written out.
fn values(
    of: &str,
    parameter: &Parameter,
    setting: &ParameterSetting,
) -> Result<Vec<Json>, SpecError> {
    let mut given = setting.values.clone();
    if matches!(parameter.kind, ParameterKind::Int | ParameterKind::Float) {
        given = written_out(given, || {
            format!(
                "parameter `{}` of {of} ({})",
                parameter.name, setting.origin
            )
        })?;
    }
    given
        .iter()
        .map(|value| check_parameter(of, parameter, value, &setting.origin))
        .collect()
}

/// The manifest's default, a whole number of a float parameter as a float.
pub(crate) fn default_of(parameter: &Parameter) -> Json {
    match (parameter.kind, parameter.default.as_f64()) {
        (ParameterKind::Float, Some(number)) => Json::from(number),
        _ => parameter.default.clone(),
    }
}

fn within(parameter: &Parameter, number: f64) -> bool {
    number.is_finite()
        && parameter.min.is_none_or(|min| number >= min)
        && parameter.max.is_none_or(|max| number <= max)
}

fn expected(parameter: &Parameter) -> String {
    let kind = match parameter.kind {
        ParameterKind::Bool => return "`true` or `false`".to_owned(),
        ParameterKind::String => return "a text".to_owned(),
        ParameterKind::Choice => {
            return format!(
                "one of {}",
                quoted(parameter.choices.iter().map(String::as_str))
            );
        }
        ParameterKind::Int => "an integer",
        ParameterKind::Float => "a number",
    };
    match (parameter.min, parameter.max) {
        (Some(min), Some(max)) => format!("{kind} from {min} to {max}"),
        (Some(min), None) => format!("{kind} of at least {min}"),
        (None, Some(max)) => format!("{kind} of at most {max}"),
        (None, None) => kind.to_owned(),
    }
}

fn unknown_parameter(of: String, setting: &ParameterSetting, known: &[Parameter]) -> SpecError {
    SpecError::UnknownParameter {
        of,
        parameter: setting.name.clone(),
        origin: setting.origin.clone(),
        known: known
            .iter()
            .map(|parameter| parameter.name.clone())
            .collect(),
    }
}

/// A kind as a person calls it.
pub(crate) fn kind_name(kind: &str) -> &'static str {
    match kind {
        "init" => "init scheme",
        "alpha" => "alpha policy",
        "optimizer" => "optimizer",
        "head" => "task head",
        _ => "component",
    }
}
