//! Loss and figures against values computed by hand, on the fake host.

use lorahost_plugin_api::protocol::{Activation, HeadLayer, Pooled};
use lorahost_plugin_api::testing::{self, TestHead, integers, json, linear, tensor};

use super::*;

const CLASSES: usize = 3;

fn head() -> Result<TestHead<SequenceClassification>> {
    let task = Task {
        labels: ["a", "b", "c"].map(str::to_owned).to_vec(),
        ..Task::default()
    };
    TestHead::new(testing::params(json!({}))?, &task, 1)
}

/// Rows of 2, 1 and 3 tokens; hidden states `[6, 3]`.
struct Packed {
    tokens: Tensor,
    offsets: Tensor,
    labels: Tensor,
    hidden: Tensor,
}

const HIDDEN: [f64; 18] = [
    0.5, -1.0, 2.0, 9.0, 9.0, 9.0, 1.0, 1.5, -0.5, -2.0, 0.0, 0.25, 8.0, 8.0, 8.0, 0.1, 0.2, 0.3,
];

impl Packed {
    fn new(labels: [i64; 3]) -> Result<Self> {
        Ok(Self {
            tokens: integers(&[10, 11, 12, 13, 14, 15])?,
            offsets: integers(&[0, 2, 3, 6])?,
            labels: integers(&labels)?,
            hidden: tensor(&HIDDEN, &[6, 3])?,
        })
    }

    fn batch(&self) -> Batch<'_> {
        Batch {
            tokens: &self.tokens,
            offsets: &self.offsets,
            labels: Some(&self.labels),
            bytes: None,
        }
    }
}

/// -log softmax(logits)[label], the long way.
fn cross_entropy(logits: &[f64], label: i64) -> f64 {
    let total: f64 = logits.iter().map(|logit| logit.exp()).sum();
    -(logits[usize::try_from(label).unwrap()].exp() / total).ln()
}

#[test]
fn the_loss_is_the_sum_over_pooled_rows() -> Result<()> {
    let packed = Packed::new([2, 0, 1])?;
    let mut head = head()?;
    assert_eq!(head.plan().layout, "pooled");
    assert_eq!(head.plan().outputs, Some(CLASSES));
    for (pooled, rows) in [(Pooled::First, [0, 2, 3]), (Pooled::Last, [1, 2, 5])] {
        head.layers(Vec::new(), Some(pooled))?;
        let (sum, count) = head.forward(&packed.hidden, &packed.batch(), true)?;
        let rows = rows.iter().zip([2, 0, 1]);
        let expected: f64 = rows
            .map(|(row, label)| cross_entropy(&HIDDEN[row * 3..][..3], label))
            .sum();
        assert!(
            (sum - expected).abs() < 1e-12,
            "{pooled:?}: {sum}, not {expected}"
        );
        assert_eq!(count, 3);
    }
    Ok(())
}

#[test]
fn the_layers_of_the_model_are_applied_in_order() -> Result<()> {
    let packed = Packed::new([2, 0, 1])?;
    let mut head = head()?;
    let dense = [1.0, 0.5, 0.0, -1.0, 0.0, 2.0];
    let (out, bias) = ([1.0, 0.0, 0.0, 1.0, 1.0, -1.0], [0.1, 0.2, 0.3]);
    let first = HeadLayer {
        activation: Some(Activation::Relu),
        ..linear("pre_classifier", 3, 2)
    };
    let second = HeadLayer {
        bias: true,
        ..linear("classifier", 2, 3)
    };
    head.layers(
        vec![
            (first, &tensor(&dense, &[2, 3])?, None),
            (second, &tensor(&out, &[3, 2])?, Some(&tensor(&bias, &[3])?)),
        ],
        Some(Pooled::First),
    )?;
    let product = |matrix: &[f64], x: &[f64]| -> Vec<f64> {
        let rows = matrix.chunks(x.len());
        rows.map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum())
            .collect()
    };
    let rows = [0, 2, 3].iter().zip([2, 0, 1]);
    let expected: f64 = rows
        .map(|(row, label)| {
            let hidden = product(&dense, &HIDDEN[row * 3..][..3]);
            let hidden: Vec<_> = hidden.into_iter().map(|x| x.max(0.0)).collect();
            let logits = product(&out, &hidden);
            let logits: Vec<_> = logits.iter().zip(bias).map(|(y, b)| y + b).collect();
            cross_entropy(&logits, label)
        })
        .sum();
    let (sum, _) = head.forward(&packed.hidden, &packed.batch(), false)?;
    assert!((sum - expected).abs() < 1e-12, "{sum}, not {expected}");
    Ok(())
}

