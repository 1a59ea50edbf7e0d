//! From a head's outputs to what is predicted for each row.

use lorahost_plugin_api::protocol::DataKind;
use serde::Serialize;
use tch::{Kind, TchError, Tensor};

use crate::data::{BatchLabels, Label, Text, TextRows, Tokens};

/// What is predicted for one row, beside what is true.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Prediction {
    Class {
        text: String,
        label: Option<String>,
        predicted: String,
        /// Softmax, in the order of the classes.
        probabilities: Vec<f64>,
    },
    Number {
        text: String,
        label: Option<f64>,
        predicted: f64,
    },
    /// Words after the model's last position have no prediction.
    Tags {
        words: Vec<String>,
        labels: Vec<String>,
        predicted: Vec<String>,
    },
    Pair {
        chosen: String,
        rejected: String,
        chosen_score: f64,
        rejected_score: f64,
    },
}

/// Counts by true and by predicted class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Confusion {
    pub labels: Vec<String>,
    /// `counts[true][predicted]`.
    pub counts: Vec<Vec<u64>>,
}

impl Confusion {
    /// Of rows with classes; none of other rows.
    #[must_use]
    pub fn of(predictions: &[Prediction], labels: &[String]) -> Option<Self> {
        let place = |name: &String| labels.iter().position(|label| label == name);
        let mut counts = vec![vec![0; labels.len()]; labels.len()];
        let mut count = |label: &String, predicted: &String| -> Option<()> {
            *counts.get_mut(place(label)?)?.get_mut(place(predicted)?)? += 1;
            Some(())
        };
        for prediction in predictions {
            match prediction {
                Prediction::Class {
                    label: Some(label),
                    predicted,
                    ..
                } => count(label, predicted)?,
                Prediction::Tags {
                    labels, predicted, ..
                } => labels
                    .iter()
                    .zip(predicted)
                    .try_for_each(|(label, predicted)| count(label, predicted))?,
                _ => return None,
            }
        }
        Some(Self {
            labels: labels.to_vec(),
            counts,
        })
    }
}

/// Rows of the outputs that rows of this kind need; none where they are scores of words.
pub(super) fn expected_outputs(kind: DataKind, tokens: &Tokens) -> Option<usize> {
    match kind {
        DataKind::Classes | DataKind::Numbers | DataKind::Pairs => Some(tokens.rows()),
        DataKind::Tags => Some(tokens.total()),
        _ => None,
    }
}

/// The predictions of `outputs` `[rows, outputs]`, one a row of the data.
pub(super) fn of_rows(
    rows: &TextRows,
    tokens: &Tokens,
    labels: &[String],
    outputs: &Tensor,
) -> Result<Vec<Prediction>, TchError> {
    let outputs = outputs.f_to_kind(Kind::Double)?;
    let name = |class: usize| {
        labels
            .get(class)
            .cloned()
            .unwrap_or_else(|| class.to_string())
    };
    let mut all = Vec::with_capacity(rows.rows.len());
    let mut token = 0;
    for (at, row) in rows.rows.iter().enumerate() {
        all.push(match (&row.text, &row.label) {
            (Text::Words(words), label) => {
                let length = tokens.row(at).len();
                let of_row = outputs.f_narrow(0, token, length as i64)?;
                token += length as i64;
                let best = Vec::<i64>::try_from(of_row.f_argmax(1, false)?)?;
                // The first token of each word that the model saw has the word's tag.
                let tagged = match tokens.labels(&[at]) {
                    Some(BatchLabels::Whole(tags)) => tags,
                    _ => Vec::new(),
                };
                let seen = best.iter().zip(&tagged).filter(|(_, tag)| **tag >= 0);
                let predicted: Vec<String> = seen.map(|(best, _)| name(*best as usize)).collect();
                let labels = match label {
                    Some(Label::Tags(tags)) => tags.iter().map(|tag| name(*tag as usize)).collect(),
                    _ => Vec::new(),
                };
                Prediction::Tags {
                    words: words.clone(),
                    labels,
                    predicted,
                }
            }
            (Text::Pair { chosen, rejected }, _) => {
                let score = |of: usize| outputs.f_double_value(&[(2 * at + of) as i64, 0]);
                Prediction::Pair {
                    chosen: chosen.clone(),
                    rejected: rejected.clone(),
                    chosen_score: score(0)?,
                    rejected_score: score(1)?,
                }
            }
            (Text::One(text), Some(Label::Number(number))) => Prediction::Number {
                text: text.clone(),
                label: Some(f64::from(*number)),
                predicted: outputs.f_double_value(&[at as i64, 0])?,
            },
            (Text::One(text), label) => {
                let logits = outputs.f_get(at as i64)?;
                let probabilities = Vec::<f64>::try_from(logits.f_softmax(0, Kind::Double)?)?;
                Prediction::Class {
                    text: text.clone(),
                    label: match label {
                        Some(Label::Class(class)) => Some(name(*class as usize)),
                        _ => None,
                    },
                    predicted: name(logits.f_argmax(0, false)?.f_int64_value(&[])? as usize),
                    probabilities,
                }
            }
        });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confusion_counts_by_true_and_predicted_class() {
        let class = |label: &str, predicted: &str| Prediction::Class {
            text: String::new(),
            label: Some(label.to_owned()),
            predicted: predicted.to_owned(),
            probabilities: Vec::new(),
        };
        let labels = ["a", "b"].map(str::to_owned);
        let rows = [
            class("a", "b"),
            class("b", "b"),
            class("b", "a"),
            class("b", "b"),
        ];
        let confusion = Confusion::of(&rows, &labels).unwrap();
        assert_eq!(confusion.counts, [[0, 1], [1, 2]]);
        let number = Prediction::Number {
            text: String::new(),
            label: None,
            predicted: 1.0,
        };
        assert_eq!(Confusion::of(&[number], &labels), None);
    }
}
