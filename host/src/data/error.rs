//! Every way in which data can be unusable.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Where a row stands in its file, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub path: PathBuf,
    pub unit: Unit,
    pub number: u64,
}

/// What the rows of a file are counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Of a text file; a row may run over several and stands where it starts.
    Line,
    Row,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            Unit::Line => "line",
            Unit::Row => "row",
        };
        write!(f, "{unit} {} of {}", self.number, self.path.display())
    }
}

/// What was wrong with the data, where, and what to do.
#[derive(Debug, Error)]
pub enum DataError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "{place} brings the file's keys to more than {most}: all rows are expected to have the same few keys"
    )]
    ManyColumns { place: Place, most: usize },
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },

    #[error("no training data: name a folder or a built-in set (--data), or a file (--train-file)")]
    NoTrainSource,
    #[error("no built-in data set `{name}`{}; there are {known}", did_you_mean(nearest.as_deref()))]
    UnknownBuiltin {
        name: String,
        known: String,
        nearest: Option<String>,
    },
    #[error(
        "no folder or file {}: --data takes a folder with train.csv, a file, or {known}; or name files with \
         --train-file",
        path.display()
    )]
    NoSuchData { path: PathBuf, known: String },
    #[error(
        "no train file in {}: train.csv, train.jsonl, train-00000-of-00002.parquet and the like are looked for, \
         in it and in its folder data",
        folder.display()
    )]
    NoTrainFile { folder: PathBuf },
    #[error("{} holds several data sets: name one, as --data {}; there are {known}", folder.display(), first.display())]
    SeveralSets {
        folder: PathBuf,
        first: PathBuf,
        known: String,
    },
    #[error("{} and {} are two sources of one split: name one with --{split}-file", first.display(), second.display())]
    TwoFiles {
        split: &'static str,
        first: PathBuf,
        second: PathBuf,
    },
    #[error("{} is one of {count} parts, and {missing} of them are not there: fetch them", path.display())]
    MissingPart {
        path: PathBuf,
        count: usize,
        missing: usize,
    },
    #[error(
        "cannot tell the format of {}: .csv, .tsv, .txt, .jsonl, .json and .parquet are read",
        path.display()
    )]
    UnknownFormat { path: PathBuf },

    #[error("{} has no rows", path.display())]
    Empty { path: PathBuf },
    #[error("{place} is not UTF-8: convert the file")]
    NotUtf8 { place: Place },
    #[error("a quote in the row that starts in {place} is never closed")]
    OpenQuote { place: Place },
    #[error("{place} has {found} fields where the first row has {expected}")]
    FieldCount {
        place: Place,
        found: usize,
        expected: usize,
    },
    #[error(
        "{place} is not a JSON object: {problem}; a .json or .jsonl file has one object a line"
    )]
    Json { place: Place, problem: String },
    #[error("{place} is longer than {most} MiB: a row of text is expected in each line")]
    LongLine { place: Place, most: usize },
    #[error("cannot read {} as Parquet: {problem}; the file may be cut short or damaged", path.display())]
    Parquet { path: PathBuf, problem: String },
    #[error(
        "the {bytes} bytes of {} unpack to more than {most}: no text is packed so well; if it is sound, convert it to \
         JSON Lines or CSV",
        path.display()
    )]
    Unpacks {
        path: PathBuf,
        bytes: u64,
        most: u64,
    },

    #[error(
        "no column `{name}` in {}{}; {present}",
        path.display(), did_you_mean(nearest.as_deref())
    )]
    MissingColumn {
        path: PathBuf,
        name: String,
        present: String,
        nearest: Option<String>,
    },
    #[error(
        "cannot tell the {what} column of {}: {present}; name one with --{what}-column",
        path.display()
    )]
    NoColumn {
        path: PathBuf,
        what: &'static str,
        present: String,
    },
    #[error("{} is plain text and has no column `{name}`: leave out the column's name", path.display())]
    PlainText { path: PathBuf, name: String },
    #[error("{} has no columns for it: the task head learns from {needs}", path.display())]
    Lacks { path: PathBuf, needs: &'static str },
    #[error("{} has no labels, but {} has: name the column with --label-column", path.display(), train.display())]
    Unlabelled { path: PathBuf, train: PathBuf },
    #[error("column `{column}` holds {found} in {place}, where {expected} is needed")]
    Value {
        column: String,
        place: Place,
        found: String,
        expected: &'static str,
    },

    #[error("{place} has an empty label")]
    EmptyLabel { place: Place },
    #[error("label {label} in {place}: classes count from {base} {why}")]
    LabelBelow {
        place: Place,
        label: i64,
        base: i64,
        why: &'static str,
    },
    #[error("label {label} in {place}: at most {most} classes are allowed")]
    TooManyClasses { place: Place, label: i64, most: i64 },
    #[error(
        "label {label} in {place} is a number with a fraction and no class: \
         choose a task head that learns from numbers (`lorahost plugin list`), or another --label-column"
    )]
    FractionLabel { place: Place, label: String },
    #[error("label {label} in {place}: the train rows have {known}{}", did_you_mean(nearest.as_deref()))]
    UnknownLabel {
        place: Place,
        label: String,
        known: String,
        nearest: Option<String>,
    },
    #[error("{place} has {words} words and {tags} tags: each word needs one")]
    TagCount {
        place: Place,
        words: usize,
        tags: usize,
    },
    #[error(
        "{rows} train rows are too few: {validation} of them become the validation split and none is left"
    )]
    TooFewRows { rows: usize, validation: usize },
    #[error("no train rows are left: train_size is 0")]
    NoTrainRows,

    #[error("no tokenizer.json, no vocab.json with merges.txt and no vocab.txt in {}", folder.display())]
    NoTokenizer { folder: PathBuf },
    #[error("cannot use the tokenizer {}: {problem}", path.display())]
    Tokenizer { path: PathBuf, problem: String },
    #[error(
        "max_length {max_length} leaves no room for text: the tokenizer adds {special} special tokens"
    )]
    MaxLength { max_length: usize, special: usize },
    #[error("{place} holds nothing that the tokenizer knows: remove the row")]
    NoTokens { place: Place },
    #[error("data.block_size {block_size} is more than the model's {positions} positions")]
    BlockSize { block_size: usize, positions: usize },
    #[error(
        "data.stride {stride} is more than data.block_size {block_size}: text between two blocks would be lost"
    )]
    Stride { stride: usize, block_size: usize },
    #[error(
        "the {split} split has {tokens} tokens, which is less than one block of {block_size}: \
         lower data.block_size, or give it more text"
    )]
    TooShort {
        split: &'static str,
        tokens: usize,
        block_size: usize,
    },
    #[error("cannot use the token file {}: {problem}; delete it, and it is made again", path.display())]
    TokenFile { path: PathBuf, problem: String },
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest
        .map(|name| format!(" (did you mean `{name}`?)"))
        .unwrap_or_default()
}
