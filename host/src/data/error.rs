//! Every way in which data can be unusable.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// What was wrong with the data, where, and what to do.
#[derive(Debug, Error)]
pub enum DataError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
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
        "no folder or file {}: --data takes a folder with train.csv, or {known}; or name files with --train-file",
        path.display()
    )]
    NoSuchData { path: PathBuf, known: String },
    #[error("{} is a file: give it as --train-file, or name the folder that holds train.csv", path.display())]
    NotAFolder { path: PathBuf },
    #[error("no train.csv, train.tsv or train.txt in {}", folder.display())]
    NoTrainFile { folder: PathBuf },
    #[error("{} and {} are two files for one split: name one with --{split}-file", first.display(), second.display())]
    TwoFiles {
        split: &'static str,
        first: PathBuf,
        second: PathBuf,
    },
    #[error("cannot tell the format of {}: .csv, .tsv and .txt are read", path.display())]
    UnknownFormat { path: PathBuf },

    #[error("{} has no rows", path.display())]
    Empty { path: PathBuf },
    #[error("line {line} of {} is not UTF-8: convert the file", path.display())]
    NotUtf8 { path: PathBuf, line: u64 },
    #[error("a quote in the row that starts in line {line} of {} is never closed", path.display())]
    OpenQuote { path: PathBuf, line: u64 },
    #[error("line {line} of {} has {found} fields where the first row has {expected}", path.display())]
    FieldCount {
        path: PathBuf,
        line: u64,
        found: usize,
        expected: usize,
    },
    #[error(
        "no column `{name}` in {}{}; its first row has {present}, \
        and without a header the columns are called 1, 2, 3, ...",
        path.display(), did_you_mean(nearest.as_deref())
    )]
    MissingColumn {
        path: PathBuf,
        name: String,
        present: String,
        nearest: Option<String>,
    },
    #[error(
        "cannot tell the text column of {}: its columns are {present}; name one with --text-column",
        path.display()
    )]
    NoTextColumn { path: PathBuf, present: String },
    #[error("{} is plain text and has no column `{name}`: leave out the column's name", path.display())]
    PlainText { path: PathBuf, name: String },
    #[error("{} has no labels, but {} has: name the column with --label-column", path.display(), train.display())]
    Unlabelled { path: PathBuf, train: PathBuf },

    #[error("line {line} of {} has an empty label", path.display())]
    EmptyLabel { path: PathBuf, line: u64 },
    #[error("label {label} in line {line} of {}: classes count from {base} {why}", path.display())]
    LabelBelow {
        path: PathBuf,
        line: u64,
        label: i64,
        base: i64,
        why: &'static str,
    },
    #[error("label {label} in line {line} of {}: at most {most} classes are allowed", path.display())]
    TooManyClasses {
        path: PathBuf,
        line: u64,
        label: i64,
        most: i64,
    },
    #[error(
        "label {label} in line {line} of {}: the train rows have {known}{}",
        path.display(), did_you_mean(nearest.as_deref())
    )]
    UnknownLabel {
        path: PathBuf,
        line: u64,
        label: String,
        known: String,
        nearest: Option<String>,
    },
    #[error(
        "{rows} train rows are too few: {validation} of them become the validation split and none is left"
    )]
    TooFewRows { rows: usize, validation: usize },
    #[error("no train rows are left: train_size is 0")]
    NoTrainRows,

    #[error("no tokenizer.json and no vocab.txt in {}", folder.display())]
    NoTokenizer { folder: PathBuf },
    #[error("cannot use the tokenizer {}: {problem}", path.display())]
    Tokenizer { path: PathBuf, problem: String },
    #[error(
        "max_length {max_length} leaves no room for text: the tokenizer adds {special} special tokens"
    )]
    MaxLength { max_length: usize, special: usize },
    #[error("line {line} of {} holds nothing that the tokenizer knows: remove the row", path.display())]
    NoTokens { path: PathBuf, line: u64 },
    #[error("cannot use the token file {}: {problem}; delete it, and it is made again", path.display())]
    TokenFile { path: PathBuf, problem: String },
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest
        .map(|name| format!(" (did you mean `{name}`?)"))
        .unwrap_or_default()
}
