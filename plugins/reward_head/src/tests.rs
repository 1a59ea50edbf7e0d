//! Loss and accuracy against values computed by hand, on the fake host.

use lorahost_plugin_api::testing::{self, TestHead, integers, json, tensor};

use super::*;

fn head() -> Result<TestHead<Reward>> {
    TestHead::new(testing::params(json!({}))?, &Task::default(), 1)
}

/// Sum of the loss over pairs whose texts have these rewards: each text has two tokens, of which the head sees the
/// first.
fn forward(head: &mut TestHead<Reward>, rewards: &[f64], training: bool) -> Result<(f64, u64)> {
    let rows = rewards.len() as i64;
    let hidden: Vec<f64> = rewards.iter().flat_map(|&value| [value, 99.0]).collect();
    let offsets: Vec<i64> = (0..=rows).map(|row| 2 * row).collect();
    let batch = Batch {
        tokens: &integers(&vec![7; hidden.len()])?,
        offsets: &integers(&offsets)?,
        labels: None,
        bytes: None,
    };
    head.forward(&tensor(&hidden, &[2 * rows, 1])?, &batch, training)
}

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-12, "{found}, not {expected}");
}

#[test]
fn the_loss_is_the_sum_over_pairs_in_any_order() -> Result<()> {
    let mut head = head()?;
    assert_eq!(head.plan().layout, "pooled");
    assert_eq!(head.plan().outputs, Some(1));
    let (sum, count) = forward(&mut head, &[1.5, 0.5, -1.0, 2.0], true)?;
    let nll = |margin: f64| (1.0 + (-margin).exp()).ln();
    close(sum, nll(1.0) + nll(-3.0));
    assert_eq!(count, 2);
    close(forward(&mut head, &[-1.0, 2.0, 1.5, 0.5], true)?.0, sum);
    // Only the difference counts, however large the rewards are.
    close(forward(&mut head, &[11.5, 10.5, 9.0, 12.0], true)?.0, sum);
    close(forward(&mut head, &[0.0, 1000.0], true)?.0, 1000.0);
    Ok(())
}

#[test]
fn equal_rewards_count_half() -> Result<()> {
    let mut head = head()?;
    head.reset()?;
    forward(&mut head, &[0.0, 1.0], true)?;
    forward(&mut head, &[2.0, 1.0, 1.0, 2.0, 3.0, 3.0], false)?;
    forward(&mut head, &[5.0, -5.0], false)?;
    let metrics = head.metrics(0.5)?;
    close(metrics.values["accuracy"], 2.5 / 4.0);
    assert_eq!(metrics.values["nll"], 0.5);
    assert_eq!(
        (metrics.headline.as_str(), metrics.short.as_str()),
        ("accuracy", "acc")
    );
    assert!(metrics.higher_is_better);
    head.reset()?;
    // What is not a number is not right.
    forward(&mut head, &[f64::NAN, 1.0, 2.0, 1.0], false)?;
    close(head.metrics(0.5)?.values["accuracy"], 0.5);
    Ok(())
}

#[test]
fn rows_that_are_no_pairs_are_refused() -> Result<()> {
    let error = forward(&mut head()?, &[1.0, 2.0, 3.0], true).expect_err("three rows");
    let expected = "3 rows are no pairs of a chosen and a rejected text";
    assert_eq!(error.to_string(), expected);
    Ok(())
}
