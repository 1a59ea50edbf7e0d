//! Experiment files: TOML to a layer of settings, with pairs, variants and exclusions.
//!
//! ```toml
//! seed = [1, 2, 3]            # a list is an axis: all runs at each of its values
//!
//! [[pairs]]                   # lists of one length that vary together
//! lora.rank = [4, 16]
//! alpha.alpha = [8, 32]
//!
//! [[variants]]                # each stands for its part of the runs, with settings of its own
//! method = "lora"
//! train.lr = "logspace(1e-4, 1e-2, 5)"
//! [[variants]]
//! method = "full"
//! train.lr = "logspace(1e-5, 1e-3, 5)"
//!
//! [[exclude]]                 # leaves out the runs at which all of it holds
//! lora.rank = 4
//! train.lr = [1e-2, 3.162e-3]
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::error::SpecError;
use super::exclusion::Exclusion;
use super::kind::written_out;
use super::layer::Layer;
use super::schema;
use super::value::{Origin, Value};

const PAIRS: &str = "pairs";
const VARIANTS: &str = "variants";
const EXCLUDE: &str = "exclude";

impl Layer {
    /// Reads an experiment file.
    ///
    /// # Errors
    /// The file cannot be read or is not TOML; a key is unknown; a value does not fit its key; pairs are of unequal
    /// length.
    pub fn from_file(path: &Path) -> Result<Self, SpecError> {
        let text = fs::read_to_string(path).map_err(|source| SpecError::ReadConfig {
            path: path.to_owned(),
            source,
        })?;
        Self::from_toml(&text, path)
    }

    /// Reads the text of an experiment file; `path` is for messages.
    ///
    /// # Errors
    /// As [`Layer::from_file`].
    pub fn from_toml(text: &str, path: &Path) -> Result<Self, SpecError> {
        let document = DeTable::parse(text).map_err(|error| {
            let before = &text[..error.span().map_or(0, |span| span.start)];
            SpecError::ParseConfig {
                path: path.to_owned(),
                line: line_of(text, before.len()),
                column: before.chars().rev().take_while(|c| *c != '\n').count() + 1,
                message: error.message().replace('\n', ", "),
            }
        })?;
        Reader {
            text,
            path: Arc::from(path),
        }
        .document(document.get_ref())
    }
}

struct Reader<'a> {
    text: &'a str,
    path: Arc<Path>,
}

/// A key with its value and place.
struct Leaf {
    name: String,
    value: Value,
    origin: Origin,
}

