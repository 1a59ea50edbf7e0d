//! From labels as they stand in a file to classes 0, 1, 2, ...

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::columns::LabelColumn;
use super::error::{DataError, Place};
use super::table::Cell;
use crate::nearest::nearest;

/// More classes than this are taken for a wrong column.
const MOST_CLASSES: i64 = 65_536;

/// The labels of a split, or the tags of its words, in order.
pub(super) struct RawLabels<'a> {
    pub column: LabelColumn,
    pub name: &'a str,
    /// Each with its row.
    pub values: Vec<(&'a Cell, usize)>,
    pub place: &'a dyn Fn(usize) -> Place,
}

/// The classes of the train rows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Classes {
    names: Vec<String>,
    by: By,
}

/// What a label says of its class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// Its number, from the base of its file.
    Number,
    /// Its name; the names are sorted.
    Name,
    /// Its number from 0, or its name: the data's description has the names.
    Description,
}

impl Classes {
    /// The classes that the data's description names.
    pub fn described(names: Vec<String>) -> Self {
        Self {
            names,
            by: By::Description,
        }
    }

    /// The classes of the train split, all of its rows taken together.
    pub fn of(labels: &RawLabels<'_>) -> Result<Self, DataError> {
        let values = labels.texts()?;
        let numbers: Result<Vec<i64>, _> = values.iter().map(|value| value.parse()).collect();
        let Ok(numbers) = numbers else {
            let numbers: Result<Vec<f64>, _> = values.iter().map(|value| value.parse()).collect();
            let fraction = |numbers: Vec<f64>| numbers.iter().position(|n| n.fract() != 0.0);
            if let Some(at) = numbers.ok().and_then(fraction) {
                return Err(DataError::FractionLabel {
                    place: labels.place_of(at),
                    label: values[at].to_string(),
                });
            }
            let names: BTreeSet<&str> = values.iter().map(AsRef::as_ref).collect();
            return Ok(Self {
                names: names.into_iter().map(str::to_owned).collect(),
                by: By::Name,
            });
        };
        let LabelColumn { base, why, .. } = labels.column;
        let mut present = BTreeSet::new();
        for (at, &label) in numbers.iter().enumerate() {
            if label < base {
                return Err(DataError::LabelBelow {
                    place: labels.place_of(at),
                    label,
                    base,
                    why,
                });
            }
            if label - base >= MOST_CLASSES {
                return Err(DataError::TooManyClasses {
                    place: labels.place_of(at),
                    label,
                    most: MOST_CLASSES,
                });
            }
            present.insert(label);
        }
        let last = present.last().copied().unwrap_or(base);
        if let Some(absent) = (base..=last).find(|label| !present.contains(label)) {
            tracing::warn!(
                "column `{}` has labels up to {last} and no row of class {absent}: classes count from {base} {why}",
                labels.name
            );
        }
        Ok(Self {
            names: (base..=last).map(|label| label.to_string()).collect(),
            by: By::Number,
        })
    }

    /// Each label's class.
    pub fn classify(&self, labels: &RawLabels<'_>) -> Result<Vec<u32>, DataError> {
        let base = match self.by {
            By::Description => 0,
            By::Number | By::Name => labels.column.base,
        };
        let class = |(at, value): (usize, Cow<'_, str>)| {
            self.class_of(&value, base, matches!(labels.values[at].0, Cell::Text(_)))
                .ok_or_else(|| DataError::UnknownLabel {
                    place: labels.place_of(at),
                    label: value.to_string(),
                    known: self.known(base),
                    nearest: match self.by {
                        By::Number => None,
                        By::Name | By::Description => {
                            nearest(&value, self.names.iter().map(String::as_str))
                                .map(str::to_owned)
                        }
                    },
                })
        };
        labels.texts()?.into_iter().enumerate().map(class).collect()
    }

    pub fn names(&self) -> &[String] {
        &self.names
    }

    fn class_of(&self, value: &str, base: i64, text: bool) -> Option<u32> {
        let numbered = || {
            let class = value.parse::<i64>().ok()?.checked_sub(base)?;
            u32::try_from(class)
                .ok()
                .filter(|&class| (class as usize) < self.names.len())
        };
        let class = |at: usize| at as u32;
        match self.by {
            By::Number => numbered(),
            By::Name => self
                .names
                .binary_search_by(|name| name.as_str().cmp(value))
                .ok()
                .map(class),
            By::Description => {
                let named = text.then(|| self.names.iter().position(|name| name == value));
                named.flatten().map(class).or_else(numbered)
            }
        }
    }

    /// The classes as a label of a file that counts from `base` would name them.
    fn known(&self, base: i64) -> String {
        const SHOWN: usize = 20;
        if self.by == By::Number {
            return format!("{base} to {}", base + self.names.len() as i64 - 1);
        }
        let shown: Vec<String> = self
            .names
            .iter()
            .take(SHOWN)
            .map(|name| format!("`{name}`"))
            .collect();
        let more = if self.names.len() > SHOWN {
            ", ..."
        } else {
            ""
        };
        shown.join(", ") + more
    }
}

impl<'a> RawLabels<'a> {
    fn place_of(&self, at: usize) -> Place {
        (self.place)(self.values[at].1)
    }

