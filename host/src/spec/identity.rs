//! A run's name: a hash of everything that its numbers depend on, and of nothing else.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::run::RunSpec;
use crate::digest::{is_hex, sha256};

/// Version of the host's arithmetic. A change that moves any run's numbers raises it, so that
/// records made before are not taken for the same run.
pub const NUMERICS: u32 = 3;

const DIGITS: usize = 16;

/// 16 hexadecimal digits that name a run and its folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

impl RunId {
    /// The id that `text` is, if it has the form of one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        is_hex(text, DIGITS).then(|| Self(text.to_owned()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.0
    }
}

impl TryFrom<String> for RunId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
            .ok_or_else(|| format!("{text:?} is not a run id of {DIGITS} hexadecimal digits"))
    }
}

impl RunSpec {
    /// The run's name: a hash of the spec, [`NUMERICS`] and the plugins' sha256, with the model's
    /// and the data's sha256 in place of their paths. Where files lie does not count.
    #[must_use]
    pub fn identity(&self, model_sha256: &str, data_sha256: &str) -> RunId {
        let mut spec = portable(self);
        replace(&mut spec["model"], &["path", "adapter"], model_sha256);
        replace(
            &mut spec["data"],
            &["path", "train_file", "validation_file", "test_file"],
            data_sha256,
        );
        spec["numerics"] = Json::from(NUMERICS);
        let mut id = sha256(canonical(spec).to_string().as_bytes());
        id.truncate(DIGITS);
        RunId(id)
    }
}

/// sha256 over the spec with paths as they were given: tells specs of one plan apart before any
/// file has been hashed.
pub(crate) fn fingerprint(spec: &RunSpec) -> String {
    sha256(canonical(portable(spec)).to_string().as_bytes())
}

/// The spec as JSON without the places of the plugin files.
pub(crate) fn portable(spec: &RunSpec) -> Json {
    let mut spec = serde_json::to_value(spec).expect("a spec has string keys and finite numbers");
    for kind in ["init", "alpha", "optimizer", "head"] {
        if let Some(selection) = spec[kind].as_object_mut() {
            selection.remove("file");
        }
    }
    spec
}

fn replace(section: &mut Json, paths: &[&str], sha256: &str) {
    if let Some(section) = section.as_object_mut() {
        for path in paths {
            section.remove(*path);
        }
        section.insert("sha256".to_owned(), Json::from(sha256));
    }
}

/// Keys sorted and absent values left out, so that the order of fields does not count and a new
/// optional field does not rename the runs that do without it.
fn canonical(value: Json) -> Json {
    match value {
        Json::Object(fields) => {
            let mut fields: Vec<_> = fields
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .collect();
            fields.sort_by(|(a, _), (b, _)| a.cmp(b));
            let fields: Map<_, _> = fields
                .into_iter()
                .map(|(key, value)| (key, canonical(value)))
                .collect();
            Json::Object(fields)
        }
        Json::Array(values) => Json::Array(values.into_iter().map(canonical).collect()),
        value => value,
    }
}
