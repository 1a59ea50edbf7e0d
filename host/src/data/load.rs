//! Reads the sources and splits them.

use std::path::PathBuf;

use super::builtin;
use super::columns::Columns;
use super::error::DataError;
use super::labels::{Classes, RawLabels};
use super::source::{Source, Sources};
use super::table::read_table;
use crate::random::Stream;
use crate::spec::DataSpec;

/// Text, split and cut to size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextSplits {
    pub train: TextRows,
    /// From its own file, else the share `validation_fraction` of the train rows.
    pub validation: TextRows,
    /// Without rows where the data have no test split.
    pub test: TextRows,
    /// By class; empty where the rows have no labels.
    pub label_names: Vec<String>,
}

/// The rows of one split.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextRows {
    /// Where they come from, for errors.
    pub file: PathBuf,
    pub texts: Vec<String>,
    /// Each row's line in the file, from 1.
    pub lines: Vec<u64>,
    /// Each row's class, an index of [`TextSplits::label_names`].
    pub labels: Option<Vec<u32>>,
}

/// Reads the data of a spec, splits the train rows and cuts each split to its size.
///
/// # Errors
/// When a source, column or label is missing or wrong; row errors name file and line.
pub fn load_text(spec: &DataSpec) -> Result<TextSplits, DataError> {
    let sources = Sources::find(spec)?;
    let raw = RawRows::read(&sources.train, spec)?;
    let classes = raw
        .labels
        .as_ref()
        .map(|labels| Classes::of(labels, &raw.file, &raw.lines))
        .transpose()?;
    let train_file = raw.file.clone();
    let read = |source: &Source| {
        let raw = RawRows::read(source, spec)?;
        if classes.is_some() && raw.labels.is_none() {
            return Err(DataError::Unlabelled {
                path: raw.file,
                train: train_file.clone(),
            });
        }
        raw.classified(classes.as_ref())
    };
    let validation = sources.validation.as_ref().map(read).transpose()?;
    let test = sources
        .test
        .as_ref()
        .map(read)
        .transpose()?
        .unwrap_or_default();

    let (train, validation) = split_train(&raw.classified(classes.as_ref())?, validation, spec)?;
    let splits = TextSplits {
        train: train.cut("train", spec.train_size),
        validation: validation.cut("validation", spec.validation_size),
        test: test.cut("test", spec.test_size),
        label_names: classes.map_or(Vec::new(), |classes| classes.names().to_vec()),
    };
    if splits.train.is_empty() {
        return Err(DataError::NoTrainRows);
    }
    Ok(splits)
}

/// Shuffles the train rows and, where there is no validation split, takes it from their end.
fn split_train(
    rows: &TextRows,
    validation: Option<TextRows>,
    spec: &DataSpec,
) -> Result<(TextRows, TextRows), DataError> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    Stream::named(spec.split_seed, "data", "split").shuffle(&mut order);
    if let Some(validation) = validation {
        return Ok((rows.select(&order), validation));
    }
    let taken = (rows.len() as f64 * spec.validation_fraction).ceil() as usize;
    if taken >= rows.len() {
        return Err(DataError::TooFewRows {
            rows: rows.len(),
            validation: taken,
        });
    }
    let (train, validation) = order.split_at(rows.len() - taken);
    Ok((rows.select(train), rows.select(validation)))
}

impl TextRows {
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    fn select(&self, rows: &[usize]) -> Self {
        Self {
            file: self.file.clone(),
            texts: rows.iter().map(|&row| self.texts[row].clone()).collect(),
            lines: rows.iter().map(|&row| self.lines[row]).collect(),
            labels: self
                .labels
                .as_ref()
                .map(|labels| rows.iter().map(|&row| labels[row]).collect()),
        }
    }

    fn cut(mut self, split: &str, size: Option<usize>) -> Self {
        let Some(size) = size else { return self };
        if size > self.len() {
            tracing::warn!(
                "{size} {split} rows were asked for, {} are there",
                self.len()
            );
        }
        self.texts.truncate(size);
        self.lines.truncate(size);
        if let Some(labels) = &mut self.labels {
            labels.truncate(size);
        }
        self
    }
}

