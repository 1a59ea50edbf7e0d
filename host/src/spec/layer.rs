//! Layers of settings: the host's defaults, an experiment file, the command line. A later one goes before an earlier one.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value as Json;
use toml::de::DeValue;

use super::error::SpecError;
use super::exclusion::Exclusion;
use super::kind::Kind;
use super::schema::{self, Fallback, KEYS, Key};
use super::value::{Origin, Value, split};

/// What one source says, key by key, checked as far as that needs no plugin.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Layer {
    settings: BTreeMap<&'static str, Setting>,
    components: BTreeMap<&'static str, Wanted>,
    /// Pairs and variants of an experiment file: of each group one layer holds at a time, and goes before this one.
    pub(super) groups: Vec<Vec<Layer>>,
    pub(super) exclusions: Vec<Exclusion>,
}

/// The values of one host key; several are an axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    pub values: Vec<Json>,
    pub origin: Origin,
}

/// What a layer says of one kind of component.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Wanted {
    /// Empty where the layer selects none.
    pub alternatives: Vec<Alternative>,
    /// `KIND.PARAMETER` settings: they hold for every alternative.
    pub parameters: Vec<ParameterSetting>,
}

/// One component by name, with the parameters given to it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Alternative {
    pub name: String,
    pub parameters: Vec<ParameterSetting>,
    pub origin: Origin,
}

/// The values of one parameter, without a type until the component's manifest gives it one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ParameterSetting {
    pub name: String,
    pub values: Vec<Value>,
    pub origin: Origin,
}

impl Layer {
    /// The host's own defaults.
    pub(crate) fn defaults() -> Self {
        let mut layer = Self::default();
        for key in KEYS {
            if let Fallback::Is(toml) = key.default {
                let value = DeValue::parse(toml).expect("a default of the schema is TOML");
                layer
                    .set(key.name, Value::from(value.get_ref()), &Origin::Default)
                    .expect("a default of the schema fits its own key");
            }
        }
        layer
    }

