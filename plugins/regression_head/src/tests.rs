//! Loss by hand, correlations against scipy: `scripts/references/heads.py` made the values.

use lorahost_plugin_api::testing::{self, TestHead, integers, json, tensor};
use serde_json::Value;

use super::*;

fn head() -> Result<TestHead<Regression>> {
    TestHead::new(testing::params(json!({}))?, &Task::default(), 1)
}

/// Sum of the loss over rows whose predictions are `predicted`: each row has two tokens, of which the head sees the
/// first.
fn forward(
    head: &mut TestHead<Regression>,
    labels: &[f64],
    predicted: &[f64],
    training: bool,
) -> Result<(f64, u64)> {
    let rows = labels.len() as i64;
    let hidden: Vec<f64> = predicted.iter().flat_map(|&value| [value, 99.0]).collect();
    let offsets: Vec<i64> = (0..=rows).map(|row| 2 * row).collect();
    let batch = Batch {
        tokens: &integers(&vec![7; hidden.len()])?,
        offsets: &integers(&offsets)?,
        labels: Some(&tensor(labels, &[rows])?),
        bytes: None,
    };
    head.forward(&tensor(&hidden, &[2 * rows, 1])?, &batch, training)
}

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-12, "{found}, not {expected}");
}

#[test]
fn the_loss_is_the_sum_of_squares_in_any_order() -> Result<()> {
    let mut head = head()?;
    assert_eq!(head.plan().layout, "pooled");
    assert_eq!(head.plan().outputs, Some(1));
    let (sum, count) = forward(&mut head, &[1.0, -2.0, 0.5], &[0.0, 1.0, 0.75], true)?;
    close(sum, 1.0 + 9.0 + 0.0625);
    assert_eq!(count, 3);
    let (turned, _) = forward(&mut head, &[0.5, 1.0, -2.0], &[0.75, 0.0, 1.0], true)?;
    close(turned, sum);
    Ok(())
}

#[test]
fn figures_are_those_of_scipy_over_all_batches() -> Result<()> {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../tests/scipy.json"))?;
    let list = |value: &Value| -> Vec<f64> {
        let values = value.as_array().expect("a list").iter();
        values
            .map(|value| value.as_f64().expect("a number"))
            .collect()
    };
    for case in cases {
        let (labels, predicted) = (list(&case["labels"]), list(&case["predicted"]));
        let mut head = head()?;
        head.reset()?;
        // What is not evaluated does not count.
        forward(&mut head, &[1e6], &[-1e6], true)?;
        let (mut sum, half) = (0.0, labels.len() / 2);
        for rows in [0..half, half..labels.len()] {
            sum += forward(&mut head, &labels[rows.clone()], &predicted[rows], false)?.0;
        }
        let metrics = head.metrics(sum / labels.len() as f64)?;
        for name in ["pearson", "spearman"] {
            close(metrics.values[name], case[name].as_f64().expect("a number"));
        }
        let errors = || {
            labels
                .iter()
                .zip(&predicted)
                .map(|(label, value)| value - label)
        };
        let count = labels.len() as f64;
        let mse = errors().map(|error| error * error).sum::<f64>() / count;
        assert!((metrics.values["mse"] / mse - 1.0).abs() < 1e-12);
        close(
            metrics.values["mae"],
            errors().map(f64::abs).sum::<f64>() / count,
        );
        assert_eq!(metrics.headline, "pearson");
        assert!(metrics.higher_is_better);
    }
    Ok(())
}

#[test]
fn what_is_constant_correlates_with_nothing() -> Result<()> {
    // 0.1 is one of those numbers whose mean over three differs from it.
    for (labels, predicted) in [
        (vec![1.0, 2.0, 3.0], vec![0.1; 3]),
        (vec![0.1; 3], vec![1.0, 2.0, 3.0]),
        (vec![1.0], vec![2.0]),
    ] {
        let mut head = head()?;
        head.reset()?;
        forward(&mut head, &labels, &predicted, false)?;
        let metrics = head.metrics(1.0)?;
        assert!(metrics.values["pearson"].is_nan() && metrics.values["spearman"].is_nan());
        assert!(metrics.values["mae"].is_finite());
    }
    Ok(())
}

#[test]
fn what_is_not_a_number_correlates_with_nothing() {
    let (x, y) = ([1.0, f64::NAN, 3.0], [1.0, 2.0, 4.0]);
    assert!(pearson(&x, &y).is_nan() && spearman(&x, &y).is_nan());
    assert!(pearson(&y, &x).is_nan() && spearman(&y, &x).is_nan());
    assert!(pearson(&[], &[]).is_nan() && spearman(&[], &[]).is_nan());
}

#[test]
fn data_without_numbers_is_refused() -> Result<()> {
    let batch = Batch {
        tokens: &integers(&[1])?,
        offsets: &integers(&[0, 1])?,
        labels: None,
        bytes: None,
    };
    let hidden = tensor(&[0.0], &[1, 1])?;
    let error = head()?
        .forward(&hidden, &batch, true)
        .expect_err("no labels");
    let expected = "the data has no labels (name the column with --label-column)";
    assert_eq!(error.to_string(), expected);
    Ok(())
}
