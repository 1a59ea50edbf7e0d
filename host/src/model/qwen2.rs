//! Qwen2 and Qwen2.5 (arXiv 2407.10671, 2412.15115): biases on query, key and value.

use super::architecture::{Architecture, Encoder, Layout};
use super::decoder_settings::{
    HARMLESS, HEAD_ROOTS, causal, pooled, positions, refuse_windows, shape, tokens,
};
use super::rms_decoder::PREFIX;
use super::{Config, DecoderShape, Loader, ModelError, RmsDecoder};

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_type: "qwen2",
    prefix: PREFIX,
    head_roots: HEAD_ROOTS,
    harmless: HARMLESS,
    positions,
    encoder,
    layouts: &[
        Layout {
            name: "pooled",
            class: "Qwen2ForSequenceClassification",
            describe: pooled,
        },
        Layout {
            name: "tokens",
            class: "Qwen2ForTokenClassification",
            describe: tokens,
        },
        Layout {
            name: "causal",
            class: "Qwen2ForCausalLM",
            describe: causal,
        },
    ],
};

fn encoder(config: &Config, loader: &mut Loader) -> Result<Box<dyn Encoder>, ModelError> {
    refuse_windows(config)?;
    let shape = DecoderShape {
        input_bias: true,
        ..shape(config)?
    };
    Ok(Box::new(RmsDecoder::load(&shape, config, loader)?))
}
