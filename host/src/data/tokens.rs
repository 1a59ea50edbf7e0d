//! Tokenised splits: made once, read by every run.

use std::path::Path;

use lorahost_plugin_api::protocol::DataKind;

use super::error::DataError;
use super::token_file::{Header, Layout, Section};

pub use super::token_file::{SpecialTokens, Truncation};

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
    pub truncation: Truncation,
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
            truncation: header.truncation,
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

    /// Tokens of a unit.
    ///
    /// # Panics
    /// When there is no such unit.
    pub fn length(&self, unit: usize) -> usize {
        let rows = unit * self.rows_of_a_unit;
        self.range(rows)
            .start
            .abs_diff(self.range(rows + self.rows_of_a_unit - 1).end)
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

    /// Of blocks, the bytes of text in UTF-8 that the tokens of these rows cover, but for the first of each row.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn bytes(&self, rows: &[usize]) -> Option<u64> {
        let bytes = self.bytes.as_ref()?;
        Some(rows.iter().map(|&row| bytes.get(row)).sum())
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
    use crate::data::batch;
    use crate::data::token_file::{Common, Labels, NO_TAG, SplitContent, bytes_of};

    fn splits(
        kind: DataKind,
        vocab_size: usize,
        names: &[&str],
        rows: &[SplitContent; 3],
    ) -> TokenSplits {
        let common = Common {
            kind,
            vocab_size,
            label_names: names.iter().map(|&name| name.to_owned()).collect(),
            special: SpecialTokens {
                mask: None,
                all: vec![0],
            },
        };
        TokenSplits::of(Layout::owned(bytes_of(common, rows)))
    }

    fn content_of(kind: DataKind, tokens: &Tokens) -> SplitContent {
        let rows: Vec<usize> = (0..tokens.rows()).collect();
        let labels = match (kind, tokens.labels(&rows)) {
            (_, None) => Labels::None,
            (_, Some(BatchLabels::Numbers(numbers))) => Labels::Numbers(numbers),
            (DataKind::Tags, Some(BatchLabels::Whole(tags))) => {
                Labels::Tags(tags.iter().map(|&tag| tag as i32).collect())
            }
            (_, Some(BatchLabels::Whole(classes))) => {
                Labels::Classes(classes.iter().map(|&class| class as u32).collect())
            }
        };
        SplitContent {
            ids: rows.iter().map(|&row| tokens.row(row).collect()).collect(),
            labels,
            bytes: rows
                .iter()
                .filter_map(|&row| tokens.bytes(&[row]))
                .collect(),
            truncation: Truncation::default(),
        }
    }

    fn some_rows(kind: DataKind) -> impl Strategy<Value = SplitContent> {
        let row = || prop::collection::vec(0u32..50, 1..9);
        prop::collection::vec((row(), 0u32..3, -9.0f32..9.0, 0u64..1 << 40), 0..20).prop_map(
            move |mut rows| {
                if kind == DataKind::Pairs {
                    rows.truncate(rows.len() / 2 * 2);
                }
                let tags = |(ids, tag, ..): &(Vec<u32>, u32, f32, u64)| {
                    let tag = *tag as i32;
                    (0..ids.len())
                        .map(move |at| if at == 1 { NO_TAG } else { tag })
                        .collect::<Vec<_>>()
                };
                let labels = match kind {
                    _ if rows.is_empty() => Labels::None,
                    DataKind::Classes => Labels::Classes(rows.iter().map(|row| row.1).collect()),
                    DataKind::Numbers => Labels::Numbers(rows.iter().map(|row| row.2).collect()),
                    DataKind::Tags => Labels::Tags(rows.iter().flat_map(tags).collect()),
                    _ => Labels::None,
                };
                let bytes = match kind {
                    DataKind::Blocks => rows.iter().map(|row| row.3).collect(),
                    _ => Vec::new(),
                };
                SplitContent {
                    ids: rows.into_iter().map(|row| row.0).collect(),
                    labels,
                    bytes,
                    truncation: Truncation::default(),
                }
            },
        )
    }

    fn some_splits() -> impl Strategy<Value = (DataKind, [SplitContent; 3])> {
        prop::sample::select(DataKind::ALL.to_vec()).prop_flat_map(|kind| {
            let rows = || some_rows(kind);
            (Just(kind), [rows(), rows(), rows()])
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_file_gives_back_what_was_written((kind, rows) in some_splits()) {
            let written = splits(kind, 50, &["a", "b", "c"], &rows);
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("tokens");
            written.write(&path).unwrap();
            let read = TokenSplits::map(&path).unwrap();
            for (tokens, rows) in [&read.train, &read.validation, &read.test].into_iter().zip(&rows) {
                prop_assert_eq!(&content_of(kind, tokens), rows);
                prop_assert_eq!(tokens.total(), rows.ids.iter().map(Vec::len).sum::<usize>());
            }
            prop_assert_eq!(read.label_names, written.label_names);
            prop_assert_eq!((read.kind, read.special, read.vocab_size), (kind, written.special, 50));
        }

        #[test]
        fn a_batch_packs_exactly_its_rows(
            (kind, rows) in some_splits(), picks in prop::collection::vec(any::<u32>(), 0..12),
        ) {
            let whole = splits(kind, 50, &["a", "b", "c"], &rows);
            let [content, ..] = rows;
            let units = whole.train.units() as u32;
            let picks: Vec<u32> = picks.iter().filter_map(|pick| pick.checked_rem(units)).collect();
            let picked: Vec<usize> = match kind {
                DataKind::Pairs => picks.iter().flat_map(|&pick| [2 * pick as usize, 2 * pick as usize + 1]).collect(),
                _ => picks.iter().map(|&pick| pick as usize).collect(),
            };
            let packed = batch(&whole.train, &picks);
            prop_assert_eq!(packed.offsets.len(), picked.len() + 1);
            prop_assert_eq!(packed.offsets[0], 0);
            prop_assert_eq!(packed.offsets[picked.len()], packed.ids.len() as i64);
            for (at, &row) in picked.iter().enumerate() {
                let ids = &packed.ids[packed.offsets[at] as usize..packed.offsets[at + 1] as usize];
                let expected: Vec<i64> = content.ids[row].iter().map(|&id| i64::from(id)).collect();
                prop_assert_eq!(ids, expected);
            }
            let picked = || picked.iter().copied();
            let expected = match &content.labels {
                Labels::None => None,
                Labels::Classes(all) => Some(BatchLabels::Whole(picked().map(|row| i64::from(all[row])).collect())),
                Labels::Numbers(all) => Some(BatchLabels::Numbers(picked().map(|row| all[row]).collect())),
                Labels::Tags(all) => {
                    let start = |row: usize| content.ids[..row].iter().map(Vec::len).sum::<usize>();
                    let of_row = |row| all[start(row)..start(row + 1)].iter().map(|&tag| i64::from(tag));
                    Some(BatchLabels::Whole(picked().flat_map(of_row).collect()))
                }
            };
            prop_assert_eq!(packed.labels, expected);
            let bytes = (kind == DataKind::Blocks)
                .then(|| picked().map(|row| content.bytes[row]).sum::<u64>());
            prop_assert_eq!(packed.bytes, bytes);
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

    /// Two rows a split, of three tokens, with these labels.
    fn two_rows(ids: [u32; 3], labels: Labels) -> SplitContent {
        SplitContent {
            ids: vec![vec![ids[0]], vec![ids[1], ids[2]]],
            labels,
            bytes: Vec::new(),
            truncation: Truncation::default(),
        }
    }

    /// The block of three such splits, and where its first section begins.
    fn block_of(kind: DataKind, one: &SplitContent) -> (Vec<u8>, usize) {
        let splits = splits(
            kind,
            9,
            &["a", "b"],
            &[one.clone(), one.clone(), one.clone()],
        );
        let folder = tempfile::tempdir().unwrap();
        splits.write(&folder.path().join("tokens")).unwrap();
        let bytes = fs::read(folder.path().join("tokens")).unwrap();
        let header = u32::from_le_bytes(bytes[12..16].try_into().unwrap());
        (bytes, 16 + header as usize)
    }

    fn block(ids: [u32; 3], label: u32) -> (Vec<u8>, usize) {
        let one = two_rows(ids, Labels::Classes(vec![0, label]));
        block_of(DataKind::Classes, &one)
    }

    #[test]
    fn labels_of_each_kind_are_checked() {
        let wrong = |kind, labels, at: usize, new: &[u8]| {
            let (mut bytes, sections) = block_of(kind, &two_rows([1, 2, 3], labels));
            // Behind the offsets and the ids of the first split.
            let at = sections + 24 + 12 + at;
            bytes[at..at + new.len()].copy_from_slice(new);
            mapped(&bytes).unwrap_err()
        };
        let numbers = || Labels::Numbers(vec![1.0, 2.0]);
        assert_eq!(
            wrong(DataKind::Numbers, numbers(), 4, &f32::NAN.to_le_bytes()),
            "its train split has the number NaN"
        );
        let tags = || Labels::Tags(vec![NO_TAG, 0, 1]);
        for tag in [2, -1] {
            assert_eq!(
                wrong(DataKind::Tags, tags(), 8, &i32::to_le_bytes(tag)),
                format!("its train split has the tag {tag} of 2")
            );
        }
        let (bytes, sections) = block_of(
            DataKind::Classes,
            &two_rows([1, 2, 3], Labels::Classes(vec![0, 0])),
        );
        let header = str::from_utf8(&bytes[16..sections]).unwrap();
        for (kind, problem) in [
            (
                "text",
                "its train split has labels, and rows of text have none",
            ),
            (
                "pairs",
                "its train split has labels, and rows of pairs have none",
            ),
            ("tags", "it is cut short in "),
            ("blocks", "it is cut short in "),
            (
                "heaps",
                "its header cannot be read: unknown variant `heaps`",
            ),
        ] {
            let header = header.replace("\"classes\"", &format!("\"{kind}\""));
            let length = (header.len() as u32).to_le_bytes();
            let hostile = [&bytes[..12], &length, header.as_bytes(), &bytes[sections..]].concat();
            let error = mapped(&hostile).unwrap_err();
            assert!(error.starts_with(problem), "{kind}: {error}");
        }
        let three = SplitContent {
            ids: vec![vec![1]; 3],
            ..SplitContent::default()
        };
        let (bytes, sections) = block_of(DataKind::Text, &three);
        let header = str::from_utf8(&bytes[16..sections])
            .unwrap()
            .replace("\"text\"", "\"pairs\"");
        let length = (header.len() as u32).to_le_bytes();
        let odd = [&bytes[..12], &length, header.as_bytes(), &bytes[sections..]].concat();
        assert_eq!(
            mapped(&odd).unwrap_err(),
            "its train split has 3 rows, which are no pairs"
        );
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
            "its format is version 9, this program reads 3"
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
}
