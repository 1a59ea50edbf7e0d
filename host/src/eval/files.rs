//! Predictions as JSON Lines or CSV.

use std::io::{self, Write};
use std::path::Path;

use super::{EvalError, Prediction};
use crate::atomic;

/// In a CSV in the place of a tag that is not predicted: each word has its place between the spaces.
const NO_TAG: &str = "_";

/// How predictions are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    JsonLines,
    Csv,
}

impl Form {
    /// By the end of the file's name.
    ///
    /// # Errors
    /// An end that means neither.
    pub fn of(path: &Path) -> Result<Self, EvalError> {
        match path.extension().and_then(|end| end.to_str()) {
            Some("jsonl" | "ndjson") => Ok(Self::JsonLines),
            Some("csv") => Ok(Self::Csv),
            _ => Err(EvalError::Form {
                path: path.to_owned(),
            }),
        }
    }
}

/// Writes one prediction a line, the file whole or not at all.
///
/// # Errors
/// Where it cannot be written.
pub fn write(
    path: &Path,
    form: Form,
    predictions: &[Prediction],
    labels: &[String],
) -> Result<(), EvalError> {
    let written = atomic::write(path, |file| match form {
        Form::JsonLines => json_lines(file, predictions),
        Form::Csv => csv(file, predictions, labels),
    });
    written.map_err(|error| EvalError::Write {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

fn json_lines(mut out: impl Write, predictions: &[Prediction]) -> io::Result<()> {
    for prediction in predictions {
        let line = serde_json::to_string(prediction)?;
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn csv(out: impl Write, predictions: &[Prediction], labels: &[String]) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    if let Some(first) = predictions.first() {
        writer.write_record(header(first, labels))?;
    }
    for prediction in predictions {
        writer.write_record(cells(prediction))?;
    }
    writer.flush()
}

fn header(prediction: &Prediction, labels: &[String]) -> Vec<String> {
    let names = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    match prediction {
        Prediction::Class { .. } => {
            let of_classes = labels.iter().map(|label| format!("p({label})"));
            let first = names(&["text", "label", "predicted"]);
            first.into_iter().chain(of_classes).collect()
        }
        Prediction::Number { .. } => names(&["text", "label", "predicted"]),
        Prediction::Tags { .. } => names(&["words", "labels", "predicted"]),
        Prediction::Pair { .. } => names(&["chosen", "rejected", "chosen_score", "rejected_score"]),
    }
}

fn cells(prediction: &Prediction) -> Vec<String> {
    match prediction {
        Prediction::Class {
            text,
            label,
            predicted,
            probabilities,
        } => {
            let first = [
                text.clone(),
                label.clone().unwrap_or_default(),
                predicted.clone(),
            ];
            let probabilities = probabilities.iter().map(f64::to_string);
            first.into_iter().chain(probabilities).collect()
        }
        Prediction::Number {
            text,
            label,
            predicted,
        } => vec![
            text.clone(),
            label.map(|label| label.to_string()).unwrap_or_default(),
            predicted.to_string(),
        ],
        Prediction::Tags {
            words,
            labels,
            predicted,
        } => {
            let predicted = predicted.iter();
            let predicted: Vec<&str> = predicted
                .map(|tag| tag.as_deref().unwrap_or(NO_TAG))
                .collect();
            vec![words.join(" "), labels.join(" "), predicted.join(" ")]
        }
        Prediction::Pair {
            chosen,
            rejected,
            chosen_score,
            rejected_score,
        } => vec![
            chosen.clone(),
            rejected.clone(),
            chosen_score.to_string(),
            rejected_score.to_string(),
        ],
    }
}
