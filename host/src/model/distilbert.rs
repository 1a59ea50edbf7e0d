//! DistilBERT (arXiv 1910.01108).

use serde_json::json;

use super::architecture::{Architecture, Encoder, Layout};
use super::{
    Activation, Config, HeadDescription, HeadLayer, Loader, ModelError, Names, Pooled,
    PostNormEncoder, Shape,
};

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_type: "distilbert",
    prefix: "distilbert.",
    head_roots: &[
        "vocab_transform.",
        "vocab_layer_norm.",
        "vocab_projector.",
        "pre_classifier.",
        "classifier.",
        "qa_outputs.",
    ],
    harmless: &["distilbert.embeddings.position_ids"],
    positions,
    encoder,
    layouts: &[
        Layout {
            name: "pooled",
            class: "DistilBertForSequenceClassification",
            describe: pooled,
        },
        Layout {
            name: "vocabulary",
            class: "DistilBertForMaskedLM",
            describe: vocabulary,
        },
        Layout {
            name: "tokens",
            class: "DistilBertForTokenClassification",
            describe: tokens,
        },
    ],
};

const NAMES: Names = Names {
    prefix: ARCHITECTURE.prefix,
    blocks: "transformer.layer",
    query: "attention.q_lin",
    key: "attention.k_lin",
    value: "attention.v_lin",
    attention_output: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    up: "ffn.lin1",
    down: "ffn.lin2",
    output_norm: "output_layer_norm",
};

/// Not a setting of this architecture.
const NORM_EPS: f64 = 1e-12;

fn encoder(config: &Config, loader: &mut Loader) -> Result<Box<dyn Encoder>, ModelError> {
    config.refuse_others(&[
        ("sinusoidal_pos_embds", json!(false)),
        ("is_decoder", json!(false)),
        ("is_encoder_decoder", json!(false)),
        ("pruned_heads", json!({})),
        ("quantization_config", json!(null)),
    ])?;
    let vocabulary = config.size("vocab_size")?;
    let (hidden, heads) = (config.size("dim")?, config.size("n_heads")?);
    config.divides(hidden, "n_heads", heads)?;
    let shape = Shape {
        vocabulary,
        positions: positions(config)?,
        first_position: 0,
        segments: 0,
        layers: config.size("n_layers")?,
        heads,
        hidden,
        intermediate: config.size("hidden_dim")?,
        activation: config.activation("activation")?,
        norm_eps: NORM_EPS,
        hidden_dropout: config.dropout("dropout", 0.1)?,
        attention_dropout: config.dropout("attention_dropout", 0.1)?,
        padding: config.token("pad_token_id", vocabulary)?,
    };
    Ok(Box::new(PostNormEncoder::load(shape, &NAMES, loader)?))
}

/// A new layer on the first token, dropout, the classifier.
fn pooled(config: &Config, outputs: i64) -> Result<HeadDescription, ModelError> {
    let hidden = config.size("dim")?;
    Ok(HeadDescription::new(
        "pooled",
        Some(Pooled::First),
        hidden,
        outputs,
        vec![
            HeadLayer::linear("pre_classifier", hidden, hidden)
                .activation(Activation::Relu)
                .dropout(config.dropout("seq_classif_dropout", 0.2)?),
            HeadLayer::linear("classifier", hidden, outputs),
        ],
    ))
}

/// Dropout, the classifier.
fn tokens(config: &Config, outputs: i64) -> Result<HeadDescription, ModelError> {
    let hidden = config.size("dim")?;
    Ok(HeadDescription::new(
        "tokens",
        None,
        hidden,
        outputs,
        vec![
            HeadLayer::linear("classifier", hidden, outputs)
                .input_dropout(config.dropout("dropout", 0.1)?),
        ],
    ))
}

/// A score of every token of the vocabulary at every position.
fn vocabulary(config: &Config, _: i64) -> Result<HeadDescription, ModelError> {
    config.refuse_others(&[
        ("tie_word_embeddings", json!(true)),
        ("tie_weights_", json!(true)),
    ])?;
    let (hidden, vocabulary) = (config.size("dim")?, config.size("vocab_size")?);
    Ok(HeadDescription::new(
        "vocabulary",
        None,
        hidden,
        vocabulary,
        vec![
            HeadLayer::linear("vocab_transform", hidden, hidden)
                .activation(config.activation("activation")?),
            HeadLayer::norm("vocab_layer_norm", hidden, NORM_EPS),
            HeadLayer::linear("vocab_projector", hidden, vocabulary).tied(),
        ],
    ))
}

fn positions(config: &Config) -> Result<i64, ModelError> {
    config.size("max_position_embeddings")
}
