//! Text for language models: all texts of a split joined and cut into blocks of one length, as `run_clm.py` of Hugging
//! Face's transformers does it.
//!
//! - Each text is tokenised whole, with the special tokens that the tokenizer puts around a text: none for GPT-2, the
//!   beginning of a text for Llama.
//! - What is left at the end of a split and fills no block is dropped. `run_clm.py` drops such a rest after every 1,000
//!   texts, because that many go through `datasets.map` together: the blocks are the same up to there.
//! - `data.stride` below `data.block_size` lets the blocks of the train split overlap, so that more tokens are predicted
//!   with a long context; a token then counts in several blocks. Validation and test never overlap: each token counts
//!   once in their figures.

use super::error::DataError;
use super::load::TextRows;
use super::token_file::SplitContent;
use super::tokenise::{LONGEST_BLOCK, texts};
use super::tokenizer::Tokenizer;
use crate::spec::DataSpec;

/// The blocks of a split, at most `size`.
pub(super) fn blocks_of(
    name: &'static str,
    rows: &TextRows,
    size: Option<usize>,
    tokenizer: &Tokenizer,
    spec: &DataSpec,
) -> Result<SplitContent, DataError> {
    let block_size = spec.block_size.unwrap_or(LONGEST_BLOCK);
    let stride = match (name, spec.stride) {
        ("train", Some(stride)) => stride,
        _ => block_size,
    };
    let (mut ids, mut bytes) = (Vec::new(), Vec::new());
    for covered in tokenizer.encode_whole(&texts(rows))? {
        ids.extend(covered.ids);
        bytes.extend(covered.bytes);
    }
    if ids.len() < block_size && !rows.is_empty() {
        return Err(DataError::TooShort {
            split: name,
            tokens: ids.len(),
            block_size,
        });
    }
    let starts = (0..=ids.len().saturating_sub(block_size)).step_by(stride);
    let starts = starts.filter(|start| start + block_size <= ids.len());
    let mut content = SplitContent::default();
    for start in starts.take(size.unwrap_or(usize::MAX)) {
        let block = start..start + block_size;
        let predicted = &bytes[start + 1..block.end];
        content.ids.push(ids[block].to_vec());
        content
            .bytes
            .push(predicted.iter().map(|&count| u64::from(count)).sum());
    }
    if size.is_some_and(|size| size > content.ids.len()) {
        tracing::warn!(
            "{} {name} blocks were asked for, {} are there",
            size.unwrap_or_default(),
            content.ids.len()
        );
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::path::Path;

    use lorahost_plugin_api::protocol::DataKind;
    use serde_json::Value;

    use super::*;
    use crate::data::load::test_spec;
    use crate::data::{load_text, tokenise};

    /// `references/blocks.json` is made by `scripts/references/blocks.py`.
    #[test]
    fn blocks_are_those_of_run_clm() {
        let reference: Value =
            serde_json::from_str(include_str!("references/blocks.json")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("train.txt");
        std::fs::write(&file, reference["text"].as_str().unwrap()).unwrap();
        let spec = DataSpec {
            kind: DataKind::Blocks,
            train_file: Some(file.clone()),
            validation_file: Some(file),
            block_size: Some(reference["block_size"].as_u64().unwrap() as usize),
            ..test_spec()
        };
        let text = load_text(&spec).unwrap();
        for (name, model) in [("stories260K", "stories260K"), ("gpt2", "gpt2-tokenizer")] {
            let data = std::env::var_os("LORAHOST_TEST_DATA");
            let model = data.map(|data| Path::new(&data).join("../models").join(model));
            let Some(model) = model.filter(|model| model.exists()) else {
                // Past the capture of passing tests.
                writeln!(
                    std::io::stderr().lock(),
                    "skipped blocks_are_those_of_run_clm for {name}: LORAHOST_TEST_DATA has no ../models/{name}"
                )
                .unwrap();
                continue;
            };
            let tokenizer = Tokenizer::open(&model).unwrap();
            let splits = tokenise(&text, &tokenizer, &spec).unwrap();
            let blocks: Vec<Vec<u32>> = (0..splits.train.rows())
                .map(|row| splits.train.row(row).collect())
                .collect();
            let expected: Vec<Vec<u32>> =
                serde_json::from_value(reference[name]["blocks"].clone()).unwrap();
            assert_eq!(blocks, expected, "{name}");
            let bytes: Vec<Option<u64>> = (0..splits.train.rows())
                .map(|row| splits.train.bytes(&[row]))
                .collect();
            assert_eq!(serde_json::json!(bytes), reference[name]["bytes"], "{name}");
        }
    }
}
