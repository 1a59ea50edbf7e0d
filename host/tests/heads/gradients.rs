//! Every head's gradients against central differences in float64, for the hidden states and for all that learns in the
//! head.

use std::rc::Rc;

use lorahost::plugins::{HeadAccess, HeadBatch, TaskHead};
use lorahost_plugin_api::protocol::{Pooled, Task};
use serde_json::json;
use tch::{Kind, Tensor};

use crate::lent::{Layer, Lent, Outcome, batch, chunk, forward, head, task, values};

const HIDDEN: i64 = 4;
const VOCABULARY: i64 = 7;
const LENGTHS: [i64; 4] = [3, 1, 5, 2];

#[test]
fn sequence_classification() -> Outcome {
    let head = head(
        "sequence_classification_head",
        "sequence-classification",
        &json!({}),
        &task(&["a", "b", "c"], 7),
    )?;
    let labels = Tensor::from_slice(&[2_i64, 0, 1, 1]);
    check(&head, &batch(&LENGTHS, Some(labels), VOCABULARY), 3)
}

#[test]
fn masked_lm() -> Outcome {
    let head = head("masked_lm_head", "masked-lm", &json!({}), &task(&[], 7))?;
    let labels = Tensor::from_slice(&[-100_i64, 2, -100, 3, -100, -100, 6, 0, -100, 1, -100]);
    check(
        &head,
        &batch(&LENGTHS, Some(labels), VOCABULARY),
        VOCABULARY,
    )
}

#[test]
fn causal_lm() -> Outcome {
    for size in [0, 1, 3, 100] {
        let head = head("causal_lm_head", "causal-lm", &chunk(size), &task(&[], 7))?;
        check(&head, &batch(&LENGTHS, None, VOCABULARY), VOCABULARY)?;
    }
    Ok(())
}

#[test]
fn token_classification() -> Outcome {
    let task = task(&["O", "B-X", "I-X"], 7);
    let head = head(
        "token_classification_head",
        "token-classification",
        &json!({}),
        &task,
    )?;
    let labels = Tensor::from_slice(&[-100_i64, 2, 1, -100, -100, 0, 0, 1, -100, 1, -100]);
    check(&head, &batch(&LENGTHS, Some(labels), VOCABULARY), 3)
}

#[test]
fn regression() -> Outcome {
    let head = head(
        "regression_head",
        "regression",
        &json!({}),
        &Task::default(),
    )?;
    let labels = Tensor::from_slice(&[0.5_f32, -2.0, 1.0, 3.25]);
    check(&head, &batch(&LENGTHS, Some(labels), VOCABULARY), 1)
}

#[test]
fn reward() -> Outcome {
    let head = head("reward_head", "reward", &json!({}), &Task::default())?;
    check(&head, &batch(&LENGTHS, None, VOCABULARY), 1)
}

/// Checks the gradients of a head whose last layer has that many outputs, for LoRA on a frozen layer and for a layer
/// that learns.
fn check(head: &TaskHead, batch: &HeadBatch, outputs: i64) -> Outcome {
    // What arrives at the loss need not be 1.
    const ARRIVES: f64 = 0.25;
    const STEP: f64 = 1e-5;
    let learns = |shape: &[i64], seed| values(shape, seed, Kind::Double).set_requires_grad(true);
    let layers = vec![
        Layer {
            name: "dense",
            weight: values(&[5, HIDDEN], 1, Kind::Double),
            bias: Some(values(&[5], 2, Kind::Double)),
            factors: Some((learns(&[2, HIDDEN], 3), learns(&[5, 2], 4))),
        },
        Layer {
            name: "out",
            weight: learns(&[outputs, 5], 5),
            bias: Some(learns(&[outputs], 6)),
            factors: None,
        },
    ];
    let hidden = learns(&[LENGTHS.iter().sum(), HIDDEN], 7);
    let mut learning: Vec<Tensor> = layers.iter().flat_map(Layer::tensors).collect();
    learning.retain(Tensor::requires_grad);
    assert_eq!(learning.len(), 4);
    learning.push(hidden.shallow_clone());
    let lent = Lent(layers);
    head.layers(&lent.message(Some(Pooled::Last)))?;
    let access: Rc<dyn HeadAccess> = Rc::new(lent);

    let loss = forward(head, &hidden, batch, &access)?;
    assert!(loss.count > 0);
    (loss.sum * ARRIVES).f_backward()?;
    let value = || -> Result<f64, Box<dyn std::error::Error>> {
        Ok(forward(head, &hidden, batch, &access)?
            .sum
            .double_value(&[]))
    };
    for tensor in &learning {
        let gradient = tensor.grad();
        assert!(gradient.defined(), "of shape {:?}", tensor.size());
        for at in 0..tensor.numel() as i64 {
            let mut element = tensor.detach().view(-1).get(at);
            let before = element.double_value(&[]);
            let _ = element.fill_(before + STEP);
            let above = value()?;
            let _ = element.fill_(before - STEP);
            let below = value()?;
            let _ = element.fill_(before);
            let expected = ARRIVES * (above - below) / (2.0 * STEP);
            let found = gradient.view(-1).double_value(&[at]);
            assert!(
                (found - expected).abs() <= 1e-7 * (1.0 + expected.abs()),
                "element {at} of {:?}: {found}, not {expected}",
                tensor.size()
            );
        }
    }
    Ok(())
}