impl Reader<'_> {
    fn document(&self, table: &DeTable<'_>) -> Result<Layer, SpecError> {
        let mut layer = Layer::default();
        let mut variants = None;
        // In the order of the text, so that the first fault is reported first.
        for (key, place, value) in in_order(table) {
            match key {
                PAIRS => {
                    for (table, origin) in self.tables(key, place, value)? {
                        layer.groups.push(self.pairs(table, &origin)?);
                    }
                }
                VARIANTS => {
                    let tables = self.tables(key, place, value)?;
                    let layers = tables.iter().map(|(table, _)| self.layer(table, VARIANTS));
                    variants = Some(layers.collect::<Result<_, _>>()?);
                }
                EXCLUDE => {
                    for (table, origin) in self.tables(key, place, value)? {
                        if table.is_empty() {
                            let at = format!("`{EXCLUDE}` ({origin})");
                            return Err(SpecError::NoCondition { at });
                        }
                        let layer_of_it = self.layer(table, EXCLUDE)?;
                        layer.exclusions.push(Exclusion::new(layer_of_it, origin));
                    }
                }
                _ => {
                    for leaf in self.leaves(key, place, value) {
                        layer.set(&leaf.name, leaf.value, &leaf.origin)?;
                    }
                }
            }
        }
        refuse_given_twice(&layer)?;
        // A variant goes before pairs, as it goes before all of the file.
        layer.groups.extend(variants);
        Ok(layer)
    }

    /// The tables of `[[key]]`.
    fn tables<'t, 'd>(
        &self,
        key: &str,
        place: usize,
        value: &'t DeValue<'d>,
    ) -> Result<Vec<(&'t DeTable<'d>, Origin)>, SpecError> {
        let at = || format!("`{key}` ({})", self.origin(place));
        let DeValue::Array(elements) = value else {
            return Err(SpecError::NotTables {
                at: at(),
                key: key.to_owned(),
            });
        };
        if elements.is_empty() {
            return Err(SpecError::EmptyList { at: at() });
        }
        let table = |element: &'t toml::Spanned<DeValue<'d>>| match element.get_ref() {
            DeValue::Table(table) => Ok((table, self.origin(element.span().start))),
            _ => Err(SpecError::NotTables {
                at: at(),
                key: key.to_owned(),
            }),
        };
        elements.iter().map(table).collect()
    }

    /// One layer for each place in the lists of a table of pairs.
    fn pairs(&self, table: &DeTable<'_>, origin: &Origin) -> Result<Vec<Layer>, SpecError> {
        let mut columns: Vec<(Leaf, Vec<Value>)> = Vec::new();
        for leaf in self.inner_leaves(table, PAIRS)? {
            let at = || format!("`{}` ({})", leaf.name, leaf.origin);
            let elements = leaf.value.clone().into_elements();
            let values = match schema::find(&leaf.name) {
                Some(key) => key.kind.elements(elements, at)?,
                None => written_out(elements, at)?,
            };
            columns.push((leaf, values));
        }
        let [(first, values), others @ ..] = columns.as_slice() else {
            return Err(SpecError::LonePair {
                at: format!("`{PAIRS}` ({origin})"),
            });
        };
        if others.is_empty() {
            return Err(SpecError::LonePair {
                at: format!("`{}` ({})", first.name, first.origin),
            });
        }
        let length = values.len();
        if let Some((other, its)) = others.iter().find(|(_, its)| its.len() != length) {
            let shown = |leaf: &Leaf, count: usize| {
                let plural = if count == 1 { "" } else { "s" };
                format!(
                    "`{}` ({}) has {count} value{plural}",
                    leaf.name, leaf.origin
                )
            };
            return Err(SpecError::UnequalPairs {
                first: shown(first, length),
                second: shown(other, its.len()),
            });
        }
        if length == 0 {
            return Err(SpecError::EmptyList {
                at: format!("`{}` ({})", first.name, first.origin),
            });
        }
        let row = |i: usize| {
            let mut layer = Layer::default();
            for (leaf, values) in &columns {
                layer.set(&leaf.name, values[i].clone(), &leaf.origin)?;
            }
            Ok(layer)
        };
        (0..length).map(row).collect()
    }

    /// A table as a layer of its own.
    fn layer(&self, table: &DeTable<'_>, section: &'static str) -> Result<Layer, SpecError> {
        let mut layer = Layer::default();
        for leaf in self.inner_leaves(table, section)? {
            layer.set(&leaf.name, leaf.value, &leaf.origin)?;
        }
        Ok(layer)
    }

    /// The keys of a table of `section`, all of which must be able to vary.
    fn inner_leaves(
        &self,
        table: &DeTable<'_>,
        section: &'static str,
    ) -> Result<Vec<Leaf>, SpecError> {
        let entries = in_order(table).into_iter();
        let leaves: Vec<Leaf> = entries
            .flat_map(|(key, place, value)| self.leaves(key, place, value))
            .collect();
        let fixed = |leaf: &&Leaf| schema::find(&leaf.name).is_some_and(|key| !key.is_axis());
        match leaves.iter().find(fixed) {
            Some(Leaf { name, origin, .. }) => Err(SpecError::OutOfPlace {
                at: format!("`{name}` ({origin})"),
                section,
            }),
            None => Ok(leaves),
        }
    }

    /// The keys below an entry, by their dotted names.
    fn leaves(&self, name: &str, place: usize, value: &DeValue<'_>) -> Vec<Leaf> {
        if let DeValue::Table(inner) = value {
            let entries = in_order(inner).into_iter();
            return entries
                .flat_map(|(key, place, value)| self.leaves(&format!("{name}.{key}"), place, value))
                .collect();
        }
        vec![Leaf {
            name: name.to_owned(),
            value: Value::from(value),
            origin: self.origin(place),
        }]
    }

    fn origin(&self, offset: usize) -> Origin {
        Origin::File {
            path: Arc::clone(&self.path),
            line: line_of(self.text, offset),
        }
    }
}

/// The entries of a table with the places of their keys, in the order of the text.
fn in_order<'t, 'd>(table: &'t DeTable<'d>) -> Vec<(&'t str, usize, &'t DeValue<'d>)> {
    let mut entries: Vec<_> = table
        .iter()
        .map(|(key, value)| (key.get_ref().as_ref(), key.span().start, value.get_ref()))
        .collect();
    entries.sort_by_key(|(_, place, _)| *place);
    entries
}

/// A key that is paired can have no other values in the same file: which of them counted would not be seen.
fn refuse_given_twice(layer: &Layer) -> Result<(), SpecError> {
    let mut known: BTreeMap<String, &Origin> = BTreeMap::new();
    for (_, name, origin) in layer.origins() {
        known.insert(name, origin);
    }
    for (_, name, origin) in layer.groups.iter().flat_map(|rows| rows[0].origins()) {
        if let Some(earlier) = known.insert(name.clone(), origin) {
            return Err(SpecError::PairedTwice {
                key: name,
                first: earlier.clone(),
                second: origin.clone(),
            });
        }
    }
    Ok(())
}

fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}