    /// Each label as text: a number without a fraction as a whole number.
    fn texts(&self) -> Result<Vec<Cow<'a, str>>, DataError> {
        let text = |(at, (cell, _)): (usize, &(&'a Cell, usize))| match cell {
            Cell::Text(text) if text.trim().is_empty() => Err(DataError::EmptyLabel {
                place: self.place_of(at),
            }),
            Cell::Null => Err(DataError::EmptyLabel {
                place: self.place_of(at),
            }),
            Cell::Text(text) => Ok(Cow::from(text.trim())),
            Cell::Int(number) => Ok(number.to_string().into()),
            Cell::Float(number) => Ok(number.to_string().into()),
            Cell::Bool(value) => Ok(value.to_string().into()),
            Cell::List(_) | Cell::Other(_) => Err(DataError::Value {
                column: self.name.to_owned(),
                place: self.place_of(at),
                found: cell.kind().to_owned(),
                expected: "a class, or its number or name,",
            }),
        };
        self.values.iter().enumerate().map(text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::data::error::Unit;

    /// A column that counts from `base`, its cells in lines 2, 3, ... of `file`.
    struct Given {
        base: i64,
        file: &'static str,
        cells: Vec<Cell>,
    }

    impl Given {
        fn with<T>(
            &self,
            f: impl FnOnce(&RawLabels<'_>) -> Result<T, DataError>,
        ) -> Result<T, String> {
            let place = |row| Place {
                path: self.file.into(),
                unit: Unit::Line,
                number: row as u64 + 2,
            };
            let labels = RawLabels {
                column: LabelColumn {
                    at: 0,
                    base: self.base,
                    why: "here",
                },
                name: "label",
                values: self.cells.iter().zip(0..).collect(),
                place: &place,
            };
            f(&labels).map_err(|error| error.to_string())
        }
    }

    fn raw(base: i64, values: &[&str]) -> Given {
        Given {
            base,
            file: "train.csv",
            cells: values
                .iter()
                .map(|&value| Cell::Text(value.to_owned()))
                .collect(),
        }
    }

    fn cells(cells: &[Cell]) -> Given {
        Given {
            cells: cells.to_vec(),
            ..raw(0, &[])
        }
    }

    fn classes(given: &Given) -> Result<Classes, String> {
        given.with(Classes::of)
    }

    fn classify(classes: &Classes, given: Given) -> Result<Vec<u32>, String> {
        let test = Given {
            file: "test.csv",
            ..given
        };
        test.with(|labels| classes.classify(labels))
    }

    #[test]
    fn cells_of_any_type_are_labels() {
        let train = classes(&cells(&[Cell::Int(2), Cell::Float(0.0)])).unwrap();
        assert_eq!(train.names(), ["0", "1", "2"]);
        let train = classes(&cells(&[Cell::Bool(true), Cell::Bool(false)])).unwrap();
        assert_eq!(train.names(), ["false", "true"]);
        assert_eq!(
            classes(&cells(&[Cell::Int(1), Cell::Null])).unwrap_err(),
            "line 3 of train.csv has an empty label"
        );
        assert_eq!(
            classes(&cells(&[Cell::List(vec![])])).unwrap_err(),
            "column `label` holds a list in line 2 of train.csv, where a class, or its number or name, is needed"
        );
        assert_eq!(
            classes(&cells(&[Cell::Int(1), Cell::Float(0.25)])).unwrap_err(),
            "label 0.25 in line 3 of train.csv is a number with a fraction and no class: choose a task head \
             that learns from numbers (`lorahost plugin list`), or another --label-column"
        );
        assert!(
            classes(&raw(0, &["1", "0.25"]))
                .unwrap_err()
                .contains("0.25 in line 3")
        );
        assert_eq!(
            classes(&raw(0, &["1", "2.0"])).unwrap().names(),
            ["1", "2.0"]
        );
    }

    #[test]
    fn described_classes_are_numbers_from_0_or_names() {
        let described = Classes::described(["3", "b", "a"].map(str::to_owned).to_vec());
        let text = |text: &str| Cell::Text(text.to_owned());
        assert_eq!(
            classify(
                &described,
                cells(&[Cell::Int(2), text("a"), text("1"), text("3")])
            )
            .unwrap(),
            [2, 2, 1, 0]
        );
        assert_eq!(
            classify(&described, cells(&[Cell::Int(3)])).unwrap_err(),
            "label 3 in line 2 of test.csv: the train rows have `3`, `b`, `a` (did you mean `3`?)"
        );
    }

    #[test]
    fn each_file_counts_from_its_own_base() {
        let train = classes(&raw(0, &["3", "0", "1"])).unwrap();
        assert_eq!(train.names(), ["0", "1", "2", "3"]);
        assert_eq!(classify(&train, raw(1, &["4", "1"])).unwrap(), [3, 0]);
        assert_eq!(
            classify(&train, raw(0, &["0", "7"])).unwrap_err(),
            "label 7 in line 3 of test.csv: the train rows have 0 to 3"
        );
        assert_eq!(
            classify(&train, raw(1, &["0"])).unwrap_err(),
            "label 0 in line 2 of test.csv: the train rows have 1 to 4"
        );
    }

    #[test]
    fn names_are_sorted() {
        let train = classes(&raw(0, &["sports", "business", "sports"])).unwrap();
        assert_eq!(train.names(), ["business", "sports"]);
        assert_eq!(
            classify(&train, raw(1, &["sports", "business"])).unwrap(),
            [1, 0]
        );
        assert_eq!(
            classify(&train, raw(0, &["sprots"])).unwrap_err(),
            "label sprots in line 2 of test.csv: the train rows have `business`, `sports` (did you mean `sports`?)"
        );
    }

    #[test]
    fn impossible_labels_are_named_by_line() {
        assert_eq!(
            classes(&raw(0, &["1", ""])).unwrap_err(),
            "line 3 of train.csv has an empty label"
        );
        assert_eq!(
            classes(&raw(0, &["0", "-1"])).unwrap_err(),
            "label -1 in line 3 of train.csv: classes count from 0 here"
        );
        assert_eq!(
            classes(&raw(0, &["4000000000"])).unwrap_err(),
            "label 4000000000 in line 2 of train.csv: at most 65536 classes are allowed"
        );
    }
}
