//! Reads the sources and splits them.

use lorahost_plugin_api::protocol::DataKind;

use super::error::DataError;
use super::labels::{Classes, RawLabels};
use super::rows::{RawRows, Rows};
use super::source::{Source, Sources};
use super::table::Cell;
use crate::random::Stream;
use crate::spec::DataSpec;

pub use super::rows::{Label, Text, TextRow};

/// Text, split and, but for blocks, cut to size.
#[derive(Debug, Clone, PartialEq)]
pub struct TextSplits {
    pub kind: DataKind,
    pub train: TextRows,
    /// From its own file, else the share `validation_fraction` of the train rows.
    pub validation: TextRows,
    /// Without rows where the data have no test split.
    pub test: TextRows,
    /// By class or tag; empty where the rows have neither.
    pub label_names: Vec<String>,
}

/// The rows of one split.
pub type TextRows = Rows<TextRow>;

/// Reads the data of a spec, splits the train rows and cuts each split to its size.
///
/// # Errors
/// When a source, column or label is missing or wrong; row errors name file and line.
pub fn load_text(spec: &DataSpec) -> Result<TextSplits, DataError> {
    load_from(&Sources::find(spec)?, spec)
}

/// As [`load_text`], from these sources.
pub(super) fn load_from(sources: &Sources, spec: &DataSpec) -> Result<TextSplits, DataError> {
    let train = RawRows::read(&sources.train, sources, spec)?;
    let labelled = train.label.is_some();
    let classes = match spec.kind {
        DataKind::Classes | DataKind::Tags => classes_of(&train)?,
        _ => None,
    };
    let read = |name: &str, source: &Option<Source>| {
        let Some(source) = source else {
            return Ok(None);
        };
        let own;
        let raw = if *source == sources.train {
            &train
        } else {
            own = RawRows::read(source, sources, spec)?;
            &own
        };
        if labelled && raw.label.is_none() {
            return Err(DataError::Unlabelled {
                path: raw.rows.path(),
                train: train.rows.path(),
            });
        }
        if raw.is_without_classes() {
            tracing::warn!(
                "the {name} split is left out: each of its labels is -1, which stands for none ({})",
                raw.rows.path().display()
            );
            return Ok(None);
        }
        text_rows(raw, classes.as_ref()).map(Some)
    };
    let validation = read("validation", &sources.validation)?;
    let test = read("test", &sources.test)?.unwrap_or_default();
    let train = text_rows(&train, classes.as_ref())?;
    let (train, validation) = split_train(train, validation, spec)?;
    let mut splits = TextSplits {
        kind: spec.kind,
        train,
        validation,
        test,
        label_names: classes.map_or(Vec::new(), |classes| classes.names().to_vec()),
    };
    if spec.kind != DataKind::Blocks {
        splits.train.cut("train", spec.train_size);
        splits.validation.cut("validation", spec.validation_size);
        splits.test.cut("test", spec.test_size);
    }
    if splits.train.is_empty() {
        return Err(DataError::NoTrainRows);
    }
    Ok(splits)
}

/// Takes the validation split from the end of the train rows, where it has no file of its own.
///
/// Rows are shuffled before, since files are often sorted by class; text that is to be joined into blocks keeps its
/// order, and is cut in two.
fn split_train(
    mut rows: TextRows,
    validation: Option<TextRows>,
    spec: &DataSpec,
) -> Result<(TextRows, TextRows), DataError> {
    if spec.kind != DataKind::Blocks {
        Stream::named(spec.split_seed, "data", "split").shuffle(&mut rows.rows);
    }
    if let Some(validation) = validation {
        return Ok((rows, validation));
    }
    let taken = (rows.len() as f64 * spec.validation_fraction).ceil() as usize;
    if taken >= rows.len() {
        return Err(DataError::TooFewRows {
            rows: rows.len(),
            validation: taken,
        });
    }
    let validation = rows.rows.split_off(rows.len() - taken);
    let validation = Rows {
        files: rows.files.clone(),
        rows: validation,
    };
    Ok((rows, validation))
}

