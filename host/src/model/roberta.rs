//! RoBERTa (arXiv 1907.11692), and the models that differ from it in name and vocabulary alone: XLM-RoBERTa
//! (arXiv 1911.02116), CamemBERT (arXiv 1911.03894).

use serde_json::json;

use super::architecture::{Architecture, Encoder, Layout};
use super::{
    Activation, Config, HeadDescription, HeadLayer, Loader, ModelError, Names, Pooled,
    PostNormEncoder, Shape, bert,
};

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_type: "roberta",
    prefix: "roberta.",
    head_roots: &["lm_head.", "classifier.", "qa_outputs."],
    harmless: &[
        "roberta.embeddings.position_ids",
        "roberta.embeddings.token_type_ids",
        "roberta.pooler.",
    ],
    positions,
    encoder,
    layouts: &layouts([
        "RobertaForSequenceClassification",
        "RobertaForMaskedLM",
        "RobertaForTokenClassification",
    ]),
};

pub(super) const XLM_ROBERTA: Architecture = Architecture {
    model_type: "xlm-roberta",
    layouts: &layouts([
        "XLMRobertaForSequenceClassification",
        "XLMRobertaForMaskedLM",
        "XLMRobertaForTokenClassification",
    ]),
    ..ARCHITECTURE
};

pub(super) const CAMEMBERT: Architecture = Architecture {
    model_type: "camembert",
    layouts: &layouts([
        "CamembertForSequenceClassification",
        "CamembertForMaskedLM",
        "CamembertForTokenClassification",
    ]),
    ..ARCHITECTURE
};

const NAMES: Names = Names {
    prefix: ARCHITECTURE.prefix,
    ..bert::NAMES
};

const fn layouts([pooled_class, vocabulary_class, tokens_class]: [&'static str; 3]) -> [Layout; 3] {
    [
        Layout {
            name: "pooled",
            class: pooled_class,
            describe: pooled,
        },
        Layout {
            name: "vocabulary",
            class: vocabulary_class,
            describe: vocabulary,
        },
        Layout {
            name: "tokens",
            class: tokens_class,
            describe: bert::tokens,
        },
    ]
}

fn encoder(config: &Config, loader: &mut Loader) -> Result<Box<dyn Encoder>, ModelError> {
    positions(config)?;
    let padding = padding(config)?;
    let shape = Shape {
        first_position: first_position(padding),
        padding: Some(padding),
        ..bert::shape(config)?
    };
    Ok(Box::new(PostNormEncoder::load(shape, &NAMES, loader)?))
}

/// Dropout, a layer on the first token, dropout, the classifier.
fn pooled(config: &Config, outputs: i64) -> Result<HeadDescription, ModelError> {
    let hidden = config.size("hidden_size")?;
    let dropout = bert::classifier_dropout(config)?;
    Ok(HeadDescription::new(
        "pooled",
        Some(Pooled::First),
        hidden,
        outputs,
        vec![
            HeadLayer::linear("classifier.dense", hidden, hidden)
                .input_dropout(dropout)
                .activation(Activation::Tanh)
                .dropout(dropout),
            HeadLayer::linear("classifier.out_proj", hidden, outputs),
        ],
    ))
}

/// A score of every token of the vocabulary at every position. Its activation is GELU, whatever `hidden_act` is.
fn vocabulary(config: &Config, _: i64) -> Result<HeadDescription, ModelError> {
    config.refuse_others(&[("tie_word_embeddings", json!(true))])?;
    let (hidden, vocabulary) = (config.size("hidden_size")?, config.size("vocab_size")?);
    Ok(HeadDescription::new(
        "vocabulary",
        None,
        hidden,
        vocabulary,
        vec![
            HeadLayer::linear("lm_head.dense", hidden, hidden).activation(Activation::Gelu),
            HeadLayer::norm("lm_head.layer_norm", hidden, bert::norm_eps(config)?),
            HeadLayer::linear("lm_head.decoder", hidden, vocabulary)
                .tied()
                .bias_named("lm_head.bias"),
        ],
    ))
}

/// The table of positions less the entries up to that of padding.
fn positions(config: &Config) -> Result<i64, ModelError> {
    let entries = config.size("max_position_embeddings")?;
    let first = first_position(padding(config)?);
    config.at_least("max_position_embeddings", entries, first + 1)?;
    Ok(entries - first)
}

/// Positions count on from the id of the padding token, which is the position of padding.
fn first_position(padding: i64) -> i64 {
    padding + 1
}

fn padding(config: &Config) -> Result<i64, ModelError> {
    let vocabulary = config.size("vocab_size")?;
    Ok(config.token("pad_token_id", vocabulary)?.unwrap_or(1))
}
