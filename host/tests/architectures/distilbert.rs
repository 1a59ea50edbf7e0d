use serde_json::json;

use crate::folder::{Copy, Outcome, says};

const FAMILY: &str = "tiny-distilbert-reference";

#[test]
fn settings_that_are_not_served_are_named() -> Outcome {
    Copy::of(FAMILY)?.refuses(&[
        ("sinusoidal_pos_embds", json!(true)),
        ("is_decoder", json!(true)),
        ("is_encoder_decoder", json!(true)),
        ("activation", json!("gelu_fast")),
        ("n_heads", json!(5)),
        ("n_layers", json!(0)),
        ("dim", json!(null)),
        ("hidden_dim", json!("wide")),
        ("max_position_embeddings", json!(null)),
        ("dropout", json!(1)),
        ("attention_dropout", json!(-0.1)),
        ("pad_token_id", json!(200)),
        ("pruned_heads", json!({"0": [1]})),
        ("quantization_config", json!({"bits": 4})),
    ])
}

#[test]
fn settings_of_a_head_are_refused_where_it_is_needed() -> Outcome {
    let copy = Copy::of(FAMILY)?;
    copy.set("tie_word_embeddings", json!(false))?;
    copy.set("seq_classif_dropout", json!(1.5))?;
    let mut model = copy.open()?;
    model.build_head("tokens", 4)?;
    let error = model.build_head("vocabulary", 1).unwrap_err();
    says(&error, &["`tie_word_embeddings` is false"]);
    let error = model.build_head("pooled", 4).unwrap_err();
    says(&error, &["`seq_classif_dropout` is 1.5"]);
    Ok(())
}
