//! Rows of text to rows of tokens, by the kind of data.

use lorahost_plugin_api::protocol::DataKind;

use super::blocks::blocks_of;
use super::error::DataError;
use super::load::{Label, Text, TextRows, TextSplits};
use super::token_file::{Common, Labels, Layout, NO_TAG, SplitContent, Truncation, bytes_of};
use super::tokenizer::{Encoded, Tokenizer, WordsOfTokens};
use super::tokens::TokenSplits;
use crate::spec::DataSpec;

/// The spec with lengths that fit a model of that many positions: `max_length` is at most those, blocks are by default
/// as long, but no longer than 1,024 tokens, and `stride` is by default a block.
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
        _ => rows_of(rows, tokenizer, spec.max_length),
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
    content.truncation = Truncation {
        texts: encoded.len(),
        cut: encoded
            .iter()
            .filter(|encoded| encoded.length > encoded.ids.len())
            .count(),
        longest: encoded
            .iter()
            .map(|encoded| encoded.length)
            .max()
            .unwrap_or(0),
    };
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
    let encoded = tokenizer.encode_words(&words(rows), max_length)?;
    let (mut all, mut tags) = (Vec::with_capacity(rows.len()), Vec::new());
    for (row, (encoded, words)) in rows.rows.iter().zip(encoded) {
        let mut of_tokens = vec![NO_TAG; encoded.ids.len()];
        if let Some(Label::Tags(of_words)) = &row.label {
            for (first, &tag) in firsts(&words, of_words.len()).into_iter().zip(of_words) {
                if let Some(first) = first {
                    of_tokens[first] = tag as i32;
                }
            }
        }
        tags.extend(of_tokens);
        all.push(encoded);
    }
    Ok((all, tags))
}

/// For each word of each row the place among the row's tokens of the word's first, where it has one.
///
/// # Errors
/// As [`tokenise`].
pub fn first_tokens(
    rows: &TextRows,
    tokenizer: &Tokenizer,
    max_length: usize,
) -> Result<Vec<Vec<Option<usize>>>, DataError> {
    let words = words(rows);
    let encoded = tokenizer.encode_words(&words, max_length)?;
    let rows = encoded.iter().zip(&words);
    Ok(rows
        .map(|((_, of_tokens), words)| firsts(of_tokens, words.len()))
        .collect())
}

/// The first token of each of `count` words, from the word of each token.
fn firsts(of_tokens: &WordsOfTokens, count: usize) -> Vec<Option<usize>> {
    let mut firsts = vec![None; count];
    for (token, word) in of_tokens.iter().enumerate() {
        if let Some(first) = word.and_then(|word| firsts.get_mut(word as usize)) {
            first.get_or_insert(token);
        }
    }
    firsts
}

