//! From a [`DataSpec`](crate::spec::DataSpec) to tokens that all runs of a sweep share.
//!
//! [`load_text`] reads and splits, [`tokenise`] turns text into one block of tokens, [`TokenSplits::write`] and
//! [`TokenSplits::map`] hand that block to the workers as one file, and [`batch`] packs rows of it for a model: no
//! padding anywhere.
//!
//! # What is read
//! - **CSV** (`.csv`): RFC 4180 quoting. **TSV** (`.tsv`): no quoting, as IANA has it. **Plain text** (`.txt`): a row
//!   is a line that is not blank, without a label.
//! - **A folder** holds `train`, and if they exist `validation` (or `valid`, `dev`) and `test`, each with one of these
//!   extensions. A set without test rows has an empty test split.
//! - **A header** is the first row if it holds a column that was named or, none named, one of the usual names
//!   (`text`, `sentence`, `title` and `description`, ..., `label`, `class`, `category`, ...). `title+description` joins
//!   columns by a space. Numbers do not name columns of a header.
//! - **Without a header** the columns are called 1, 2, 3, ...: 1 is the label, the others are joined to the text. This
//!   is AG News as published: class, title, description.
//! - **Labels** that are whole numbers count classes: from 0 under a header, from 1 without one and in a column called
//!   `Class Index`. Other labels are names; their order is that of the sorted names of the train file.
//!   The train file settles how many classes there are, whatever is later cut from it.
//! - Text stays as it is, HTML remnants and backslashes included.
//!
//! # How it is split
//! The train rows are always shuffled, by the stream (`split_seed`, "data", "split"): files are often sorted by class.
//! Without a validation file, the last `validation_fraction` of them, rounded up, become the validation split. A
//! validation or test file keeps its order. Then each split keeps its first `train_size`, `validation_size`,
//! `test_size` rows. This is the original study's procedure; its rows differ, since its shuffle was NumPy's.

mod batch;
mod builtin;
mod columns;
mod error;
mod labels;
mod load;
mod source;
mod table;
mod text_stream;
mod token_file;
mod tokenizer;
mod tokens;

pub use batch::{Batch, batch, order};
pub use builtin::{builtin_text, builtin_vocabulary};
pub use error::DataError;
pub use load::{TextRows, TextSplits, load_text};
pub use source::source_sha256;
pub use text_stream::TextStream;
pub use tokenizer::Tokenizer;
pub use tokens::{SpecialTokens, TokenSplits, Tokens, tokenise};