#[test]
fn dropout_before_a_layer_falls_on_its_input_in_training_alone() -> Result<()> {
    let packed = Packed::new([2, 0, 1])?;
    let mut head = head()?;
    let dense = [1.0, 0.5, 0.0, -1.0, 0.0, 2.0, 0.0, 1.0, 1.0];
    let dense = tensor(&dense, &[3, 3])?;
    let mut loss = |input_dropout, training| {
        let layer = HeadLayer {
            input_dropout,
            ..linear("classifier", 3, 3)
        };
        head.layers(vec![(layer, &dense, None)], Some(Pooled::First))?;
        Ok::<_, Error>(head.forward(&packed.hidden, &packed.batch(), training)?.0)
    };
    let plain = loss(0.0, true)?;
    assert_eq!(loss(0.999, false)?, plain);
    // Nothing is left of the input, so that all classes are alike.
    let even = 3.0 * 3.0_f64.ln();
    assert!((loss(0.999, true)? - even).abs() < 1e-12);
    assert!((plain - even).abs() > 0.1);
    Ok(())
}

#[test]
fn evaluations_are_observed_and_training_is_not() -> Result<()> {
    let mut head = head()?;
    let metrics = |head: &mut TestHead<SequenceClassification>| head.metrics(1.0);
    // The first tokens of the rows argue for 2, 1 and 2 (their largest hidden value).
    let right = Packed::new([2, 1, 2])?;
    let half = Packed::new([0, 1, 0])?;
    head.reset()?;
    head.forward(&half.hidden, &half.batch(), true)?;
    head.forward(&right.hidden, &right.batch(), false)?;
    assert_eq!(metrics(&mut head)?.values["accuracy"], 1.0);
    head.forward(&half.hidden, &half.batch(), false)?;
    let found = metrics(&mut head)?;
    assert!((found.values["accuracy"] - 4.0 / 6.0).abs() < 1e-12);
    assert_eq!(
        (found.headline.as_str(), found.short.as_str()),
        ("accuracy", "acc")
    );
    assert!(found.higher_is_better);
    head.reset()?;
    head.forward(&half.hidden, &half.batch(), false)?;
    assert!((metrics(&mut head)?.values["accuracy"] - 1.0 / 3.0).abs() < 1e-12);
    Ok(())
}

#[test]
fn figures_agree_with_brute_force() {
    // A linear congruence as a source of labels and predictions.
    let mut state = 7_u64;
    let mut draw = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        i64::from((state >> 33) as u32 % 3)
    };
    let labels: Vec<i64> = (0..200).map(|_| draw()).collect();
    let predicted: Vec<i64> = (0..200).map(|_| draw()).collect();
    let mut confusion = Confusion::new(CLASSES);
    confusion.add(&labels[..150], &predicted[..150]);
    confusion.add(&labels[150..], &predicted[150..]);

    let pairs = || labels.iter().zip(&predicted);
    let count = |holds: &dyn Fn(i64, i64) -> bool| {
        pairs()
            .filter(|&(&label, &predicted)| holds(label, predicted))
            .count() as f64
    };
    let accuracy = count(&|label, predicted| label == predicted) / 200.0;
    let f1 = |class: i64| {
        let both = count(&|label, predicted| label == class && predicted == class);
        let precision = both / count(&|_, predicted| predicted == class);
        let recall = both / count(&|label, _| label == class);
        2.0 * precision * recall / (precision + recall)
    };
    assert!((confusion.accuracy() - accuracy).abs() < 1e-12);
    let macro_f1 = (0..3).map(f1).sum::<f64>() / 3.0;
    assert!((confusion.macro_f1() - macro_f1).abs() < 1e-12);
}

#[test]
fn figures_of_a_small_confusion() {
    let mut confusion = Confusion::new(3);
    confusion.add(&[0, 0, 0, 1, 1, 2], &[0, 0, 1, 1, 1, 0]);
    assert!((confusion.accuracy() - 4.0 / 6.0).abs() < 1e-12);
    // F1: 2*2/(3+3), 2*2/(2+3), 0/(1+0).
    let expected = (4.0 / 6.0 + 4.0 / 5.0 + 0.0) / 3.0;
    assert!((confusion.macro_f1() - expected).abs() < 1e-12);
}

#[test]
fn data_without_classes_or_labels_is_refused() -> Result<()> {
    let scheme = testing::params::<SequenceClassification>(json!({}))?;
    let error = TestHead::new(scheme, &Task::default(), 1)
        .err()
        .map(|error| error.to_string());
    let expected = "classification needs at least two classes, the data has 0 \
                    (name the column of classes with --label-column)";
    assert_eq!(error.as_deref(), Some(expected));

    let packed = Packed::new([0, 1, 2])?;
    let batch = Batch {
        labels: None,
        ..packed.batch()
    };
    let error = head()?
        .forward(&packed.hidden, &batch, true)
        .expect_err("no labels");
    assert!(
        error.to_string().starts_with("the data has no labels"),
        "{error}"
    );
    Ok(())
}