    /// Reads one `key=value` of the command line; several values stand between commas.
    ///
    /// # Errors
    /// There is no `=`; the key is unknown; the value does not fit it, or differs from an earlier one.
    pub fn set_text(&mut self, assignment: &str, origin: &Origin) -> Result<(), SpecError> {
        let (key, text) = assignment
            .split_once('=')
            .map(|(key, text)| (key.trim(), text))
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| SpecError::SetSyntax {
                origin: origin.clone(),
                given: assignment.to_owned(),
            })?;
        // A component has commas of its own.
        let component = schema::find(key).is_some_and(|key| key.kind == Kind::Component);
        let read = if component {
            Value::of_text
        } else {
            Value::of_list
        };
        let value = read(text).map_err(|error| SpecError::SetValue {
            origin: origin.clone(),
            key: key.to_owned(),
            given: text.to_owned(),
            message: error.message().replace('\n', ", "),
        })?;
        self.set(key, value, origin)
    }

    /// Gives `key` a value; a list makes it an axis.
    ///
    /// # Errors
    /// The key is unknown; the value does not fit it, or differs from one that this layer has.
    pub fn set(&mut self, key: &str, value: Value, origin: &Origin) -> Result<(), SpecError> {
        if let Some(key) = schema::find(key) {
            return match key.kind {
                Kind::Component => self.select(key, value, origin),
                _ => self.set_host_key(key, value, origin),
            };
        }
        match schema::find_parameter(key) {
            Some((kind, "name")) => self.select(kind, value, origin),
            Some((kind, parameter)) => self.set_parameter(kind, parameter, value, origin),
            None => Err(SpecError::UnknownKey {
                key: key.to_owned(),
                origin: origin.clone(),
                nearest: schema::nearest_key(key).map(str::to_owned),
            }),
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Setting> {
        self.settings.get(key)
    }

    pub(crate) fn settings(&self) -> impl Iterator<Item = (&'static str, &Setting)> {
        self.settings.iter().map(|(key, setting)| (*key, setting))
    }

    /// What it says of each kind of component.
    pub(crate) fn all_wanted(&self) -> impl Iterator<Item = (&'static str, &Wanted)> {
        self.components.iter().map(|(kind, wanted)| (*kind, wanted))
    }

    /// Every key that the layer says something of, in the order of the schema, by the name that it has there
    /// (`lora.rank`, `init.std_a`), and where it does.
    pub(crate) fn origins(&self) -> impl Iterator<Item = (&'static Key, String, &Origin)> {
        KEYS.iter().flat_map(|key| {
            let itself = |origin| (key.name.to_owned(), origin);
            let setting = self.get(key.name).map(|setting| itself(&setting.origin));
            let wanted = self.wanted(key.name).into_iter().flat_map(move |wanted| {
                let selected = wanted.alternatives.iter().map(|one| &one.origin);
                let parameters = wanted.parameters.iter();
                let parameters =
                    parameters.map(|one| (format!("{}.{}", key.name, one.name), &one.origin));
                selected.map(itself).chain(parameters)
            });
            setting
                .into_iter()
                .chain(wanted)
                .map(move |(name, origin)| (key, name, origin))
        })
    }

    pub(crate) fn wanted(&self, kind: &str) -> Option<&Wanted> {
        self.components.get(kind)
    }

    fn set_host_key(
        &mut self,
        key: &'static Key,
        value: Value,
        origin: &Origin,
    ) -> Result<(), SpecError> {
        let written = value.to_string();
        let mut values = Vec::new();
        let mut known = HashSet::new();
        for element in key
            .kind
            .elements(elements(value, || key.at(origin))?, || key.at(origin))?
        {
            let value = key.read(&element, origin)?;
            // Thousands of seeds would take long to compare with each other.
            if known.insert(value.to_string()) {
                values.push(value);
            }
        }
        if values.len() > 1 && !key.is_axis() {
            return Err(SpecError::NotAnAxis {
                at: key.at(origin),
                count: values.len(),
            });
        }
        if let Some(earlier) = self.settings.get(key.name)
            && earlier.values != values
        {
            let shown: Vec<String> = earlier.values.iter().map(Json::to_string).collect();
            return Err(SpecError::GivenTwice {
                key: key.name.to_owned(),
                first: format!("{} ({})", shown.join(", "), earlier.origin),
                second: format!("{written} ({origin})"),
            });
        }
        self.settings.insert(
            key.name,
            Setting {
                values,
                origin: origin.clone(),
            },
        );
        Ok(())
    }

    fn select(
        &mut self,
        key: &'static Key,
        value: Value,
        origin: &Origin,
    ) -> Result<(), SpecError> {
        // A table without a name sets parameters of whatever is selected.
        if let Value::Table(entries) = &value
            && !entries.iter().any(|(name, _)| name == "name")
        {
            for (parameter, value) in entries.clone() {
                self.set_parameter(key, &parameter, value, origin)?;
            }
            return Ok(());
        }
        let written = value.to_string();
        let mut alternatives = Vec::new();
        for element in elements(value, || key.at(origin))? {
            for element in separated(element) {
                alternatives.push(alternative(key, &element, origin)?);
            }
        }
        let wanted = self.components.entry(key.name).or_default();
        if let Some(earlier) = wanted.alternatives.first() {
            let same = wanted.alternatives.len() == alternatives.len()
                && wanted
                    .alternatives
                    .iter()
                    .zip(&alternatives)
                    .all(|(a, b)| a.name == b.name && a.parameters == b.parameters);
            if !same {
                let names: Vec<&str> = wanted
                    .alternatives
                    .iter()
                    .map(|alternative| alternative.name.as_str())
                    .collect();
                return Err(SpecError::GivenTwice {
                    key: key.name.to_owned(),
                    first: format!("{} ({})", names.join(", "), earlier.origin),
                    second: format!("{written} ({origin})"),
                });
            }
        }
        wanted.alternatives = alternatives;
        Ok(())
    }

    fn set_parameter(
        &mut self,
        key: &'static Key,
        parameter: &str,
        value: Value,
        origin: &Origin,
    ) -> Result<(), SpecError> {
        let dotted = format!("{}.{parameter}", key.name);
        let setting = ParameterSetting {
            name: parameter.to_owned(),
            values: elements(value, || format!("`{dotted}` ({origin})"))?,
            origin: origin.clone(),
        };
        let parameters = &mut self.components.entry(key.name).or_default().parameters;
        match parameters.iter().find(|earlier| earlier.name == parameter) {
            Some(earlier) if earlier.values != setting.values => {
                Err(given_twice(&dotted, earlier, &setting))
            }
            Some(_) => Ok(()),
            None => {
                parameters.push(setting);
                Ok(())
            }
        }
    }
}

impl ParameterSetting {
    fn shown(&self) -> String {
        let values: Vec<String> = self.values.iter().map(Value::to_string).collect();
        format!("{} ({})", values.join(", "), self.origin)
    }
}

/// The error for one parameter with two values.
pub(crate) fn given_twice(
    key: &str,
    first: &ParameterSetting,
    second: &ParameterSetting,
) -> SpecError {
    SpecError::GivenTwice {
        key: key.to_owned(),
        first: first.shown(),
        second: second.shown(),
    }
}

/// The elements of a list, which must not be empty.
fn elements(value: Value, at: impl FnOnce() -> String) -> Result<Vec<Value>, SpecError> {
    let elements = value.into_elements();
    if elements.is_empty() {
        Err(SpecError::EmptyList { at: at() })
    } else {
        Ok(elements)
    }
}

/// The components of `uniform,gaussian:std_a=1,std_b=0`: a part that gives a parameter belongs to the component before
/// it.
fn separated(value: Value) -> Vec<Value> {
    let Value::Bare(text) = &value else {
        return vec![value];
    };
    let mut components: Vec<String> = Vec::new();
    for part in split(text) {
        let parameter = part
            .split(':')
            .next()
            .is_some_and(|name| name.contains('='));
        match components.last_mut() {
            Some(component) if parameter => {
                component.push(',');
                component.push_str(part);
            }
            _ => components.push(part.to_owned()),
        }
    }
    components.into_iter().map(Value::Bare).collect()
}

/// `"gaussian"`, `"gaussian:std_a=0.02,std_b=0"` or `{ name = "gaussian", std_a = [0.01, 0.02] }`.
fn alternative(
    key: &'static Key,
    value: &Value,
    origin: &Origin,
) -> Result<Alternative, SpecError> {
    let invalid = |hint: &str| SpecError::Invalid {
        at: key.at(origin),
        expected: Kind::Component.to_string(),
        found: value.to_string(),
        hint: hint.to_owned(),
    };
    let mut chosen = Alternative {
        name: String::new(),
        parameters: Vec::new(),
        origin: origin.clone(),
    };
    let mut add = |name: &str, value: Value| {
        let at = || format!("`{}.{name}` ({origin})", key.name);
        let setting = ParameterSetting {
            name: name.to_owned(),
            values: elements(value, at)?,
            origin: origin.clone(),
        };
        let earlier = chosen
            .parameters
            .iter()
            .find(|earlier| earlier.name == name);
        if let Some(earlier) = earlier {
            return Err(given_twice(
                &format!("{}.{name}", key.name),
                earlier,
                &setting,
            ));
        }
        chosen.parameters.push(setting);
        Ok(())
    };
    chosen.name = match value {
        Value::Table(entries) => {
            let mut name = None;
            for (entry, value) in entries {
                if entry == "name" {
                    name = value.as_text().map(str::to_owned);
                } else {
                    add(entry, value.clone())?;
                }
            }
            name.ok_or_else(|| invalid("; the table needs a `name`"))?
        }
        Value::Text(text) | Value::Bare(text) => {
            let (name, parameters) = text.split_once(':').unwrap_or((text, ""));
            for assignment in split(parameters)
                .into_iter()
                .filter(|part| !part.is_empty())
            {
                let (parameter, value) = assignment
                    .split_once('=')
                    .ok_or_else(|| invalid(&format!("; `{assignment}` is not KEY=VALUE")))?;
                add(parameter.trim(), Value::Bare(value.trim().to_owned()))?;
            }
            name.trim().to_owned()
        }
        number @ (Value::Int(_) | Value::Float(_)) if key.name == "alpha" => {
            return Err(invalid(&format!(
                "; the number itself is `alpha.alpha = {number}`"
            )));
        }
        _ => return Err(invalid("")),
    };
    if chosen.name.is_empty() {
        return Err(invalid("; the name is empty"));
    }
    Ok(chosen)
}