/// The rows of one source, labels as they stand there.
struct RawRows {
    file: PathBuf,
    texts: Vec<String>,
    lines: Vec<u64>,
    labels: Option<RawLabels>,
}

impl RawRows {
    fn read(source: &Source, spec: &DataSpec) -> Result<Self, DataError> {
        match source {
            Source::File(path) => {
                let table = read_table(path)?;
                let columns = Columns::of(
                    &table,
                    spec.text_column.as_deref(),
                    spec.label_column.as_deref(),
                )?;
                let rows = &table.records[usize::from(columns.header)..];
                if rows.is_empty() {
                    return Err(DataError::Empty { path: path.clone() });
                }
                let text = |fields: &[String]| match columns.text[..] {
                    [only] => fields[only].clone(),
                    ref several => several
                        .iter()
                        .map(|&at| fields[at].as_str())
                        .collect::<Vec<_>>()
                        .join(" "),
                };
                Ok(Self {
                    file: path.clone(),
                    texts: rows.iter().map(|row| text(&row.fields)).collect(),
                    lines: rows.iter().map(|row| row.line).collect(),
                    labels: columns.label.map(|column| RawLabels {
                        column,
                        values: rows
                            .iter()
                            .map(|row| row.fields[column.at].trim().to_owned())
                            .collect(),
                    }),
                })
            }
            Source::Builtin { set, split } => {
                let rows = builtin::rows(set, split);
                Ok(Self {
                    file: source.path(),
                    lines: (1..=rows.len() as u64).collect(),
                    labels: builtin::labels(set, &rows),
                    texts: rows.into_iter().map(|row| row.text).collect(),
                })
            }
        }
    }

    /// With classes for labels; without labels where there are no classes.
    fn classified(self, classes: Option<&Classes>) -> Result<TextRows, DataError> {
        let labels = match (classes, &self.labels) {
            (Some(classes), Some(labels)) => {
                Some(classes.classify(labels, &self.file, &self.lines)?)
            }
            _ => None,
        };
        Ok(TextRows {
            file: self.file,
            texts: self.texts,
            lines: self.lines,
            labels,
        })
    }
}

