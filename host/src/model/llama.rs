//! Llama (arXiv 2302.13971, 2407.21783), and what is built like it under its name: `SmolLM2`.

use super::architecture::{Architecture, Encoder, Layout};
use super::decoder_settings::{HARMLESS, HEAD_ROOTS, causal, pooled, positions, shape, tokens};
use super::rms_decoder::PREFIX;
use super::{Config, DecoderShape, Loader, ModelError, RmsDecoder};

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_type: "llama",
    prefix: PREFIX,
    head_roots: HEAD_ROOTS,
    harmless: HARMLESS,
    positions,
    encoder,
    layouts: &[
        Layout {
            name: "pooled",
            class: "LlamaForSequenceClassification",
            describe: pooled,
        },
        Layout {
            name: "tokens",
            class: "LlamaForTokenClassification",
            describe: tokens,
        },
        Layout {
            name: "causal",
            class: "LlamaForCausalLM",
            describe: causal,
        },
    ],
};

fn encoder(config: &Config, loader: &mut Loader) -> Result<Box<dyn Encoder>, ModelError> {
    let bias = config.flag("attention_bias", false)?;
    let shape = DecoderShape {
        input_bias: bias,
        output_bias: bias,
        mlp_bias: config.flag("mlp_bias", false)?,
        ..shape(config)?
    };
    Ok(Box::new(RmsDecoder::load(&shape, config, loader)?))
}
