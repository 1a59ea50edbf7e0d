//! Prints the `tokenizer.json` of `builtin:tiny-gpt2`: byte pairs merged over the built-in prose, as GPT-2 does. The
//! first step of `scripts/pretrain-tiny-gpt2`.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use lorahost::data::builtin_text;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Result, TokenizerBuilder};

/// Entries of the vocabulary: every byte, the end of text, and merges.
const ENTRIES: usize = 1024;

fn main() -> Result<()> {
    let bytes = ByteLevel::new(false, true, true);
    let mut tokenizer = TokenizerBuilder::new()
        .with_model(BPE::default())
        .with_normalizer(None::<tokenizers::NormalizerWrapper>)
        .with_pre_tokenizer(Some(bytes))
        .with_post_processor(Some(ByteLevel::new(false, false, true)))
        .with_decoder(Some(bytes))
        .build()?;
    let mut trainer = BpeTrainer::builder()
        .vocab_size(ENTRIES)
        .show_progress(false)
        .special_tokens(vec![AddedToken::from("<|endoftext|>", true)])
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let text = builtin_text("topic-prose").chain(builtin_text("prose"));
    println!("{}", tokenizer.train(&mut trainer, text)?.to_string(true)?);
    Ok(())
}
