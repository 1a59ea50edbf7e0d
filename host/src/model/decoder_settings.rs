//! What Llama, Qwen2 and Qwen3 read of `config.json` alike, and the heads that they have alike.

use serde_json::json;

use super::{Activation, Config, DecoderShape, HeadDescription, HeadLayer, ModelError, Pooled};

/// Parameters beside the decoder, and those that older files hold though they are computed.
pub(super) const HEAD_ROOTS: &[&str] = &["lm_head.", "score.", "qa_outputs."];
pub(super) const HARMLESS: &[&str] = &["model.*rotary_emb.inv_freq"];

/// The settings that all three have; biases and norms of heads as Llama's defaults.
pub(super) fn shape(config: &Config) -> Result<DecoderShape, ModelError> {
    config.refuse_others(&[
        ("pretraining_tp", json!(1)),
        ("add_cross_attention", json!(false)),
        ("is_encoder_decoder", json!(false)),
        ("pruned_heads", json!({})),
        ("quantization_config", json!(null)),
    ])?;
    refuse_layer_types(config)?;
    let vocabulary = config.size("vocab_size")?;
    let hidden = config.size("hidden_size")?;
    let heads = config.size("num_attention_heads")?;
    let key_heads = config
        .optional_size("num_key_value_heads")?
        .unwrap_or(heads);
    config.divides(heads, "num_key_value_heads", key_heads)?;
    Ok(DecoderShape {
        vocabulary,
        max_positions: positions(config)?,
        layers: config.size("num_hidden_layers")?,
        heads,
        key_heads,
        head_dim: head_dim(config, hidden, heads)?,
        hidden,
        intermediate: config.size("intermediate_size")?,
        activation: config.activation_or("hidden_act", Activation::Silu)?,
        norm_eps: config.positive("rms_norm_eps", 1e-6)?,
        attention_dropout: config.dropout("attention_dropout", 0.0)?,
        padding: padding(config, vocabulary)?,
        input_bias: false,
        output_bias: false,
        mlp_bias: false,
        head_norms: false,
    })
}

/// Refuses windows that attention does not see beyond.
pub(super) fn refuse_windows(config: &Config) -> Result<(), ModelError> {
    config.refuse_others(&[("use_sliding_window", json!(false))])?;
    for of_windows in ["sliding_window", "max_window_layers"] {
        // Without windows it does not matter how large they would be.
        let _ = config.present(of_windows);
    }
    Ok(())
}

/// Refuses layers of another kind than full attention.
fn refuse_layer_types(config: &Config) -> Result<(), ModelError> {
    let key = "layer_types";
    match config.present(key) {
        Some(value)
            if value
                .as_array()
                .is_none_or(|types| types.iter().any(|t| t != "full_attention")) =>
        {
            Err(config.wrong(
                key,
                value,
                "\"full_attention\" everywhere; no other is served",
            ))
        }
        _ => Ok(()),
    }
}

pub(super) fn positions(config: &Config) -> Result<i64, ModelError> {
    config.size("max_position_embeddings")
}

/// The score, without bias, of the row's last token, whose hidden state alone has seen the whole row.
pub(super) fn pooled(config: &Config, outputs: i64) -> Result<HeadDescription, ModelError> {
    let hidden = config.size("hidden_size")?;
    Ok(HeadDescription::new(
        "pooled",
        Some(Pooled::Last),
        hidden,
        outputs,
        vec![HeadLayer::linear("score", hidden, outputs).without_bias()],
    ))
}

/// Dropout, the score.
pub(super) fn tokens(config: &Config, outputs: i64) -> Result<HeadDescription, ModelError> {
    let hidden = config.size("hidden_size")?;
    // transformers asks for these in this order.
    let default = config.dropout("hidden_dropout", 0.1)?;
    let dropout = config.dropout("classifier_dropout", default)?;
    let score = HeadLayer::linear("score", hidden, outputs).input_dropout(dropout);
    let score = if config.flag("token_classification_bias", true)? {
        score
    } else {
        score.without_bias()
    };
    Ok(HeadDescription::new(
        "tokens",
        None,
        hidden,
        outputs,
        vec![score],
    ))
}

/// A score of every token of the vocabulary as the next one.
pub(super) fn causal(config: &Config, _: i64) -> Result<HeadDescription, ModelError> {
    let (hidden, vocabulary) = (config.size("hidden_size")?, config.size("vocab_size")?);
    let scores = HeadLayer::linear("lm_head", hidden, vocabulary).without_bias();
    let scores = if config.flag("tie_word_embeddings", false)? {
        scores.tied()
    } else {
        scores
    };
    Ok(HeadDescription::new(
        "causal",
        None,
        hidden,
        vocabulary,
        vec![scores],
    ))
}

/// The widest head: a wider one is a mistake in `config.json`, found before memory is spent on the angles of its turns.
const WIDEST_HEAD: i64 = 1 << 16;

/// The width of a head, even, so that halves can be turned against each other.
fn head_dim(config: &Config, hidden: i64, heads: i64) -> Result<i64, ModelError> {
    let (key, width) = if let Some(width) = config.optional_size("head_dim")? {
        ("head_dim", width)
    } else {
        config.divides(hidden, "num_attention_heads", heads)?;
        ("hidden_size", hidden / heads)
    };
    if width % 2 == 0 && width <= WIDEST_HEAD {
        return Ok(width);
    }
    let value = config.present(key).cloned().unwrap_or_default();
    let expected = format!("heads of an even width of at most {WIDEST_HEAD}");
    Err(config.wrong(key, &value, &expected))
}

/// The row that stands for nothing; -1 is none, as the first Llama files have it.
fn padding(config: &Config, vocabulary: i64) -> Result<Option<i64>, ModelError> {
    match config.present("pad_token_id") {
        Some(value) if *value == json!(-1) => Ok(None),
        _ => config.token("pad_token_id", vocabulary),
    }
}
