//! Qwen3 (arXiv 2505.09388): each head of queries and keys is normalised, and heads have a width of their own.

use super::architecture::{Architecture, Encoder, Layout};
use super::decoder_settings::{
    HARMLESS, HEAD_ROOTS, causal, pooled, positions, refuse_windows, shape, tokens,
};
use super::rms_decoder::PREFIX;
use super::{Config, DecoderShape, Loader, ModelError, RmsDecoder};

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_type: "qwen3",
    prefix: PREFIX,
    head_roots: HEAD_ROOTS,
    harmless: HARMLESS,
    positions,
    encoder,
    layouts: &[
        Layout {
            name: "pooled",
            class: "Qwen3ForSequenceClassification",
            describe: pooled,
        },
        Layout {
            name: "tokens",
            class: "Qwen3ForTokenClassification",
            describe: tokens,
        },
        Layout {
            name: "causal",
            class: "Qwen3ForCausalLM",
            describe: causal,
        },
    ],
};

fn encoder(config: &Config, loader: &mut Loader) -> Result<Box<dyn Encoder>, ModelError> {
    refuse_windows(config)?;
    // Its absence means 128, whatever the width.
    config.size("head_dim")?;
    let bias = config.flag("attention_bias", false)?;
    let shape = DecoderShape {
        input_bias: bias,
        output_bias: bias,
        head_norms: true,
        ..shape(config)?
    };
    Ok(Box::new(RmsDecoder::load(&shape, config, loader)?))
}
