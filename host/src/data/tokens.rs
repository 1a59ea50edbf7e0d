//! Tokenised splits: made once, read by every run.

use std::path::Path;

use lorahost_plugin_api::protocol::DataKind;

use super::error::DataError;
use super::token_file::{Header, Layout, Section};

pub use super::token_file::SpecialTokens;

/// The splits of a data set as token ids. Cloning is cheap: the block behind it is shared.
#[derive(Debug, Clone)]
pub struct TokenSplits {
    pub kind: DataKind,
    pub train: Tokens,
    pub validation: Tokens,
    pub test: Tokens,
    /// By class or tag; empty where the rows have neither.
    pub label_names: Vec<String>,
    pub special: SpecialTokens,
    /// Every id lies below it.
    pub vocab_size: usize,
    layout: Layout,
}

/// The rows of one split: ids of unequal length, one after the other.
///
/// A unit is what is never taken apart: a row or, of pairs, the chosen row and the rejected one after it.
#[derive(Debug, Clone)]
pub struct Tokens {
    rows: usize,
    rows_of_a_unit: usize,
    /// `rows + 1` numbers from 0: where each row starts among the ids.
    offsets: Section<u64>,
    ids: Section<u32>,
    labels: Option<LabelSection>,
    bytes: Option<Section<u64>>,
}

#[derive(Debug, Clone)]
enum LabelSection {
    Classes(Section<u32>),
    Numbers(Section<f32>),
    Tags(Section<i32>),
}

/// Labels of some rows, as a task head gets them.
#[derive(Debug, Clone, PartialEq)]
pub enum BatchLabels {
    /// Classes, `[rows]`, or tags, `[total]`, -100 where a token has none.
    Whole(Vec<i64>),
    /// `[rows]`
    Numbers(Vec<f32>),
}

impl TokenSplits {
    /// Writes one file, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), DataError> {
        self.layout.write(path).map_err(|source| DataError::Write {
            path: path.to_owned(),
            source,
        })
    }

    /// Opens a file that [`TokenSplits::write`] made, without reading it into memory: processes share its pages.
    ///
    /// # Errors
    /// When it cannot be read or is not whole and consistent.
    pub fn map(path: &Path) -> Result<Self, DataError> {
        Layout::map(path).map(Self::of)
    }

    pub(super) fn of(layout: Layout) -> Self {
        let header = layout.header().clone();
        let [train, validation, test] =
            std::array::from_fn(|split| Tokens::of(&layout, &header, split));
        Self {
            kind: header.kind,
            train,
            validation,
            test,
            label_names: header.label_names,
            special: header.special,
            vocab_size: header.vocab_size,
            layout,
        }
    }
}

impl Tokens {
    fn of(layout: &Layout, header: &Header, split: usize) -> Self {
        let labels = match header.kind {
            DataKind::Classes => layout.labels(split).map(LabelSection::Classes),
            DataKind::Numbers => layout.labels(split).map(LabelSection::Numbers),
            DataKind::Tags => layout.labels(split).map(LabelSection::Tags),
            DataKind::Text | DataKind::Blocks | DataKind::Pairs => None,
        };
        Self {
            rows: header.splits[split].rows,
            rows_of_a_unit: match header.kind {
                DataKind::Pairs => 2,
                _ => 1,
            },
            offsets: layout.offsets(split),
            ids: layout.ids(split),
            labels,
            bytes: layout.bytes(split),
        }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// What batches are counted in.
    pub fn units(&self) -> usize {
        self.rows / self.rows_of_a_unit
    }

    /// The rows of these units.
    pub(super) fn rows_of(&self, units: &[u32]) -> Vec<usize> {
        let rows = |&unit: &u32| {
            let first = unit as usize * self.rows_of_a_unit;
            first..first + self.rows_of_a_unit
        };
        units.iter().flat_map(rows).collect()
    }

    /// Tokens of all rows together.
    pub fn total(&self) -> usize {
        self.ids.len()
    }

    /// The ids of a row, at least one.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn row(&self, row: usize) -> impl ExactSizeIterator<Item = u32> {
        self.ids.range(self.range(row))
    }

    /// Whether the rows have labels.
    pub fn labelled(&self) -> bool {
        self.labels.is_some()
    }

