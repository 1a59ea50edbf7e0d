//! The block of bytes behind tokenised splits, in memory as in its file.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `lorahost` |
//! | 4 | version of the format, 3 |
//! | 4 | n, length of the header |
//! | n | [`Header`] as JSON |
//! | | for train, validation, test in turn: |
//! | 8 (rows + 1) | offsets: where each row starts among the ids, and where the last one ends |
//! | 4 tokens | ids |
//! | 4 rows or tokens | labels, where rows have them: classes (u32) or numbers (f32) by row, tags (i32) by token |
//! | 8 rows | of blocks: the bytes of text that all tokens of a row but its first cover |
//!
//! Numbers are little endian. Nothing is aligned: each number is put together from its bytes when it is read.

use std::fs::File;
use std::io::{self, Write};
use std::marker::PhantomData;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use lorahost_plugin_api::protocol::DataKind;
use memmap2::Mmap;
use serde::{Deserialize, Serialize};

use super::error::DataError;
use crate::atomic;

const MAGIC: &[u8; 8] = b"lorahost";
const VERSION: u32 = 3;
const SPLITS: [&str; 3] = ["train", "validation", "test"];

/// The tag of a token that has none.
pub(super) const NO_TAG: i32 = -100;

/// Ids that are no text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecialTokens {
    /// What stands for a hidden token, where the tokenizer has it.
    pub mask: Option<u32>,
    /// All special ids, ascending.
    pub all: Vec<u32>,
}

/// How many texts lost their end to the longest row; blocks lose none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Truncation {
    pub texts: usize,
    /// Those of them that were cut.
    pub cut: usize,
    /// Tokens of the longest text before it was cut.
    pub longest: usize,
}

impl Truncation {
    /// That of both together.
    fn and(self, other: Self) -> Self {
        Self {
            texts: self.texts + other.texts,
            cut: self.cut + other.cut,
            longest: self.longest.max(other.longest),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub kind: DataKind,
    pub vocab_size: usize,
    pub label_names: Vec<String>,
    pub special: SpecialTokens,
    /// Of all splits together.
    pub truncation: Truncation,
    /// Train, validation, test.
    pub splits: [SplitHeader; 3],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SplitHeader {
    pub rows: usize,
    pub tokens: usize,
    pub labelled: bool,
}

/// A checked block and where its sections lie.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    block: Arc<Block>,
    header: Header,
    sections: [SplitSections; 3],
}

#[derive(Debug, Clone)]
struct SplitSections {
    offsets: Range<usize>,
    ids: Range<usize>,
    labels: Option<Range<usize>>,
    bytes: Option<Range<usize>>,
}

#[derive(Debug)]
enum Block {
    Owned(Vec<u8>),
    Mapped(Mmap),
}

/// Numbers of one kind in the block.
#[derive(Debug, Clone)]
pub(super) struct Section<T> {
    block: Arc<Block>,
    bytes: Range<usize>,
    kind: PhantomData<T>,
}

/// The rows of one split on their way into a block.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct SplitContent {
    pub ids: Vec<Vec<u32>>,
    pub labels: Labels,
    /// Of blocks, one a row.
    pub bytes: Vec<u64>,
    pub truncation: Truncation,
}

/// Labels of a split, all of the same kind.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) enum Labels {
    #[default]
    None,
    Classes(Vec<u32>),
    Numbers(Vec<f32>),
    /// One a token, [`NO_TAG`] where a token has none.
    Tags(Vec<i32>),
}

/// What blocks of all splits have in common.
#[derive(Debug, Clone)]
pub(super) struct Common {
    pub kind: DataKind,
    pub vocab_size: usize,
    pub label_names: Vec<String>,
    pub special: SpecialTokens,
}

/// The block of train, validation and test.
pub(super) fn bytes_of(common: Common, splits: &[SplitContent; 3]) -> Vec<u8> {
    let header = Header {
        kind: common.kind,
        vocab_size: common.vocab_size,
        label_names: common.label_names,
        special: common.special,
        truncation: splits
            .iter()
            .map(|split| split.truncation)
            .fold(Truncation::default(), Truncation::and),
        splits: std::array::from_fn(|split| SplitHeader {
            rows: splits[split].ids.len(),
            tokens: splits[split].ids.iter().map(Vec::len).sum(),
            labelled: splits[split].labels != Labels::None,
        }),
    };
    let json = serde_json::to_vec(&header).expect("a header of numbers and strings is valid JSON");
    let mut bytes = [
        MAGIC.as_slice(),
        &VERSION.to_le_bytes(),
        &(json.len() as u32).to_le_bytes(),
        &json,
    ]
    .concat();
    for split in splits {
        let mut offset = 0u64;
        bytes.extend(offset.to_le_bytes());
        for row in &split.ids {
            offset += row.len() as u64;
            bytes.extend(offset.to_le_bytes());
        }
        bytes.extend(split.ids.iter().flatten().flat_map(|id| id.to_le_bytes()));
        match &split.labels {
            Labels::None => {}
            Labels::Classes(classes) => bytes.extend(classes.iter().flat_map(|n| n.to_le_bytes())),
            Labels::Numbers(numbers) => bytes.extend(numbers.iter().flat_map(|n| n.to_le_bytes())),
            Labels::Tags(tags) => bytes.extend(tags.iter().flat_map(|n| n.to_le_bytes())),
        }
        bytes.extend(split.bytes.iter().flat_map(|count| count.to_le_bytes()));
    }
    bytes
}

