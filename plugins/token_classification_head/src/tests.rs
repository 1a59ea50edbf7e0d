//! Loss by hand, entities against seqeval: `scripts/references/heads.py` made the values.

use lorahost_plugin_api::testing::{self, TestHead, integers, json, tensor};
use serde_json::Value;

use super::*;

fn head(names: &[&str]) -> Result<TestHead<TokenClassification>> {
    let task = Task {
        labels: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Task::default()
    };
    TestHead::new(testing::params(json!({}))?, &task, 1)
}

/// Evaluates rows of labels and predicted tags, with logits that argue for the latter. Around the words of a row stand
/// tokens without label, and one follows each word, whose logits argue for nonsense.
fn evaluate(
    head: &mut TestHead<TokenClassification>,
    rows: &[(Vec<i64>, Vec<i64>)],
    tags: usize,
) -> Result<(f64, u64)> {
    let (mut labels, mut logits, mut offsets) = (Vec::new(), Vec::new(), vec![0]);
    let mut token = |label: i64, predicted: i64| {
        labels.push(label);
        logits.extend((0..tags as i64).map(|tag| f64::from(u8::from(tag == predicted))));
    };
    for (row, predicted) in rows {
        token(IGNORE, 1);
        for (&label, &predicted) in row.iter().zip(predicted) {
            token(label, predicted);
            token(IGNORE, 0);
        }
        offsets.push(offsets[offsets.len() - 1] + 1 + 2 * row.len() as i64);
    }
    let total = labels.len();
    let batch = Batch {
        tokens: &integers(&vec![7; total])?,
        offsets: &integers(&offsets)?,
        labels: Some(&integers(&labels)?),
        bytes: None,
    };
    head.forward(
        &tensor(&logits, &[total as i64, tags as i64])?,
        &batch,
        false,
    )
}

#[test]
fn the_loss_counts_words_alone_in_any_order() -> Result<()> {
    let names = ["O", "B-A", "I-A"];
    let mut head = head(&names)?;
    assert_eq!(head.plan().layout, "tokens");
    assert_eq!(head.plan().outputs, Some(3));
    let rows = [(vec![0, 1], vec![0, 2]), (vec![2], vec![2])];
    let (sum, count) = evaluate(&mut head, &rows, 3)?;
    // Logits are 1 for the predicted tag and 0 for the two others.
    let log_total = (1.0_f64.exp() + 2.0).ln();
    let expected = 2.0 * (log_total - 1.0) + log_total;
    assert!((sum - expected).abs() < 1e-12, "{sum}, not {expected}");
    assert_eq!(count, 3);
    let [first, second] = rows;
    let (turned, _) = evaluate(&mut head, &[second, first], 3)?;
    assert!((turned - sum).abs() < 1e-12);
    assert_eq!(evaluate(&mut head, &[(vec![], vec![])], 3)?, (0.0, 0));
    Ok(())
}

#[test]
fn figures_are_those_of_seqeval_over_all_batches() -> Result<()> {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../tests/seqeval.json"))?;
    for case in cases {
        let names: Vec<String> = serde_json::from_value(case["names"].clone())?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let list = |value: &Value| serde_json::from_value::<Vec<Vec<i64>>>(value.clone());
        let (labels, predicted) = (list(&case["labels"])?, list(&case["predicted"])?);
        let rows: Vec<_> = labels.into_iter().zip(predicted).collect();
        let mut head = head(&names)?;
        evaluate(&mut head, &rows, names.len())?;
        head.reset()?;
        for rows in rows.chunks(5) {
            evaluate(&mut head, rows, names.len())?;
        }
        let metrics = head.metrics(1.0)?;
        for name in ["precision", "recall", "f1", "accuracy"] {
            let (found, expected) = (metrics.values[name], case[name].as_f64().expect("a number"));
            let scheme = &case["scheme"];
            let close = (found - expected).abs() < 1e-12;
            assert!(close, "{scheme}: {name} is {found}, not {expected}");
        }
        assert_eq!(
            (metrics.headline.as_str(), metrics.short.as_str()),
            ("f1", "f1")
        );
        assert!(metrics.higher_is_better);
    }
    Ok(())
}

#[test]
fn tags_that_mark_no_entities_are_measured_by_accuracy() -> Result<()> {
    let mut head = head(&["NOUN", "VERB", "O"])?;
    head.reset()?;
    evaluate(&mut head, &[(vec![0, 1, 2, 1], vec![0, 1, 2, 0])], 3)?;
    let metrics = head.metrics(1.0)?;
    assert_eq!(metrics.values.keys().collect::<Vec<_>>(), ["accuracy"]);
    assert_eq!(metrics.values["accuracy"], 0.75);
    assert_eq!(
        (metrics.headline.as_str(), metrics.short.as_str()),
        ("accuracy", "acc")
    );
    Ok(())
}

#[test]
fn data_without_tags_is_refused() {
    let error = head(&["O"]).err().map(|error| error.to_string());
    let expected = "token-classification needs at least two tags, the data has 1 \
                    (name the column of tags with --label-column)";
    assert_eq!(error.as_deref(), Some(expected));
}