/// The words of each row.
fn words(rows: &TextRows) -> Vec<&[String]> {
    let words = rows.rows.iter().map(|row| match &row.text {
        Text::Words(words) => words.as_slice(),
        _ => &[],
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{BatchLabels, batch, builtin_vocabulary, load_text};

    fn tokenizer() -> Tokenizer {
        Tokenizer::from_vocabulary(&builtin_vocabulary()).unwrap()
    }

    /// The splits of a train file, the validation split being a copy of it.
    fn tokens_of(
        kind: DataKind,
        name: &str,
        content: &str,
        change: impl FnOnce(&mut DataSpec),
    ) -> Result<TokenSplits, DataError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        std::fs::write(&file, content).unwrap();
        let mut spec = DataSpec {
            kind,
            train_file: Some(file.clone()),
            validation_file: Some(file),
            ..crate::data::load::test_spec()
        };
        change(&mut spec);
        tokenise(&load_text(&spec)?, &tokenizer(), &within(&spec, 64)?)
    }

    #[test]
    fn text_becomes_tokens() {
        let spec = DataSpec {
            path: Some("builtin:topics".into()),
            test_size: Some(100),
            max_length: 16,
            ..crate::data::load::test_spec()
        };
        let text = load_text(&spec).unwrap();
        let splits = tokenise(&text, &tokenizer(), &spec).unwrap();
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
        let Some(Label::Class(class)) = text.test.rows[5].label else {
            panic!("topics have classes")
        };
        assert_eq!(
            splits.test.labels(&[5]),
            Some(BatchLabels::Whole(vec![i64::from(class)]))
        );
        assert_eq!(splits.special.mask, Some(4));
        assert!(
            (0..1800).all(|row| splits.train.row(row).all(|id| id != 1)),
            "no word is unknown"
        );
        let again = tokenise(&load_text(&spec).unwrap(), &tokenizer(), &spec).unwrap();
        let ids = |splits: &TokenSplits| {
            (0..1800)
                .map(|row| splits.train.row(row).collect())
                .collect::<Vec<Vec<u32>>>()
        };
        assert_eq!(ids(&again), ids(&splits));
    }

    #[test]
    fn the_first_token_of_a_word_has_its_tag() {
        let csv = "words,tags\nthe zz chef zz,O X O X\n";
        let splits = tokens_of(DataKind::Tags, "a.csv", csv, |_| {}).unwrap();
        // [CLS] the z ##z chef z ##z [SEP]
        let labels = batch(&splits.train, &[0]).labels;
        assert_eq!(
            labels,
            Some(BatchLabels::Whole(vec![-100, 0, 1, -100, 0, 1, -100, -100]))
        );
        let cut = tokens_of(DataKind::Tags, "a.csv", csv, |spec| spec.max_length = 5).unwrap();
        assert_eq!(
            batch(&cut.train, &[0]).labels,
            Some(BatchLabels::Whole(vec![-100, 0, 1, -100, -100]))
        );
    }

    #[test]
    fn a_word_has_its_first_token_or_none() {
        let of_tokens = vec![None, Some(0), Some(0), Some(2), None];
        assert_eq!(firsts(&of_tokens, 4), [Some(1), None, Some(3), None]);
    }

    #[test]
    fn pairs_stay_together() {
        let rows =
            (0..6).map(|n| format!("{{\"chosen\": \"the {n}\", \"rejected\": \"chef {n}\"}}\n"));
        let splits = tokens_of(
            DataKind::Pairs,
            "a.jsonl",
            &rows.collect::<String>(),
            |_| {},
        )
        .unwrap();
        assert_eq!((splits.train.rows(), splits.train.units()), (12, 6));
        let packed = batch(&splits.train, &[4, 1]);
        assert_eq!((packed.labels, packed.bytes), (None, None));
        let rows: Vec<&[i64]> = packed
            .offsets
            .windows(2)
            .map(|ends| &packed.ids[ends[0] as usize..ends[1] as usize])
            .collect();
        assert_eq!(rows.len(), 4);
        for pair in rows.chunks(2) {
            assert_ne!(pair[0][1], pair[1][1]);
            assert_eq!(
                pair[0][2], pair[1][2],
                "both texts of a pair end with its number"
            );
        }
    }

    #[test]
    fn lengths_must_fit_the_model() {
        let blocks = |block_size, stride| {
            let text = "the chef baked .\n".repeat(60);
            tokens_of(DataKind::Blocks, "a.txt", &text, |spec| {
                spec.block_size = block_size;
                spec.stride = stride;
            })
            .map(|splits| (splits.train.rows(), splits.validation.rows()))
            .map_err(|error| error.to_string())
        };
        // 6 tokens a line, with [CLS] and [SEP].
        assert_eq!(blocks(None, None), Ok((5, 5)));
        assert_eq!(blocks(Some(36), Some(12)), Ok((28, 10)));
        assert_eq!(
            blocks(Some(65), None).unwrap_err(),
            "data.block_size 65 is more than the model's 64 positions"
        );
        assert_eq!(
            blocks(Some(8), Some(9)).unwrap_err(),
            "data.stride 9 is more than data.block_size 8: text between two blocks would be lost"
        );
        let short = tokens_of(
            DataKind::Blocks,
            "a.txt",
            "the chef .\nthe chef .\n",
            |_| {},
        );
        assert_eq!(
            short.unwrap_err().to_string(),
            "the train split has 10 tokens, which is less than one block of 64: \
             lower data.block_size, or give it more text"
        );
    }
}