    /// The labels of these rows, where rows have labels.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn labels(&self, rows: &[usize]) -> Option<BatchLabels> {
        let rows = rows.iter().copied();
        Some(match self.labels.as_ref()? {
            LabelSection::Classes(classes) => {
                BatchLabels::Whole(rows.map(|row| i64::from(classes.get(row))).collect())
            }
            LabelSection::Numbers(numbers) => {
                BatchLabels::Numbers(rows.map(|row| numbers.get(row)).collect())
            }
            LabelSection::Tags(tags) => BatchLabels::Whole(
                rows.flat_map(|row| tags.range(self.range(row)))
                    .map(i64::from)
                    .collect(),
            ),
        })
    }

    /// Of blocks, the bytes of text in UTF-8 that all tokens of a row but its first cover.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn bytes(&self, row: usize) -> Option<u64> {
        self.bytes.as_ref().map(|bytes| bytes.get(row))
    }

    fn range(&self, row: usize) -> std::ops::Range<usize> {
        self.offsets.get(row) as usize..self.offsets.get(row + 1) as usize
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;
    use crate::data::{batch, builtin_vocabulary, load_text};
    use crate::spec::DataSpec;

    type Rows = (Vec<Vec<u32>>, Option<Vec<u32>>);

    fn splits(vocab_size: usize, label_names: &[&str], rows: &[Rows; 3]) -> TokenSplits {
        let header = Header {
            vocab_size,
            label_names: label_names.iter().map(|&name| name.to_owned()).collect(),
            special: SpecialTokens {
                mask: None,
                all: vec![0],
            },
            splits: std::array::from_fn(|split| SplitHeader {
                rows: rows[split].0.len(),
                tokens: rows[split].0.iter().map(Vec::len).sum(),
                labelled: rows[split].1.is_some(),
            }),
        };
        let rows = rows
            .iter()
            .map(|(ids, labels)| (ids.as_slice(), labels.as_deref()));
        TokenSplits::of(Layout::owned(bytes_of(&header, rows)))
    }

    fn rows_of(tokens: &Tokens) -> Rows {
        let labels = (0..tokens.rows()).map(|row| tokens.label(row));
        (
            (0..tokens.rows())
                .map(|row| tokens.row(row).collect())
                .collect(),
            tokens.labelled().then(|| labels.flatten().collect()),
        )
    }

    fn some_rows() -> impl Strategy<Value = Rows> {
        let row = || prop::collection::vec(0u32..50, 1..9);
        prop_oneof![
            prop::collection::vec(row(), 0..20).prop_map(|ids| (ids, None)),
            prop::collection::vec((row(), 0u32..3), 0..20).prop_map(|rows| {
                let (ids, labels) = rows.into_iter().unzip();
                (ids, Some(labels))
            }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_file_gives_back_what_was_written(train in some_rows(), validation in some_rows(), test in some_rows()) {
            let rows = [train, validation, test];
            let written = splits(50, &["a", "b", "c"], &rows);
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("tokens");
            written.write(&path).unwrap();
            let read = TokenSplits::map(&path).unwrap();
            for (tokens, rows) in [&read.train, &read.validation, &read.test].into_iter().zip(&rows) {
                prop_assert_eq!(&rows_of(tokens), rows);
                prop_assert_eq!(tokens.total(), rows.0.iter().map(Vec::len).sum::<usize>());
            }
            prop_assert_eq!(read.label_names, written.label_names);
            prop_assert_eq!((read.special, read.vocab_size), (written.special, 50));
        }

        #[test]
        fn a_batch_packs_exactly_its_rows(rows in some_rows(), picks in prop::collection::vec(any::<u32>(), 0..12)) {
            let (ids, labels) = rows.clone();
            let picks: Vec<u32> = picks.iter().filter_map(|pick| pick.checked_rem(ids.len() as u32)).collect();
            let splits = splits(50, &["a", "b", "c"], &[rows, (vec![], None), (vec![], None)]);
            let packed = batch(&splits.train, &picks);
            prop_assert_eq!(packed.offsets.len(), picks.len() + 1);
            prop_assert_eq!(packed.offsets[0], 0);
            prop_assert_eq!(packed.offsets[picks.len()], packed.ids.len() as i64);
            for (at, &pick) in picks.iter().enumerate() {
                let row = &packed.ids[packed.offsets[at] as usize..packed.offsets[at + 1] as usize];
                let expected: Vec<i64> = ids[pick as usize].iter().map(|&id| i64::from(id)).collect();
                prop_assert_eq!(row, expected);
            }
            let label = |labels: &Vec<u32>, pick: u32| i64::from(labels[pick as usize]);
            let expected = labels.map(|labels| picks.iter().map(|&pick| label(&labels, pick)).collect::<Vec<_>>());
            prop_assert_eq!(packed.labels, expected);
        }
    }

    fn mapped(bytes: &[u8]) -> Result<TokenSplits, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        fs::write(&path, bytes).unwrap();
        TokenSplits::map(&path).map_err(|error| {
            let error = error.to_string();
            let start = format!("cannot use the token file {}: ", path.display());
            let problem = error.strip_prefix(&start).unwrap_or(&error);
            problem
                .strip_suffix("; delete it, and it is made again")
                .unwrap_or(problem)
                .to_owned()
        })
    }

    /// A block of two rows a split, and where its first section begins.
    fn block(ids: [u32; 3], label: u32) -> (Vec<u8>, usize) {
        let one = (
            vec![vec![ids[0]], vec![ids[1], ids[2]]],
            Some(vec![0, label]),
        );
        let splits = splits(9, &["a", "b"], &[one.clone(), one.clone(), one]);
        let folder = tempfile::tempdir().unwrap();
        splits.write(&folder.path().join("tokens")).unwrap();
        let bytes = fs::read(folder.path().join("tokens")).unwrap();
        let sections = bytes.len() - 3 * (3 * 8 + 3 * 4 + 2 * 4);
        (bytes, sections)
    }

    #[test]
    fn a_cut_file_is_refused_wherever_it_is_cut() {
        let (bytes, sections) = block([1, 2, 3], 1);
        assert!(mapped(&bytes).is_ok());
        for end in 0..bytes.len() {
            let error = mapped(&bytes[..end]).unwrap_err();
            assert!(error.starts_with("it is cut short in "), "{end}: {error}");
        }
        for (end, place) in [
            (4, "its first bytes"),
            (15, "its first bytes"),
            (20, "its header"),
            (sections + 8, "the offsets of its train split"),
            (sections + 24, "the ids of its train split"),
            (sections + 36, "the labels of its train split"),
            (sections + 44, "the offsets of its validation split"),
            (bytes.len() - 1, "the labels of its test split"),
        ] {
            assert_eq!(
                mapped(&bytes[..end]).unwrap_err(),
                format!("it is cut short in {place}")
            );
        }
        let longer = [bytes.as_slice(), b"x"].concat();
        assert_eq!(mapped(&longer).unwrap_err(), "1 bytes follow its end");
    }

    #[test]
    fn a_wrong_file_is_refused() {
        let (bytes, sections) = block([1, 2, 3], 1);
        let with = |at: usize, new: &[u8]| {
            let mut bytes = bytes.clone();
            bytes[at..at + new.len()].copy_from_slice(new);
            mapped(&bytes).unwrap_err()
        };
        assert_eq!(with(0, b"x"), "it is no file of tokens");
        assert_eq!(
            with(8, &[9]),
            "its format is version 9, this program reads 1"
        );
        assert!(with(16, b"[").starts_with("its header cannot be read: "));
        assert_eq!(
            with(sections, &[1]),
            "the offsets of its train split do not rise from 0"
        );
        assert_eq!(
            with(sections + 8, &[7]),
            "the offsets of its train split do not rise from 0"
        );
        assert_eq!(
            with(sections + 8, &[0]),
            "the offsets of its train split do not rise from 0"
        );
        assert_eq!(
            with(sections + 16, &[9]),
            "the offsets of its train split do not end with its tokens"
        );
        assert_eq!(
            with(sections + 24, &[9]),
            "its train split has the token id 9, its vocabulary 9 entries"
        );
        assert_eq!(
            with(sections + 36, &[2]),
            "its train split has the class 2 of 2"
        );
        assert!(mapped(b"").is_err());
    }

    #[test]
    fn a_header_of_impossible_sizes_is_refused() {
        let (bytes, sections) = block([1, 2, 3], 1);
        let header = std::str::from_utf8(&bytes[16..sections]).unwrap();
        for (old, new) in [
            ("\"rows\":2", "\"rows\":18446744073709551615"),
            ("\"tokens\":3", "\"tokens\":4611686018427387904"),
        ] {
            let header = header.replacen(old, new, 1);
            let length = (header.len() as u32).to_le_bytes();
            let hostile = [&bytes[..12], &length, header.as_bytes(), &bytes[sections..]].concat();
            assert!(
                mapped(&hostile)
                    .unwrap_err()
                    .starts_with("it is cut short in the ")
            );
        }
    }

    #[test]
    fn text_becomes_tokens() {
        let spec = DataSpec {
            path: Some("builtin:topics".into()),
            test_size: Some(100),
            ..crate::data::load::test_spec()
        };
        let text = load_text(&spec).unwrap();
        let tokenizer = Tokenizer::from_vocabulary(&builtin_vocabulary()).unwrap();
        let splits = tokenise(&text, &tokenizer, 16).unwrap();
        assert_eq!(
            (
                splits.train.rows(),
                splits.validation.rows(),
                splits.test.rows()
            ),
            (1800, 200, 100)
        );
        assert_eq!(
            splits.label_names,
            ["astronomy", "cooking", "finance", "football"]
        );
        assert!((0..100).all(|row| splits.test.row(row).len() <= 16));
        assert_eq!(
            splits.test.label(5),
            text.test.labels.map(|labels| labels[5])
        );
        assert_eq!(splits.special.mask, Some(4));
        assert!(
            (0..1800).all(|row| splits.train.row(row).all(|id| id != 1)),
            "no word is unknown"
        );
        let again = tokenise(&load_text(&spec).unwrap(), &tokenizer, 16).unwrap();
        assert_eq!(rows_of(&again.train), rows_of(&splits.train));
    }
}
