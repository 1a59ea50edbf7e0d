use lorahost::model::Model;
use lorahost::spec::Weights;
use serde_json::json;

use crate::folder::{Copy, Outcome, hidden, hidden_of, open, options, says};

const FAMILY: &str = "tiny-roberta-reference";

#[test]
fn settings_that_are_not_served_are_named() -> Outcome {
    Copy::of(FAMILY)?.refuses(&[
        ("position_embedding_type", json!("relative_key")),
        ("is_decoder", json!(true)),
        ("add_cross_attention", json!(true)),
        ("hidden_act", json!("quick_gelu")),
        ("num_attention_heads", json!(5)),
        ("pad_token_id", json!(200)),
        ("pad_token_id", json!(-1)),
        ("max_position_embeddings", json!(2)),
        ("pruned_heads", json!({"0": [1]})),
        ("quantization_config", json!({"bits": 4})),
    ])
}

#[test]
fn a_vocabulary_that_is_not_tied_is_refused_where_it_is_needed() -> Outcome {
    let copy = Copy::of(FAMILY)?;
    copy.set("tie_word_embeddings", json!(false))?;
    let mut model = copy.open()?;
    model.build_head("pooled", 4)?;
    let error = model.build_head("vocabulary", 1).unwrap_err();
    says(&error, &["`tie_word_embeddings` is false"]);
    let error = model.build_head("causal", 1).unwrap_err();
    says(
        &error,
        &["no head of layout `causal`; it has pooled, vocabulary, tokens"],
    );
    Ok(())
}

#[test]
fn positions_begin_behind_the_one_of_padding() -> Outcome {
    let model = open(FAMILY)?;
    assert_eq!(model.max_positions(), 40, "of 42 entries");
    let row: Vec<i64> = (0..40).map(|token| 2 + token).collect();
    let _ = hidden_of(&model, &row, &[0, 40])?;
    let error = hidden_of(&model, &[5; 41], &[0, 41]).unwrap_err();
    says(
        &error,
        &["row 0 has 41 tokens, and the model has 40 positions"],
    );

    let copy = Copy::of(FAMILY)?;
    copy.set("pad_token_id", json!(5))?;
    let later = copy.open()?;
    assert_eq!(later.max_positions(), 36);
    assert!(!hidden(&model)?.equal(&hidden(&later)?));
    Ok(())
}

#[test]
fn the_models_that_differ_in_name_alone_are_the_same() -> Outcome {
    let expected = hidden(&open(FAMILY)?)?;
    for (name, class) in [
        ("xlm-roberta", "XLMRobertaForTokenClassification"),
        ("camembert", "CamembertForTokenClassification"),
    ] {
        let copy = Copy::of(FAMILY)?;
        copy.set("model_type", json!(name))?;
        let model = Model::open(copy.path(), options(Weights::Pretrained))?;
        assert!(expected.equal(&hidden(&model)?));
        assert_eq!(model.architecture().layout("tokens")?.class, class);
    }
    Ok(())
}
