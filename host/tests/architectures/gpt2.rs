use lorahost::model::{Model, Options, Pass};
use lorahost::spec::{HeadMode, Method, Weights};
use serde_json::json;
use tch::{Kind, Tensor};

use crate::folder::{
    Copy, Outcome, close, deviation, hidden, hidden_of, open, open_folder, options, reference, says,
};

const FAMILY: &str = "tiny-gpt2-reference";

#[test]
fn settings_that_are_not_served_are_named() -> Outcome {
    Copy::of(FAMILY)?.refuses(&[
        ("scale_attn_weights", json!(false)),
        ("scale_attn_by_inverse_layer_idx", json!(true)),
        ("reorder_and_upcast_attn", json!(true)),
        ("add_cross_attention", json!(true)),
        ("activation_function", json!("gelu_fast")),
        ("n_head", json!(5)),
        ("n_inner", json!(0)),
        ("n_positions", json!(null)),
        ("layer_norm_epsilon", json!(-1)),
        ("attn_pdrop", json!(1)),
        ("pruned_heads", json!({"0": [1]})),
        ("quantization_config", json!({"bits": 4})),
    ])
}

#[test]
fn the_wide_side_of_the_mlp_is_four_times_the_hidden_states_unless_told() -> Outcome {
    let copy = Copy::of(FAMILY)?;
    copy.set("n_inner", json!(null))?;
    copy.refused(&["`transformer.h.0.mlp.c_fc.weight` has shape [32, 80], expected [32, 128]"]);
    Ok(())
}

#[test]
fn heads_for_a_vocabulary_read_from_one_side() -> Outcome {
    let mut model = open(FAMILY)?;
    let error = model.build_head("vocabulary", 1).unwrap_err();
    says(
        &error,
        &["no head of layout `vocabulary`; it has pooled, tokens, causal"],
    );
    let head = model.build_head("causal", 1)?.description();
    assert_eq!((head.outputs, head.pooled), (200, None));
    let layer = &head.layers[0];
    assert!(layer.tied && layer.pretrained && !layer.bias);
    Ok(())
}

#[test]
fn no_token_sees_a_later_one_or_another_row() -> Outcome {
    let model = open(FAMILY)?;
    let whole = hidden_of(&model, &[4, 5, 6, 7, 8, 9], &[0, 4, 6])?;
    let start = hidden_of(&model, &[4, 5, 6], &[0, 3])?;
    close(&whole.narrow(0, 0, 3), &start, 1e-5);
    let alone = hidden_of(&model, &[8, 9], &[0, 2])?;
    close(&whole.narrow(0, 4, 2), &alone, 1e-5);
    let other = hidden_of(&model, &[40, 5, 6], &[0, 3])?;
    let difference = (start - other).abs().amax([1_i64], false);
    let seen = Vec::<f64>::try_from(difference)?;
    assert!(seen.iter().all(|change| *change > 1e-3), "{seen:?}");
    Ok(())
}

#[test]
fn attention_with_dropout_is_the_same_attention() -> Outcome {
    // So small that nothing is dropped, yet the way with dropout is taken.
    let tiny = Options {
        dropout: Some(1e-9),
        ..options(Weights::Pretrained)
    };
    let model = open_folder(&reference(FAMILY), tiny)?;
    let batch = model.pack(
        &Tensor::from_slice(&[4_i64, 5, 6, 7, 8, 9, 10, 11]),
        &[0, 4, 7, 8],
    )?;
    let by_hand = model.forward(&batch, &Pass::training(5, 0))?;
    close(&by_hand, &hidden(&model)?, 1e-5);
    Ok(())
}

#[test]
fn every_parameter_learns() -> Outcome {
    let mut model = open(FAMILY)?;
    model.build_head("causal", 1)?;
    model.train(Method::Full, HeadMode::Train);
    let batch = model.pack(&Tensor::from_slice(&[4_i64, 5, 6]), &[0, 3])?;
    let hidden = model.forward(&batch, &Pass::training(5, 0))?;
    let scores = model
        .head()?
        .linear("lm_head", &hidden, &Pass::training(5, 0))?;
    scores.square().sum(Kind::Float).backward();
    for parameter in model.parameters() {
        assert!(parameter.tensor.grad().defined(), "{}", parameter.name);
    }
    // Two tables, four layers and two norms in each of two blocks, the last norm; nothing of its own in the head.
    assert_eq!(model.parameters().len(), 2 + 2 * (4 * 2 + 2 * 2) + 2);
    Ok(())
}

#[test]
fn random_weights_follow_the_scheme_of_the_paper() -> Outcome {
    let model = Model::open(
        &reference(FAMILY).display().to_string(),
        options(Weights::Random),
    )?;
    let linears = model.linears();
    let found: Vec<f64> = linears[..4]
        .iter()
        .map(|linear| deviation(linear.weight()))
        .collect();
    // `initializer_range` is 0.1; at the end of a branch it is divided by sqrt(2 layers) = 2.
    for (found, expected) in found.iter().zip([0.1, 0.05, 0.1, 0.05]) {
        assert!((found - expected).abs() < 0.1 * expected, "{found}");
    }
    Ok(())
}