/// A spec without sources.
#[cfg(test)]
pub(super) fn test_spec() -> DataSpec {
    DataSpec {
        path: None,
        max_length: 64,
        ..crate::spec::test_support::run_spec(None, 1e-3, 1).data
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// A folder with these files, and the spec that names it.
    fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, DataSpec) {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        let spec = DataSpec {
            path: Some(folder.path().display().to_string()),
            ..test_spec()
        };
        (folder, spec)
    }

    fn numbered(rows: usize) -> String {
        (0..rows).fold("label,text\n".to_owned(), |csv, row| {
            csv + &format!("{},row {row}\n", row % 2)
        })
    }

    #[test]
    fn validation_rows_come_from_the_shuffled_train_rows() {
        let (_folder, spec) = folder(&[("train.csv", &numbered(25))]);
        let splits = load_text(&spec).unwrap();
        assert_eq!(
            (
                splits.train.len(),
                splits.validation.len(),
                splits.test.len()
            ),
            (22, 3, 0)
        );
        let mut all: Vec<&String> = splits
            .train
            .texts
            .iter()
            .chain(&splits.validation.texts)
            .collect();
        assert_ne!(all[..3], ["row 0", "row 1", "row 2"]);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 25);
        for rows in [&splits.train, &splits.validation] {
            for ((text, &line), &label) in rows
                .texts
                .iter()
                .zip(&rows.lines)
                .zip(rows.labels.as_ref().unwrap())
            {
                let row: u64 = text[4..].parse().unwrap();
                assert_eq!((line, u64::from(label)), (row + 2, row % 2));
            }
        }
        let cut = load_text(&DataSpec {
            train_size: Some(5),
            validation_size: Some(1),
            ..spec.clone()
        })
        .unwrap();
        assert_eq!(cut.train.texts, splits.train.texts[..5]);
        assert_eq!(cut.validation.texts, splits.validation.texts[..1]);
        let other = load_text(&DataSpec {
            split_seed: 1,
            ..spec
        })
        .unwrap();
        assert_ne!(other.train.texts, splits.train.texts);
    }

    #[test]
    fn files_for_validation_and_test_keep_their_order() {
        let (_folder, spec) = folder(&[
            ("train.csv", &numbered(9)),
            ("valid.csv", &numbered(4)),
            ("test.csv", "1,row,0\n2,row,1\n"),
        ]);
        let splits = load_text(&DataSpec {
            validation_size: Some(3),
            test_size: Some(99),
            ..spec
        })
        .unwrap();
        assert_eq!(splits.train.len(), 9);
        assert_eq!(splits.validation.texts, ["row 0", "row 1", "row 2"]);
        assert_eq!(splits.test.texts, ["row 0", "row 1"]);
        assert_eq!(splits.test.labels, Some(vec![0, 1]));
        assert_eq!(splits.label_names, ["0", "1"]);
    }

    #[test]
    fn plain_text_has_no_labels() {
        let (_folder, spec) = folder(&[("train.txt", "a\nb\n\nc\n"), ("test.txt", "d")]);
        let splits = load_text(&spec).unwrap();
        assert_eq!(splits.train.len() + splits.validation.len(), 3);
        assert_eq!((splits.train.labels, splits.label_names.len()), (None, 0));
        let named = load_text(&DataSpec {
            text_column: Some("text".into()),
            ..spec
        });
        assert!(
            named
                .unwrap_err()
                .to_string()
                .contains("is plain text and has no column `text`")
        );
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let fails = |files: &[(&str, &str)], part: &str| {
            let (_folder, spec) = folder(files);
            let error = load_text(&spec).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        fails(&[("train.csv", "label,text\n")], "train.csv has no rows");
        fails(
            &[("train.csv", "label,text\n0,a\n")],
            "1 train rows are too few",
        );
        fails(
            &[("train.csv", &numbered(9)), ("test.csv", "text\na\n")],
            "test.csv has no labels, but",
        );
        fails(
            &[
                ("train.csv", &numbered(9)),
                ("test.csv", "label,text\n7,a\n"),
            ],
            "label 7 in line 2 of",
        );
        let (_folder, spec) = folder(&[("train.csv", &numbered(9))]);
        assert!(matches!(
            load_text(&DataSpec {
                train_size: Some(0),
                ..spec
            }),
            Err(DataError::NoTrainRows)
        ));
        let absent = DataSpec {
            train_file: Some("no-such.csv".into()),
            ..test_spec()
        };
        assert!(
            load_text(&absent)
                .unwrap_err()
                .to_string()
                .starts_with("cannot read no-such.csv: No such file")
        );
    }

    #[test]
    fn ag_news_is_read_as_published() {
        let Some(data) = std::env::var_os("LORAHOST_TEST_DATA") else {
            // Past the capture of passing tests.
            let mut out = std::io::stderr().lock();
            writeln!(
                out,
                "skipped ag_news_is_read_as_published: LORAHOST_TEST_DATA is not set"
            )
            .unwrap();
            return;
        };
        let path = PathBuf::from(data).join("ag_news").display().to_string();
        let splits = load_text(&DataSpec {
            path: Some(path),
            train_size: Some(2000),
            ..test_spec()
        })
        .unwrap();
        assert_eq!(
            (
                splits.train.len(),
                splits.validation.len(),
                splits.test.len()
            ),
            (2000, 1334, 7600)
        );
        assert_eq!(splits.label_names.len(), 4);
        let labels = splits.test.labels.unwrap();
        for class in 0..4 {
            assert_eq!(labels.iter().filter(|&&label| label == class).count(), 1900);
        }
        assert!(
            splits.test.texts[0]
                .starts_with("Fears for T N pension after talks Unions representing")
        );
        assert_eq!(splits.test.lines.last(), Some(&7600));
        assert!(
            splits.test.texts.iter().any(|text| text.contains(" #39;")),
            "remnants stay"
        );
        assert!(
            splits.test.texts[1].contains("second\\team"),
            "backslashes stay"
        );
    }
}
