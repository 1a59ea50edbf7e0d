//! Tokens to text, piece by piece.

use std::path::Path;

use tokenizers::{
    DecodeStream, DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper,
    PreTokenizerWrapper,
};

use super::error::DataError;

/// Turns tokens to text as they come, special tokens left out. A character of several tokens comes with its last one.
pub struct TextStream<'a> {
    inner: DecodeStream<
        'a,
        ModelWrapper,
        NormalizerWrapper,
        PreTokenizerWrapper,
        PostProcessorWrapper,
        DecoderWrapper,
    >,
    path: &'a Path,
}

impl<'a> TextStream<'a> {
    pub(super) fn new(tokenizer: &'a tokenizers::Tokenizer, path: &'a Path) -> Self {
        let inner = tokenizer.decode_stream(true);
        Self { inner, path }
    }

    /// The text that the token `id` adds; it may be empty.
    ///
    /// # Errors
    /// When the tokenizer fails on it.
    pub fn push(&mut self, id: i64) -> Result<String, DataError> {
        let problem = |problem: String| DataError::Tokenizer {
            path: self.path.to_owned(),
            problem,
        };
        let token = u32::try_from(id).map_err(|_| problem(format!("{id} is no token")))?;
        let text = self.inner.step(token);
        Ok(text
            .map_err(|error| problem(error.to_string()))?
            .unwrap_or_default())
    }
}
