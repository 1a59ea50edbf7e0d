//! The grid of an experiment: every combination of the values of its keys.

use std::cmp::Ordering::Equal;
use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;
use serde_json::Value as Json;

use super::cell;
use super::run::Selection;
use super::schema::{KEYS, Key};

/// All combinations of the values of its dimensions, for each of its methods.
pub(crate) struct Grid {
    pub methods: Vec<Json>,
    pub dimensions: Vec<Dimension>,
    /// Whether the user gave a dropout of LoRA, which goes before an adapter's own.
    pub says_dropout: bool,
}

/// A key and the values that it takes in a grid, one or several.
pub(crate) struct Dimension {
    pub key: &'static Key,
    pub values: Vec<Json>,
    /// Of each value, the words that name it in the names of cells; empty where the key is not named there.
    pub labels: Vec<Vec<String>>,
}

/// One value of each dimension, by its index.
pub(crate) type Point<'a> = Vec<(&'a Dimension, usize)>;

/// A key that takes several values in an experiment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Axis {
    pub key: &'static str,
    /// Of a component the name, with those of its parameters that vary.
    pub values: Vec<Json>,
}

impl Grid {
    /// Number of points, those that turn out to be the same run included.
    pub fn count(&self) -> usize {
        let counts = self.methods.iter().map(|method| self.count_of(method));
        counts.fold(0, usize::saturating_add)
    }

    /// The points of a method, the last dimension running fastest; none where the grid has another one.
    pub fn points(&self, method: &Json) -> impl Iterator<Item = Point<'_>> {
        let dimensions = self.concerned(method);
        let count = if self.methods.contains(method) {
            self.count_of(method)
        } else {
            0
        };
        (0..count).map(move |number| {
            let mut rest = number;
            let mut point: Point<'_> = Vec::with_capacity(dimensions.len());
            for &dimension in dimensions.iter().rev() {
                point.push((dimension, rest % dimension.values.len()));
                rest /= dimension.values.len();
            }
            point.reverse();
            point
        })
    }

    fn dimension(&self, key: &Key) -> Option<&Dimension> {
        let mut dimensions = self.dimensions.iter();
        dimensions.find(|dimension| dimension.key.name == key.name)
    }

    /// Whether the key has an effect on any of the runs.
    fn concerns(&self, key: &Key) -> bool {
        !key.is_lora_only() || self.methods.contains(&Json::from("lora"))
    }

    fn count_of(&self, method: &Json) -> usize {
        let sizes = self.concerned(method).into_iter();
        sizes.fold(1, |count, dimension| {
            count.saturating_mul(dimension.values.len())
        })
    }

    /// The dimensions that a method has a use for.
    fn concerned(&self, method: &Json) -> Vec<&Dimension> {
        let dimensions = self.dimensions.iter();
        dimensions
            .filter(|dimension| *method == "lora" || !dimension.key.is_lora_only())
            .collect()
    }
}

impl Dimension {
    pub fn new(key: &'static Key, values: Vec<Json>) -> Self {
        let labels = vec![Vec::new(); values.len()];
        Self {
            key,
            values,
            labels,
        }
    }

    /// The dimension of a kind of component.
    pub fn of_components(key: &'static Key, selections: &[Selection]) -> Self {
        let json = |selection| {
            serde_json::to_value(selection).expect("a selection has string keys and finite numbers")
        };
        Self::new(key, selections.iter().map(json).collect())
    }
}

/// Labels the dimensions of all grids of an experiment, and says what varies over all of them.
pub(crate) fn label(grids: &mut [Grid]) -> Vec<Axis> {
    let mut axes = Vec::new();
    let methods = methods(grids);
    if methods.len() > 1 {
        axes.push(Axis {
            key: "method",
            values: methods,
        });
    }
    for key in KEYS {
        let concerned = grids.iter().filter(|grid| grid.concerns(key));
        let lists: Vec<Option<Vec<Json>>> = concerned
            .map(|grid| {
                grid.dimension(key)
                    .map(|dimension| dimension.values.clone())
            })
            .collect();
        let values = each_once(lists.iter().flatten().flatten());
        // A key that only some of the variants give a value tells them apart too.
        let varies = values.len() > 1 || lists.contains(&None);
        if !varies || values.is_empty() {
            continue;
        }
        let labels = cell::labels(key, &values);
        let mut by_themselves: Vec<Json> = (labels.iter().zip(&values))
            .map(|(words, value)| by_itself(words, value))
            .collect();
        if by_themselves.iter().all(Json::is_number) {
            // Variants have each a part of the numbers.
            by_themselves.sort_by(|a, b| a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Equal));
        }
        axes.push(Axis {
            key: key.name,
            values: by_themselves,
        });
        if names_cells(key) {
            let labels: HashMap<String, &Vec<String>> =
                values.iter().map(Json::to_string).zip(&labels).collect();
            let dimensions = grids.iter_mut().flat_map(|grid| &mut grid.dimensions);
            for dimension in dimensions.filter(|dimension| dimension.key.name == key.name) {
                let of_value = |value: &Json| labels.get(&value.to_string());
                dimension.labels = (dimension.values.iter())
                    .map(|value| of_value(value).map_or_else(Vec::new, |label| (*label).clone()))
                    .collect();
            }
        }
    }
    axes
}

/// The methods of all grids.
pub(crate) fn methods(grids: &[Grid]) -> Vec<Json> {
    each_once(grids.iter().flat_map(|grid| &grid.methods))
}

/// The point's values by key, its method included.
pub(crate) fn by_key<'a>(method: &'a Json, point: &Point<'a>) -> BTreeMap<&'static str, &'a Json> {
    let values = point
        .iter()
        .map(|(dimension, i)| (dimension.key.name, &dimension.values[*i]));
    values.chain([("method", method)]).collect()
}

/// Whether the values of a key that varies belong in the names of cells; the rank is there in any case.
fn names_cells(key: &Key) -> bool {
    !matches!(key.name, "train.lr" | "lora.rank") && !key.name.starts_with("seed")
}

/// In the order in which they come.
fn each_once<'a>(values: impl Iterator<Item = &'a Json>) -> Vec<Json> {
    let mut known = HashSet::new();
    values
        .filter(|value| known.insert(value.to_string()))
        .cloned()
        .collect()
}

/// A value that stands under its key.
fn by_itself(words: &[String], value: &Json) -> Json {
    match value {
        Json::Object(_) if words.is_empty() => value["name"].clone(),
        Json::Object(_) => Json::from(words.join(" ")),
        _ => value.clone(),
    }
}
