//! From a [`DataSpec`](crate::spec::DataSpec) to tokens that all runs of a sweep share.
//!
//! [`load_text`] reads and splits, [`tokenise`] turns text into one block of tokens, [`TokenSplits::write`] and
//! [`TokenSplits::map`] hand that block to the workers as one file, and [`batch`] packs rows of it for a model: no
//! padding anywhere.
//!
//! # What is read
//! - **CSV** (`.csv`): RFC 4180 quoting. **TSV** (`.tsv`): no quoting, as IANA has it. **JSON Lines** (`.jsonl`, `.json`):
//!   an object a line, whose keys are columns. **Parquet**, compressed by snappy or zstd: columns of text, numbers, and
//!   lists of them. **Plain text** (`.txt`): a row is a line that is not blank, without a label; for blocks a row is
//!   every line with its line feed, so that the rows together are the file (`run_clm.py` with `keep_linebreaks`, its
//!   default).
//! - **A folder** holds `train`, and if they exist `validation` (or `valid`, `dev`) and `test`, each with one of these
//!   extensions; a split may be in parts (`train-00000-of-00002.parquet`) or be a folder of files (`train/0000.parquet`).
//!   They lie in the folder itself, in its folder `data`, or in its only other folder with such files: this is how the
//!   Hugging Face hub lays them out. A set without test rows has an empty test split. **A file** is the train split.
//! - **A header** is the first row of CSV and TSV if it holds a column that was named or, none named, one of the usual
//!   names (`text`, `sentence`, `title` and `description`, ..., `label`, `class`, `category`, ...). `title+description`
//!   joins columns by a space. Numbers do not name columns of a header.
//! - **Without a header** the columns are called 1, 2, 3, ...: 1 is the label, the others are joined to the text. This
//!   is AG News as published: class, title, description.
//! - **Labels** that are whole numbers count classes: from 0 where columns have names, from 1 without a header and in a
//!   column called `Class Index`. Other labels are names; their order is that of the sorted names of the train split.
//!   The train split settles how many classes there are, whatever is later cut from it.
//! - **Names of classes** that the data's description has go before that: what `datasets` writes into Parquet, else the
//!   folder's `dataset_infos.json`, `dataset_info.json` or the head of its `README.md`. Labels are then numbers from 0, or
//!   those names.
//! - Text stays as it is, HTML remnants and backslashes included.
//!
//! # What rows are
//! The task head says which [`DataKind`](lorahost_plugin_api::protocol::DataKind) it learns from.
//! - `classes`: a text, and its class where the data has labels. `text`: a text; a label column is not looked at.
//! - `numbers`: a text and a finite number.
//! - `tags`: words and a tag for each (columns `tokens` or `words`, and `ner_tags`, `tags`, ...): lists, or in CSV words
//!   and tags with single spaces between them. The first token of a word carries its tag, the others and special tokens
//!   have -100.
//! - `pairs`: a chosen and a rejected text (columns `chosen` and `rejected`), which are never taken apart.
//! - `blocks`: all texts of a split in their order, joined and cut into blocks of `data.block_size` tokens; the sizes of
//!   splits count blocks.
//!
//! # How it is split
//! The train rows are always shuffled, by the stream (`split_seed`, "data", "split"): files are often sorted by class.
//! Without a validation file, the last `validation_fraction` of them, rounded up, become the validation split. A
//! validation or test file keeps its order. Then each split keeps its first `train_size`, `validation_size`,
//! `test_size` rows. This is the original study's procedure; its rows differ, since its shuffle was NumPy's. Text for
//! blocks is not shuffled: the validation split is the end of it.

mod batch;
mod blocks;
mod builtin;
mod columns;
mod delimited;
mod error;
mod features;
mod inspect;
mod json_lines;
mod labels;
mod load;
mod parquet_file;
mod parquet_pages;
mod rows;
mod source;
mod table;
mod text_stream;
mod token_file;
mod tokenise;
mod tokenizer;
mod tokens;

pub use batch::{Batch, batch, order};
pub use builtin::{builtin_text, builtin_vocabulary};
pub use error::{DataError, Place, Unit};
pub use inspect::{ColumnFound, Cut, Inspection, Lengths, SplitFound, inspect};
pub use load::{Label, Text, TextRow, TextRows, TextSplits, load_text};
pub use source::source_sha256;
pub(crate) use table::FORMATS;
pub use text_stream::TextStream;
pub use tokenise::{first_tokens, tokenise, within};
pub use tokenizer::{Covered, Encoded, Tokenizer};
pub use tokens::{BatchLabels, SpecialTokens, TokenSplits, Tokens, Truncation};
