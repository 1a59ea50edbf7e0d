//! From labels as they stand in a file to classes 0, 1, 2, ...

use std::collections::BTreeSet;
use std::path::Path;

use super::columns::LabelColumn;
use super::error::DataError;
use crate::nearest::nearest;

/// More classes than this are taken for a wrong column.
const MOST_CLASSES: i64 = 65_536;

/// The labels of one file, rows in order.
#[derive(Debug)]
pub(super) struct RawLabels {
    pub column: LabelColumn,
    pub values: Vec<String>,
}

/// The classes of the train rows.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Classes {
    Counted {
        names: Vec<String>,
    },
    /// Sorted.
    Named {
        names: Vec<String>,
    },
}

impl Classes {
    /// The classes of the train file, all of its rows taken together.
    pub fn of(labels: &RawLabels, path: &Path, lines: &[u64]) -> Result<Self, DataError> {
        check_present(labels, path, lines)?;
        let numbers: Result<Vec<i64>, _> =
            labels.values.iter().map(|value| value.parse()).collect();
        let Ok(numbers) = numbers else {
            let names: BTreeSet<&String> = labels.values.iter().collect();
            return Ok(Self::Named {
                names: names.into_iter().cloned().collect(),
            });
        };
        let LabelColumn { base, why, .. } = labels.column;
        let mut present = BTreeSet::new();
        for (&label, &line) in numbers.iter().zip(lines) {
            if label < base {
                return Err(DataError::LabelBelow {
                    path: path.to_owned(),
                    line,
                    label,
                    base,
                    why,
                });
            }
            if label - base >= MOST_CLASSES {
                return Err(DataError::TooManyClasses {
                    path: path.to_owned(),
                    line,
                    label,
                    most: MOST_CLASSES,
                });
            }
            present.insert(label);
        }
        let last = present.last().copied().unwrap_or(base);
        if let Some(absent) = (base..=last).find(|label| !present.contains(label)) {
            tracing::warn!(
                "{} has labels up to {last} and no row of class {absent}: classes count from {base} {why}",
                path.display()
            );
        }
        Ok(Self::Counted {
            names: (base..=last).map(|label| label.to_string()).collect(),
        })
    }

    /// Each label's class.
    pub fn classify(
        &self,
        labels: &RawLabels,
        path: &Path,
        lines: &[u64],
    ) -> Result<Vec<u32>, DataError> {
        check_present(labels, path, lines)?;
        let class = |(value, &line): (&String, &u64)| {
            self.class_of(value, labels.column.base)
                .ok_or_else(|| DataError::UnknownLabel {
                    path: path.to_owned(),
                    line,
                    label: value.clone(),
                    known: self.known(labels.column.base),
                    nearest: match self {
                        Self::Counted { .. } => None,
                        Self::Named { names } => {
                            nearest(value, names.iter().map(String::as_str)).map(str::to_owned)
                        }
                    },
                })
        };
        labels.values.iter().zip(lines).map(class).collect()
    }

    pub fn names(&self) -> &[String] {
        match self {
            Self::Counted { names } | Self::Named { names } => names,
        }
    }

    fn class_of(&self, value: &str, base: i64) -> Option<u32> {
        match self {
            Self::Counted { names } => {
                let class = value.parse::<i64>().ok()?.checked_sub(base)?;
                u32::try_from(class)
                    .ok()
                    .filter(|&class| (class as usize) < names.len())
            }
            Self::Named { names } => names
                .binary_search_by(|name| name.as_str().cmp(value))
                .ok()
                .map(|class| class as u32),
        }
    }

    /// The classes as a label of a file that counts from `base` would name them.
    fn known(&self, base: i64) -> String {
        const SHOWN: usize = 20;
        match self {
            Self::Counted { names } => format!("{base} to {}", base + names.len() as i64 - 1),
            Self::Named { names } => {
                let shown: Vec<String> = names
                    .iter()
                    .take(SHOWN)
                    .map(|name| format!("`{name}`"))
                    .collect();
                let more = if names.len() > SHOWN { ", ..." } else { "" };
                shown.join(", ") + more
            }
        }
    }
}

fn check_present(labels: &RawLabels, path: &Path, lines: &[u64]) -> Result<(), DataError> {
    match labels
        .values
        .iter()
        .zip(lines)
        .find(|(value, _)| value.is_empty())
    {
        Some((_, &line)) => Err(DataError::EmptyLabel {
            path: path.to_owned(),
            line,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(base: i64, values: &[&str]) -> RawLabels {
        let column = LabelColumn {
            at: 0,
            base,
            why: "here",
        };
        RawLabels {
            column,
            values: values.iter().map(|&value| value.to_owned()).collect(),
        }
    }

    fn lines(labels: &RawLabels) -> Vec<u64> {
        (2..).take(labels.values.len()).collect()
    }

    fn classes(labels: &RawLabels) -> Result<Classes, String> {
        Classes::of(labels, Path::new("train.csv"), &lines(labels))
            .map_err(|error| error.to_string())
    }

    fn classify(classes: &Classes, labels: &RawLabels) -> Result<Vec<u32>, String> {
        classes
            .classify(labels, Path::new("test.csv"), &lines(labels))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn each_file_counts_from_its_own_base() {
        let train = classes(&raw(0, &["3", "0", "1"])).unwrap();
        assert_eq!(train.names(), ["0", "1", "2", "3"]);
        assert_eq!(classify(&train, &raw(1, &["4", "1"])).unwrap(), [3, 0]);
        assert_eq!(
            classify(&train, &raw(0, &["0", "7"])).unwrap_err(),
            "label 7 in line 3 of test.csv: the train rows have 0 to 3"
        );
        assert_eq!(
            classify(&train, &raw(1, &["0"])).unwrap_err(),
            "label 0 in line 2 of test.csv: the train rows have 1 to 4"
        );
    }

    #[test]
    fn names_are_sorted() {
        let train = classes(&raw(0, &["sports", "business", "sports"])).unwrap();
        assert_eq!(train.names(), ["business", "sports"]);
        assert_eq!(
            classify(&train, &raw(1, &["sports", "business"])).unwrap(),
            [1, 0]
        );
        assert_eq!(
            classify(&train, &raw(0, &["sprots"])).unwrap_err(),
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