fn raw_labels<'a>(
    raw: &'a RawRows,
    place: &'a dyn Fn(usize) -> super::error::Place,
) -> Option<RawLabels<'a>> {
    let label = raw.label.as_ref()?;
    let cells = raw.rows.rows.iter().enumerate();
    Some(RawLabels {
        column: label.column,
        name: &label.name,
        values: cells
            .flat_map(|(at, row)| row.labels.iter().map(move |cell| (cell, at)))
            .collect(),
        place,
    })
}

/// The classes, or the tags, of the train split.
fn classes_of(train: &RawRows) -> Result<Option<Classes>, DataError> {
    let place = |row| train.rows.place(row);
    let described = train
        .label
        .as_ref()
        .and_then(|label| label.described.clone());
    match (described, raw_labels(train, &place)) {
        (Some(names), _) => Ok(Some(Classes::described(names))),
        (None, Some(labels)) => Classes::of(&labels).map(Some),
        (None, None) => Ok(None),
    }
}

/// The rows with what their labels mean; without labels where there are no classes.
fn text_rows(raw: &RawRows, classes: Option<&Classes>) -> Result<TextRows, DataError> {
    let place = |row| raw.rows.place(row);
    let mut found = match (classes, raw_labels(raw, &place)) {
        (Some(classes), Some(labels)) => classes.classify(&labels)?,
        _ => Vec::new(),
    }
    .into_iter();
    raw.rows.try_map(|at, row| {
        let label = match (raw.kind, classes, &raw.label) {
            (DataKind::Classes, Some(_), Some(_)) => found.next().map(Label::Class),
            (DataKind::Tags, Some(_), Some(_)) => {
                Some(Label::Tags(found.by_ref().take(row.labels.len()).collect()))
            }
            (DataKind::Numbers, _, Some(label)) => {
                let cell = row.labels.first().unwrap_or(&Cell::Null);
                Some(Label::Number(label.number(cell, || raw.rows.place(at))?))
            }
            _ => None,
        };
        Ok(TextRow {
            file: row.file,
            number: row.number,
            text: row.text.clone(),
            label,
        })
    })
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
    use std::path::Path;

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

    fn of_kind(kind: DataKind, files: &[(&str, &str)]) -> Result<TextSplits, String> {
        let (folder, spec) = folder(files);
        let prefix = format!("{}/", folder.path().display());
        load_text(&DataSpec { kind, ..spec })
            .map_err(|error| error.to_string().replace(&prefix, ""))
    }

    fn numbered(rows: usize) -> String {
        (0..rows).fold("label,text\n".to_owned(), |csv, row| {
            csv + &format!("{},row {row}\n", row % 2)
        })
    }

    fn texts(rows: &TextRows) -> Vec<&str> {
        super::super::tokenise::texts(rows)
    }

    fn labels(rows: &TextRows) -> Vec<Option<Label>> {
        rows.rows.iter().map(|row| row.label.clone()).collect()
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
        let mut all = [texts(&splits.train), texts(&splits.validation)].concat();
        assert_ne!(all[..3], ["row 0", "row 1", "row 2"]);
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 25);
        for rows in [&splits.train, &splits.validation] {
            for (at, text) in texts(rows).into_iter().enumerate() {
                let row: u64 = text[4..].parse().unwrap();
                assert_eq!(rows.place(at).number, row + 2);
                assert_eq!(rows.rows[at].label, Some(Label::Class(row as u32 % 2)));
            }
        }
        let cut = load_text(&DataSpec {
            train_size: Some(5),
            validation_size: Some(1),
            ..spec.clone()
        })
        .unwrap();
        assert_eq!(texts(&cut.train), texts(&splits.train)[..5]);
        assert_eq!(texts(&cut.validation), texts(&splits.validation)[..1]);
        let other = load_text(&DataSpec {
            split_seed: 1,
            ..spec
        })
        .unwrap();
        assert_ne!(other.train, splits.train);
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
        assert_eq!(texts(&splits.validation), ["row 0", "row 1", "row 2"]);
        assert_eq!(texts(&splits.test), ["row 0", "row 1"]);
        let classes = [0, 1].map(|class| Some(Label::Class(class)));
        assert_eq!(labels(&splits.test), classes);
        assert_eq!(splits.label_names, ["0", "1"]);
    }

    #[test]
    fn plain_text_has_no_labels() {
        let (_folder, spec) = folder(&[("train.txt", "a\nb\n\nc\n"), ("test.txt", "d")]);
        let splits = load_text(&spec).unwrap();
        assert_eq!(splits.train.len() + splits.validation.len(), 3);
        assert!(splits.train.rows[0].label.is_none() && splits.label_names.is_empty());
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
    fn text_alone_has_no_labels_whatever_the_file_has() {
        let files = [
            ("train.csv", numbered(9)),
            ("test.csv", "text\na\n".to_owned()),
        ];
        let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
        let splits = of_kind(DataKind::Text, &files).unwrap();
        assert_eq!(
            (labels(&splits.test), splits.label_names.len()),
            (vec![None], 0)
        );
    }

    #[test]
    fn text_for_blocks_keeps_its_order_and_its_lines() {
        let text = "one\n\n two\nthree\n";
        let splits = of_kind(DataKind::Blocks, &[("train.txt", text)]).unwrap();
        assert_eq!(texts(&splits.train), ["one\n", "\n", " two\n"]);
        assert_eq!(texts(&splits.validation), ["three\n"]);
    }

    #[test]
    fn numbers_are_finite() {
        let rows = |value: &str| format!("{{\"text\": \"a\", \"score\": {value}}}\n");
        let file = [rows("1"), rows("-2.5"), rows("\"0.5\"")].concat();
        let splits = of_kind(
            DataKind::Numbers,
            &[("train.jsonl", &file), ("dev.jsonl", &file)],
        )
        .unwrap();
        let numbers = [1.0, -2.5, 0.5].map(|number| Some(Label::Number(number)));
        assert_eq!(labels(&splits.validation), numbers);
        for (value, found) in [
            ("\"high\"", "`high`"),
            ("null", "nothing"),
            ("1e300", "1e300"),
            ("[1]", "a list"),
        ] {
            let file = [rows("1"), rows(value)].concat();
            let error = of_kind(DataKind::Numbers, &[("train.jsonl", &file)]).unwrap_err();
            let found = if value == "1e300" {
                "1".to_owned() + &"0".repeat(300)
            } else {
                found.to_owned()
            };
            assert_eq!(
                error,
                format!(
                    "column `score` holds {found} in line 2 of train.jsonl, where a finite number is needed"
                )
            );
        }
    }

    #[test]
    fn words_have_a_tag_each() {
        let train = "{\"tokens\": [\"Ada\", \"left\"], \"tags\": [\"PER\", \"O\"]}\n";
        let dev = "words,tags\nAda left Paris,PER O PER\n";
        let splits = of_kind(DataKind::Tags, &[("train.jsonl", train), ("dev.csv", dev)]).unwrap();
        assert_eq!(splits.label_names, ["O", "PER"]);
        let words = ["Ada", "left", "Paris"].map(str::to_owned).to_vec();
        assert_eq!(splits.validation.rows[0].text, Text::Words(words));
        assert_eq!(
            labels(&splits.validation),
            [Some(Label::Tags(vec![1, 0, 1]))]
        );
        let wrong = |csv: &str| of_kind(DataKind::Tags, &[("train.csv", csv)]).unwrap_err();
        assert_eq!(
            wrong("words,tags\nAda left,PER O\nAda left,PER\n"),
            "line 3 of train.csv has 2 words and 1 tags: each word needs one"
        );
        let unknown = "words,tags\nAda,LOC\n";
        assert_eq!(
            of_kind(
                DataKind::Tags,
                &[("train.jsonl", train), ("dev.csv", unknown)]
            )
            .unwrap_err(),
            "label LOC in line 2 of dev.csv: the train rows have `O`, `PER`"
        );
    }

    #[test]
    fn pairs_have_two_texts() {
        let row = "{\"chosen\": \"good\", \"rejected\": \"bad\"}\n";
        let splits = of_kind(DataKind::Pairs, &[("train.jsonl", row), ("dev.jsonl", row)]).unwrap();
        assert_eq!(texts(&splits.train), ["good", "bad"]);
        let chat = "{\"chosen\": [{\"role\": \"user\"}], \"rejected\": \"bad\"}\n";
        assert_eq!(
            of_kind(DataKind::Pairs, &[("train.jsonl", chat)]).unwrap_err(),
            "column `chosen` holds a list in line 1 of train.jsonl, where text is needed"
        );
        assert_eq!(
            of_kind(DataKind::Pairs, &[("train.txt", "a\nb\n")]).unwrap_err(),
            "train.txt has no columns for it: the task head learns from pairs of a chosen and a rejected text"
        );
    }

    fn reference(name: &str, kind: DataKind) -> TextSplits {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/data/references/parquet");
        load_text(&DataSpec {
            kind,
            path: Some(folder.join(name).display().to_string()),
            validation_fraction: 0.2,
            ..test_spec()
        })
        .unwrap()
    }

    /// `references/parquet` is made by `scripts/references/parquet.py`.
    #[test]
    fn parquet_in_parts_has_the_names_of_its_classes() {
        let splits = reference("reviews", DataKind::Classes);
        assert_eq!(splits.label_names, ["negative", "positive"]);
        let mut rows: Vec<(String, Option<Label>)> = [&splits.train, &splits.validation]
            .into_iter()
            .flat_map(|rows| texts(rows).into_iter().map(str::to_owned).zip(labels(rows)))
            .collect();
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        let expected = [
            ("Käse 🙂", 1),
            ("bad", 0),
            ("better", 1),
            ("good", 1),
            ("worse", 0),
        ];
        assert_eq!(
            rows,
            expected.map(|(text, class)| (text.to_owned(), Some(Label::Class(class))))
        );
        assert!(splits.test.is_empty(), "its labels are -1");
    }

    #[test]
    fn parquet_has_words_and_tags() {
        let splits = reference("words", DataKind::Tags);
        assert_eq!(splits.label_names, ["O", "B-PER", "B-LOC"]);
        let mut tags = [labels(&splits.train), labels(&splits.validation)].concat();
        tags.sort_by_key(|tags| format!("{tags:?}"));
        let tags_of = |tags: &[u32]| Some(Label::Tags(tags.to_vec()));
        assert_eq!(tags, [tags_of(&[0]), tags_of(&[1, 0, 0, 2]), tags_of(&[])]);
    }

    #[test]
    fn a_readme_names_the_classes_of_any_format() {
        let readme = "---\nlicense: mit\ndataset_info:\n  features:\n  - name: label\n    dtype:\n      class_label:\n        \
                      names:\n          '0': World\n          '1': Sports\n---\n# Text\n";
        let (_folder, spec) = folder(&[("train.csv", &numbered(9)), ("README.md", readme)]);
        let splits = load_text(&spec).unwrap();
        assert_eq!(splits.label_names, ["World", "Sports"]);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let fails = |files: &[(&str, &str)], part: &str| {
            let error = of_kind(DataKind::Classes, files).unwrap_err();
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
        fails(
            &[("train.jsonl", "{\"text\": \"a\"}\n{\"text\": 3}\n")],
            "column `text` holds an integer in line 2 of train.jsonl, where text is needed",
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
        let path = Path::new(&data).join("ag_news").display().to_string();
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
        let classes = labels(&splits.test);
        for class in 0..4 {
            let class = Some(Label::Class(class));
            assert_eq!(
                classes.iter().filter(|label| **label == class).count(),
                1900
            );
        }
        let texts = texts(&splits.test);
        assert!(texts[0].starts_with("Fears for T N pension after talks Unions representing"));
        assert_eq!(splits.test.place(7599).number, 7600);
        assert!(
            texts.iter().any(|text| text.contains(" #39;")),
            "remnants stay"
        );
        assert!(texts[1].contains("second\\team"), "backslashes stay");
    }
}
