//! Names of cells. A cell is what one line of the final table stands for: the runs that differ in
//! learning rate and seed alone. Its name is its folder.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::identity::fingerprint;
use super::kind::Kind;
use super::run::{Method, RunSpec, Seeds};
use super::schema::Key;

const LONGEST_PART: usize = 40;

/// The words that tell the values of one axis apart, value by value: `epochs=3`, or for components
/// `gaussian` and those of its parameters that vary.
pub(crate) fn labels(key: &Key, values: &[Json]) -> Vec<Vec<String>> {
    match key.kind {
        Kind::Component => component_labels(values),
        // `all-MiniLM-L6-v2` speaks for itself.
        Kind::Path => values
            .iter()
            .map(|value| vec![last_of_path(&shown(value)).to_owned()])
            .collect(),
        _ => values
            .iter()
            .map(|value| vec![format!("{}={}", short(key), shown(value))])
            .collect(),
    }
}

/// `lora-r16`, `full`, and then whatever else varies.
pub(crate) fn name<'a>(spec: &RunSpec, varying: impl Iterator<Item = &'a [String]>) -> String {
    let mut name = match (spec.method, &spec.lora) {
        (Method::Lora, Some(lora)) => format!("lora-r{}", lora.rank),
        _ => "full".to_owned(),
    };
    for part in varying.flatten() {
        name.push('-');
        name.push_str(&path_safe(part));
    }
    name
}

/// Makes the names of different cells different: those that collide get some digits of a hash.
/// `runs` are specs with their names.
pub(crate) fn make_unique(runs: &mut [(RunSpec, String)]) {
    tell_apart(runs.iter_mut().map(|(spec, name)| (digest(spec), name)));
}

/// Names cells by what they are, where runs of several plans have the names of those: a cell has the longest of its names,
/// which says most, and different cells have different ones. `runs` are specs with their names.
pub(crate) fn rename<'a>(runs: impl Iterator<Item = (&'a RunSpec, &'a mut String)>) {
    let mut runs: Vec<_> = runs.map(|(spec, name)| (digest(spec), name)).collect();
    let mut longest: BTreeMap<String, String> = BTreeMap::new();
    for (digest, name) in &runs {
        let known = longest.entry(digest.clone()).or_default();
        if (name.len(), name.as_str()) > (known.len(), known.as_str()) {
            known.clone_from(name);
        }
    }
    for (digest, name) in &mut runs {
        name.clone_from(&longest[digest]);
    }
    tell_apart(runs.into_iter());
}

fn tell_apart<'a>(runs: impl Iterator<Item = (String, &'a mut String)>) {
    let runs: Vec<_> = runs.collect();
    // Case does not tell files apart everywhere.
    let mut cells: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (digest, name) in &runs {
        let cells = cells.entry(name.to_lowercase()).or_default();
        cells.insert(digest.clone());
    }
    for (digest, name) in runs {
        if cells[&name.to_lowercase()].len() > 1 {
            name.push('-');
            name.push_str(&digest[..8]);
        }
    }
}

/// Puts the runs of a cell together, where several parts of an experiment have runs of it; the order of cells is that of
/// their first runs.
pub(crate) fn gather(runs: &mut [(RunSpec, String)]) {
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for (_, name) in runs.iter() {
        let next = places.len();
        places.entry(name.clone()).or_insert(next);
    }
    runs.sort_by_key(|(_, name)| places[name]);
}

/// `text` with every character replaced that a folder's name should not have.
pub(crate) fn path_safe(text: &str) -> String {
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || "._=+-".contains(c) {
            c
        } else {
            '_'
        }
    };
    text.chars().map(safe).take(LONGEST_PART).collect()
}

/// `all-MiniLM-L6-v2` of `/models/all-MiniLM-L6-v2/`, `topics` of `builtin:topics`.
pub(crate) fn last_of_path(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    path.rsplit(['/', ':']).next().unwrap_or(path)
}

fn digest(spec: &RunSpec) -> String {
    let mut spec = spec.clone();
    spec.train.lr = 1.0;
    spec.seeds = Seeds {
        init: 0,
        data: 0,
        dropout: 0,
        head: 0,
    };
    fingerprint(&spec)
}

fn component_labels(values: &[Json]) -> Vec<Vec<String>> {
    let name = |value: &Json| shown(&value["name"]);
    let parameters = |value: &Json| value["parameters"].as_object().cloned().unwrap_or_default();
    let mut firsts = BTreeMap::new();
    let mut varying = BTreeSet::new();
    for value in values {
        let first = firsts.entry(name(value)).or_insert(value);
        for (parameter, own) in parameters(value) {
            if first["parameters"][&parameter] != own {
                varying.insert((name(value), parameter));
            }
        }
    }
    let label = |value: &Json| {
        let own_name = (firsts.len() > 1).then(|| name(value));
        let own_parameters = parameters(value)
            .into_iter()
            .filter(|(parameter, _)| varying.contains(&(name(value), parameter.clone())))
            .map(|(parameter, own)| format!("{parameter}={}", shown(&own)));
        own_name.into_iter().chain(own_parameters).collect()
    };
    values.iter().map(label).collect()
}

fn short(key: &Key) -> &'static str {
    let last = || key.name.rsplit('.').next().unwrap_or(key.name);
    key.flag.map_or_else(last, |flag| flag.long)
}

/// Texts without quotes, whole numbers without `.0`.
pub(crate) fn shown(value: &Json) -> String {
    let text = value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned);
    match text.strip_suffix(".0") {
        Some(whole) if value.is_number() => whole.to_owned(),
        _ => text,
    }
}
