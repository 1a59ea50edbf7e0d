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
        content.bytes.push(predicted.iter().map(|&count| u64::from(count)).sum());
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
