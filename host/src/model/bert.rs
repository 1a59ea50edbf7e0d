//! BERT (arXiv 1810.04805).

use serde_json::json;

use super::architecture::{Architecture, Encoder, Layout};
use super::{
    Activation, Config, HeadDescription, HeadLayer, Loader, ModelError, Names, Pooled,
    PostNormEncoder, Shape,
};

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_type: "bert",
    prefix: "bert.",
    head_roots: &["cls.", "classifier.", "qa_outputs."],
    harmless: &[
        "bert.embeddings.position_ids",
        "bert.embeddings.token_type_ids",
        "bert.pooler.",
    ],
    positions,
    encoder,
    layouts: &[
        Layout {
            name: "pooled",
            class: "BertForSequenceClassification",
            describe: pooled,
        },
        Layout {
            name: "vocabulary",
            class: "BertForMaskedLM",
            describe: vocabulary,
        },
        Layout {
            name: "tokens",
            class: "BertForTokenClassification",
            describe: tokens,
        },
    ],
};

pub(super) const NAMES: Names = Names {
    prefix: ARCHITECTURE.prefix,
    blocks: "encoder.layer",
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    attention_output: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    output_norm: "output.LayerNorm",
};

fn encoder(config: &Config, loader: &mut Loader) -> Result<Box<dyn Encoder>, ModelError> {
    let shape = shape(config)?;
    Ok(Box::new(PostNormEncoder::load(shape, &NAMES, loader)?))
}

/// The settings of BERT and of what is built like it.
pub(super) fn shape(config: &Config) -> Result<Shape, ModelError> {
    config.refuse_others(&[
        ("position_embedding_type", json!("absolute")),
        ("is_decoder", json!(false)),
        ("add_cross_attention", json!(false)),
        ("is_encoder_decoder", json!(false)),
        ("pruned_heads", json!({})),
        ("quantization_config", json!(null)),
    ])?;
    let vocabulary = config.size("vocab_size")?;
    let (hidden, heads) = (
        config.size("hidden_size")?,
        config.size("num_attention_heads")?,
    );
    config.divides(hidden, "num_attention_heads", heads)?;
    Ok(Shape {
        vocabulary,
        positions: positions(config)?,
        first_position: 0,
        segments: config.size("type_vocab_size")?,
        layers: config.size("num_hidden_layers")?,
        heads,
        hidden,
        intermediate: config.size("intermediate_size")?,
        activation: config.activation("hidden_act")?,
        norm_eps: norm_eps(config)?,
        hidden_dropout: config.dropout("hidden_dropout_prob", 0.1)?,
        attention_dropout: config.dropout("attention_probs_dropout_prob", 0.1)?,
        padding: config.token("pad_token_id", vocabulary)?,
    })
}

/// The pretrained pooler on the first token, dropout, the classifier.
fn pooled(config: &Config, outputs: i64) -> Result<HeadDescription, ModelError> {
    let hidden = config.size("hidden_size")?;
    Ok(HeadDescription::new(
        "pooled",
        Some(Pooled::First),
        hidden,
        outputs,
        vec![
            HeadLayer::linear("bert.pooler.dense", hidden, hidden)
                .activation(Activation::Tanh)
                .dropout(classifier_dropout(config)?),
            HeadLayer::linear("classifier", hidden, outputs),
        ],
    ))
}

/// Dropout, the classifier.
pub(super) fn tokens(config: &Config, outputs: i64) -> Result<HeadDescription, ModelError> {
    let hidden = config.size("hidden_size")?;
    Ok(HeadDescription::new(
        "tokens",
        None,
        hidden,
        outputs,
        vec![
            HeadLayer::linear("classifier", hidden, outputs)
                .input_dropout(classifier_dropout(config)?),
        ],
    ))
}

/// A score of every token of the vocabulary at every position.
fn vocabulary(config: &Config, _: i64) -> Result<HeadDescription, ModelError> {
    config.refuse_others(&[("tie_word_embeddings", json!(true))])?;
    let (hidden, vocabulary) = (config.size("hidden_size")?, config.size("vocab_size")?);
    Ok(HeadDescription::new(
        "vocabulary",
        None,
        hidden,
        vocabulary,
        vec![
            HeadLayer::linear("cls.predictions.transform.dense", hidden, hidden)
                .activation(config.activation("hidden_act")?),
            HeadLayer::norm(
                "cls.predictions.transform.LayerNorm",
                hidden,
                norm_eps(config)?,
            ),
            HeadLayer::linear("cls.predictions.decoder", hidden, vocabulary)
                .tied()
                .bias_named("cls.predictions.bias"),
        ],
    ))
}

fn positions(config: &Config) -> Result<i64, ModelError> {
    config.size("max_position_embeddings")
}

pub(super) fn classifier_dropout(config: &Config) -> Result<f64, ModelError> {
    let default = config.dropout("hidden_dropout_prob", 0.1)?;
    config.dropout("classifier_dropout", default)
}

pub(super) fn norm_eps(config: &Config) -> Result<f64, ModelError> {
    config.positive("layer_norm_eps", 1e-12)
}
