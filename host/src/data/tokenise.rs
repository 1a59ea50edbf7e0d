//! Rows of text to rows of tokens, by the kind of data.

use lorahost_plugin_api::protocol::DataKind;

use super::blocks::blocks_of;
use super::error::DataError;
use super::load::{Label, Text, TextRows, TextSplits};
use super::token_file::{Common, Labels, Layout, NO_TAG, SplitContent, bytes_of};
use super::tokenizer::{Encoded, Tokenizer};
use super::tokens::TokenSplits;
use crate::spec::DataSpec;

/// The spec with lengths that fit a model of that many positions: `max_length` is at most those, blocks are by default
/// as long, but no longer than [`LONGEST_BLOCK`], and `stride` is by default a block.
///
/// # Errors
/// When a length that was asked for does not fit.
pub fn within(spec: &DataSpec, positions: usize) -> Result<DataSpec, DataError> {
    let mut fitted = DataSpec {
        max_length: spec.max_length.min(positions),
        ..spec.clone()
    };
    if spec.kind == DataKind::Blocks {
        let block_size = spec.block_size.unwrap_or(positions.min(LONGEST_BLOCK));
        if block_size > positions {
            return Err(DataError::BlockSize {
                block_size,
                positions,
            });
        }
        let stride = spec.stride.unwrap_or(block_size);
        if stride > block_size {
            return Err(DataError::Stride { stride, block_size });
        }
        fitted.block_size = Some(block_size);
        fitted.stride = Some(stride);
    }
    Ok(fitted)
}

/// Of a block whose length was not asked for.
pub const LONGEST_BLOCK: usize = 1024;

/// Turns each row into at most `max_length` token ids, special tokens included; or all rows of a split into blocks. The
/// spec is one that [`within`] gave.
///
/// # Errors
/// When `max_length` leaves no room for text, the tokenizer fails, a row has no token at all, or a split has not enough
/// for one block.
pub fn tokenise(
    text: &TextSplits,
    tokenizer: &Tokenizer,
    spec: &DataSpec,
) -> Result<TokenSplits, DataError> {
    let split = |name: &'static str, rows: &TextRows, size: Option<usize>| match text.kind {
        DataKind::Blocks => blocks_of(name, rows, size, tokenizer, spec),
        _ => rows_of(name, rows, tokenizer, spec.max_length),
    };
    let splits = [
        split("train", &text.train, spec.train_size)?,
        split("validation", &text.validation, spec.validation_size)?,
        split("test", &text.test, spec.test_size)?,
    ];
    let common = Common {
        kind: text.kind,
        vocab_size: tokenizer.vocab_size(),
        label_names: text.label_names.clone(),
        special: tokenizer.special_tokens(),
    };
    Ok(TokenSplits::of(Layout::owned(bytes_of(common, &splits))))
}

fn rows_of(
    name: &str,
    rows: &TextRows,
    tokenizer: &Tokenizer,
    max_length: usize,
) -> Result<SplitContent, DataError> {
    let mut content = SplitContent::default();
    let encoded = match rows.rows.first().map(|row| &row.text) {
        Some(Text::Words(_)) => {
            let (encoded, tags) = tagged(rows, tokenizer, max_length)?;
            content.labels = Labels::Tags(tags);
            encoded
        }
        _ => tokenizer.encode_batch(&texts(rows), max_length)?,
    };
    let texts_of_a_row = encoded.len() / rows.len().max(1);
    if let Some(at) = encoded.iter().position(|encoded| encoded.ids.is_empty()) {
        return Err(DataError::NoTokens {
            place: rows.place(at / texts_of_a_row),
        });
    }
    let cut = encoded.iter().filter(|encoded| encoded.cut).count();
    if cut > 0 {
        tracing::info!(
            "{cut} of {} {name} texts are longer than {max_length} tokens and lose their end",
            encoded.len()
        );
    }
    content.ids = encoded.into_iter().map(|encoded| encoded.ids).collect();
    let labels = || rows.rows.iter().filter_map(|row| row.label.as_ref());
    match labels().next() {
        Some(Label::Class(_)) => {
            let classes = labels().filter_map(|label| match label {
                Label::Class(class) => Some(*class),
                _ => None,
            });
            content.labels = Labels::Classes(classes.collect());
        }
        Some(Label::Number(_)) => {
            let numbers = labels().filter_map(|label| match label {
                Label::Number(number) => Some(*number),
                _ => None,
            });
            content.labels = Labels::Numbers(numbers.collect());
        }
        Some(Label::Tags(_)) | None => {}
    }
    Ok(content)
}

/// The texts of all rows; of pairs the chosen one, then the rejected one.
pub(super) fn texts(rows: &TextRows) -> Vec<&str> {
    let texts = rows.rows.iter().flat_map(|row| match &row.text {
        Text::One(text) => [Some(text.as_str()), None],
        Text::Pair { chosen, rejected } => [Some(chosen.as_str()), Some(rejected.as_str())],
        Text::Words(_) => [None, None],
    });
    texts.flatten().collect()
}

/// Words as tokens, and a tag for each token: that of its word for the first of a word, none for the others.
fn tagged(
    rows: &TextRows,
    tokenizer: &Tokenizer,
    max_length: usize,
) -> Result<(Vec<Encoded>, Vec<i32>), DataError> {
    let words = rows.rows.iter().map(|row| match &row.text {
        Text::Words(words) => words.as_slice(),
        _ => &[],
    });
    let words: Vec<&[String]> = words.collect();
    let (mut all, mut tags) = (Vec::with_capacity(rows.len()), Vec::new());
    for (row, (encoded, words)) in rows.rows.iter().zip(tokenizer.encode_words(&words, max_length)?)
    {
        let of_words = match &row.label {
            Some(Label::Tags(tags)) => tags.as_slice(),
            _ => &[],
        };
        let mut before = None;
        for word in words {
            let first = word.filter(|_| word != before);
            let tag = first.and_then(|word| of_words.get(word as usize));
            tags.push(tag.map_or(NO_TAG, |&tag| tag as i32));
            before = word;
        }
        all.push(encoded);
    }
    Ok((all, tags))
}