impl Layout {
    /// Of a block that [`bytes_of`] made.
    pub fn owned(bytes: Vec<u8>) -> Self {
        Self::of(Block::Owned(bytes)).expect("the block was made here")
    }

    #[expect(unsafe_code, reason = "tokens are mapped")]
    pub fn map(path: &Path) -> Result<Self, DataError> {
        let read = |source| DataError::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(read)?;
        // SAFETY: the map is read-only and lives as long as its sections. Files of this kind are put in place whole,
        // by a rename, and never written to again; a process that cuts one short while it is mapped ends this one.
        let block = unsafe { Mmap::map(&file) }.map_err(read)?;
        Self::of(Block::Mapped(block)).map_err(|problem| DataError::TokenFile {
            path: path.to_owned(),
            problem,
        })
    }

    pub fn write(&self, path: &Path) -> io::Result<()> {
        atomic::write(path, |file| file.write_all(self.block.bytes()))
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    pub fn offsets(&self, split: usize) -> Section<u64> {
        self.section(self.sections[split].offsets.clone())
    }

    pub fn ids(&self, split: usize) -> Section<u32> {
        self.section(self.sections[split].ids.clone())
    }

    /// The labels, as numbers of the type that their kind has.
    pub fn labels<T>(&self, split: usize) -> Option<Section<T>> {
        let labels = self.sections[split].labels.clone();
        labels.map(|bytes| self.section(bytes))
    }

    pub fn bytes(&self, split: usize) -> Option<Section<u64>> {
        let bytes = self.sections[split].bytes.clone();
        bytes.map(|bytes| self.section(bytes))
    }

    fn section<T>(&self, bytes: Range<usize>) -> Section<T> {
        Section {
            block: self.block.clone(),
            bytes,
            kind: PhantomData,
        }
    }

    fn of(block: Block) -> Result<Self, String> {
        let bytes = block.bytes();
        let (magic, rest) = bytes
            .split_first_chunk()
            .ok_or("it is cut short in its first bytes")?;
        if magic != MAGIC {
            return Err("it is no file of tokens".to_owned());
        }
        let (version, rest) = rest
            .split_first_chunk()
            .ok_or("it is cut short in its first bytes")?;
        let version = u32::from_le_bytes(*version);
        if version != VERSION {
            return Err(format!(
                "its format is version {version}, this program reads {VERSION}"
            ));
        }
        let (length, rest) = rest
            .split_first_chunk()
            .ok_or("it is cut short in its first bytes")?;
        let length = u32::from_le_bytes(*length) as usize;
        let json = rest.get(..length).ok_or("it is cut short in its header")?;
        let header: Header = serde_json::from_slice(json)
            .map_err(|error| format!("its header cannot be read: {error}"))?;
        let sections = sections(&header, bytes.len() - rest.len() + length, bytes.len())?;
        let layout = Self {
            block: Arc::new(block),
            header,
            sections,
        };
        layout.check_numbers()?;
        Ok(layout)
    }

    fn check_numbers(&self) -> Result<(), String> {
        for (split, name) in SPLITS.into_iter().enumerate() {
            let offsets = self.offsets(split);
            let mut last = None;
            for offset in offsets.range(0..offsets.len()) {
                if last.map_or(offset != 0, |last| offset <= last) {
                    return Err(format!(
                        "the offsets of its {name} split do not rise from 0"
                    ));
                }
                last = Some(offset);
            }
            if last != Some(self.header.splits[split].tokens as u64) {
                return Err(format!(
                    "the offsets of its {name} split do not end with its tokens"
                ));
            }
            let ids = self.ids(split);
            let size = self.header.vocab_size;
            if let Some(id) = ids.range(0..ids.len()).find(|&id| id as usize >= size) {
                return Err(format!(
                    "its {name} split has the token id {id}, its vocabulary {size} entries"
                ));
            }
            self.check_labels(split, name)?;
        }
        Ok(())
    }

    fn check_labels(&self, split: usize, name: &str) -> Result<(), String> {
        let SplitHeader { rows, labelled, .. } = self.header.splits[split];
        let names = self.header.label_names.len();
        match self.header.kind {
            DataKind::Classes => {
                let wrong = first_of(self.labels(split), |class: u32| class as usize >= names);
                if let Some(class) = wrong {
                    return Err(format!("its {name} split has the class {class} of {names}"));
                }
            }
            DataKind::Numbers => {
                if let Some(number) = first_of(self.labels(split), |n: f32| !n.is_finite()) {
                    return Err(format!("its {name} split has the number {number}"));
                }
            }
            DataKind::Tags => {
                let known = |tag: i32| usize::try_from(tag).is_ok_and(|tag| tag < names);
                let wrong = first_of(self.labels(split), |tag| tag != NO_TAG && !known(tag));
                if let Some(tag) = wrong {
                    return Err(format!("its {name} split has the tag {tag} of {names}"));
                }
            }
            DataKind::Text | DataKind::Blocks | DataKind::Pairs if labelled => {
                return Err(format!(
                    "its {name} split has labels, and rows of {} have none",
                    self.header.kind.name()
                ));
            }
            DataKind::Pairs if !rows.is_multiple_of(2) => {
                return Err(format!(
                    "its {name} split has {rows} rows, which are no pairs"
                ));
            }
            DataKind::Text | DataKind::Blocks | DataKind::Pairs => {}
        }
        Ok(())
    }
}

/// The first number of a section that is wrong.
fn first_of<T: Number>(section: Option<Section<T>>, wrong: impl Fn(T) -> bool) -> Option<T> {
    let section = section?;
    section
        .range(0..section.len())
        .find(|&number| wrong(number))
}

/// Where the sections lie that start at `at` and must end at `end`.
fn sections(header: &Header, at: usize, end: usize) -> Result<[SplitSections; 3], String> {
    let mut at = at;
    let mut take = |count: Option<usize>, size: usize, what: &str, split: usize| {
        let next = count
            .and_then(|count| count.checked_mul(size)?.checked_add(at))
            .filter(|&next| next <= end);
        let next = next.ok_or_else(|| {
            format!(
                "it is cut short in the {what} of its {} split",
                SPLITS[split]
            )
        })?;
        Ok::<_, String>(std::mem::replace(&mut at, next)..next)
    };
    let mut sections = Vec::with_capacity(SPLITS.len());
    for (
        split,
        &SplitHeader {
            rows,
            tokens,
            labelled,
        },
    ) in header.splits.iter().enumerate()
    {
        sections.push(SplitSections {
            offsets: take(rows.checked_add(1), 8, "offsets", split)?,
            ids: take(Some(tokens), 4, "ids", split)?,
            labels: labelled
                .then(|| {
                    let count = if header.kind == DataKind::Tags {
                        tokens
                    } else {
                        rows
                    };
                    take(Some(count), 4, "labels", split)
                })
                .transpose()?,
            bytes: (header.kind == DataKind::Blocks)
                .then(|| take(Some(rows), 8, "bytes", split))
                .transpose()?,
        });
    }
    if at != end {
        return Err(format!("{} bytes follow its end", end - at));
    }
    Ok(sections.try_into().expect("there are three splits"))
}

impl Block {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Mapped(map) => map,
        }
    }
}

/// A number that a section holds.
pub(super) trait Number: Copy {
    const SIZE: usize;
    fn read(bytes: &[u8]) -> Self;
}

macro_rules! number {
    ($($kind:ty),*) => {$(
        impl Number for $kind {
            const SIZE: usize = size_of::<$kind>();
            fn read(bytes: &[u8]) -> Self {
                let mut number = [0; size_of::<$kind>()];
                number.copy_from_slice(bytes);
                Self::from_le_bytes(number)
            }
        }
    )*};
}
number!(u32, i32, f32, u64);

impl<T: Number> Section<T> {
    pub fn len(&self) -> usize {
        self.bytes.len() / T::SIZE
    }

    /// # Panics
    /// When the section is shorter.
    pub fn get(&self, at: usize) -> T {
        T::read(&self.slice()[at * T::SIZE..][..T::SIZE])
    }

    /// # Panics
    /// When the section is shorter.
    pub fn range(&self, range: Range<usize>) -> impl ExactSizeIterator<Item = T> {
        self.slice()[range.start * T::SIZE..range.end * T::SIZE]
            .chunks_exact(T::SIZE)
            .map(T::read)
    }

    fn slice(&self) -> &[u8] {
        &self.block.bytes()[self.bytes.clone()]
    }
}
