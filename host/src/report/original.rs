//! `results.json` in the shape of the original study (Lora-Without-Regret), as Python's `json.dump` writes it.
//!
//! `{"0.0001": {"best_val_loss": .., "test_acc": .., "train_losses": [..], "val_losses": [..]}, ..}`: keys are Python's
//! `str(lr)`, numbers Python's `repr`. Python's `json` reads and writes `NaN` and `Infinity`, which JSON lacks; this file
//! has them where the original would. `test_acc` bears the name of the task's own metric: `test_ppl` for a language
//! model. It is the last epoch's model; nothing is selected. Failed runs, which have no figures, are left out.

use crate::record::{RunRecord, RunResult, Status, python_float};

/// The file's content for the runs of one cell and seed, in the order given.
#[must_use]
pub fn results_json<'a>(records: impl IntoIterator<Item = &'a RunRecord>) -> String {
    let done = records
        .into_iter()
        .filter(|record| record.result.status != Status::Failed);
    let entries: Vec<String> = done.map(entry).collect();
    if entries.is_empty() {
        "{}".to_owned()
    } else {
        format!("{{\n{}\n}}", entries.join(",\n"))
    }
}

fn entry(record: &RunRecord) -> String {
    let RunResult {
        best_val_loss,
        measured,
        ..
    } = &record.result;
    let mut lines = vec![format!("\"best_val_loss\": {}", json_float(*best_val_loss))];
    if let Some((name, value)) = record.result.headline() {
        lines.push(format!("\"test_{name}\": {}", json_float(value)));
    }
    lines.push(format!(
        "\"train_losses\": {}",
        list(&measured.train_losses)
    ));
    lines.push(format!("\"val_losses\": {}", list(&measured.val_losses)));
    let lr = python_float(record.spec.spec.train.lr);
    format!("  \"{lr}\": {{\n    {}\n  }}", lines.join(",\n    "))
}

fn list(values: &[f64]) -> String {
    if values.is_empty() {
        return "[]".to_owned();
    }
    let values: Vec<String> = values.iter().map(|value| json_float(*value)).collect();
    format!("[\n      {}\n    ]", values.join(",\n      "))
}

/// As Python's `json` writes a float.
fn json_float(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 {
            "Infinity".to_owned()
        } else {
            "-Infinity".to_owned()
        }
    } else {
        python_float(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::summary::tests::{record, with_status};

    #[test]
    fn the_file_has_the_shape_of_the_original() {
        let runs = [
            record("full", None, 1e-5, 42, 0.5),
            record("full", None, 1e-4, 42, 0.25),
        ];
        insta::assert_snapshot!(results_json(&runs), @r#"
        {
          "1e-05": {
            "best_val_loss": 0.5,
            "test_acc": 0.5,
            "train_losses": [
              1.5,
              0.75
            ],
            "val_losses": [
              1.25,
              0.5
            ]
          },
          "0.0001": {
            "best_val_loss": 0.25,
            "test_acc": 0.75,
            "train_losses": [
              1.5,
              0.75
            ],
            "val_losses": [
              1.25,
              0.25
            ]
          }
        }
        "#);
        assert_eq!(results_json([]), "{}");
    }

    #[test]
    fn a_diverged_run_has_pythons_nan_and_a_failed_one_is_left_out() {
        let mut diverged = with_status(record("full", None, 1.0, 42, 0.5), Status::Diverged);
        diverged.result.best_val_loss = f64::NAN;
        diverged.result.measured.test = None;
        diverged.result.measured.val_losses = vec![f64::NAN, f64::INFINITY];
        let failed = with_status(record("full", None, 0.1, 42, 0.5), Status::Failed);
        insta::assert_snapshot!(results_json([&diverged, &failed]), @r#"
        {
          "1.0": {
            "best_val_loss": NaN,
            "train_losses": [
              1.5,
              0.75
            ],
            "val_losses": [
              NaN,
              Infinity
            ]
          }
        }
        "#);
    }
}
