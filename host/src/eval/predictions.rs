//! From a head's outputs to what is predicted for each row.

use lorahost_plugin_api::protocol::DataKind;
use serde::Serialize;
use tch::{Kind, TchError, Tensor};

use crate::data::{Label, Text, TextRows, Tokens};

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
    Tags {
        words: Vec<String>,
        labels: Vec<String>,
        /// By word; none for one that the model saw no token of, because it has none or lies after the last position.
        predicted: Vec<Option<String>>,
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
    /// Of rows with classes or tags; none of other rows, or of none.
    #[must_use]
    pub fn of(predictions: &[Prediction], labels: &[String]) -> Option<Self> {
        if predictions.is_empty() || labels.is_empty() {
            return None;
        }
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
                    .filter_map(|(label, predicted)| Some((label, predicted.as_ref()?)))
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

/// Whether rows of this kind have predictions; else the outputs are scores of words.
pub(super) fn has_predictions(kind: DataKind) -> bool {
    matches!(
        kind,
        DataKind::Classes | DataKind::Numbers | DataKind::Pairs | DataKind::Tags
    )
}

/// The rows of a split, as text and as tokens.
pub(super) struct Rows<'a> {
    pub text: &'a TextRows,
    pub tokens: &'a Tokens,
    /// Names of classes or tags.
    pub labels: &'a [String],
    /// Of rows that are words, for each word the place in its row of its first token.
    pub firsts: Vec<Vec<Option<usize>>>,
}

impl Rows<'_> {
    /// The places among all hidden states that are predicted from, and their number: of texts, or of tokens.
    pub fn places(&self) -> (Vec<i64>, usize) {
        if self.firsts.is_empty() {
            let texts = self.tokens.rows();
            return ((0..texts as i64).collect(), texts);
        }
        let (mut places, mut start) = (Vec::new(), 0);
        for (row, firsts) in self.firsts.iter().enumerate() {
            places.extend(firsts.iter().flatten().map(|first| (start + first) as i64));
            start += self.tokens.row(row).len();
        }
        (places, start)
    }

    /// What is predicted for each row from the outputs `[places, outputs]`.
    pub fn predictions(&self, outputs: &Tensor) -> Result<Vec<Prediction>, TchError> {
        let outputs = outputs.f_to_kind(Kind::Double)?;
        let best = outputs.f_argmax(1, false)?;
        let mut best = Vec::<i64>::try_from(best)?.into_iter();
        let mut firsts = self.firsts.iter();
        let rows = self.text.rows.iter().enumerate();
        rows.map(|(at, row)| {
            Ok(match (&row.text, &row.label) {
                (Text::Words(words), label) => {
                    let mut of_word = |first: &Option<usize>| {
                        first.and_then(|_| best.next()).map(|best| self.name(best))
                    };
                    let tags = match label {
                        Some(Label::Tags(tags)) => tags.as_slice(),
                        _ => &[],
                    };
                    Prediction::Tags {
                        words: words.clone(),
                        labels: tags.iter().map(|tag| self.name(i64::from(*tag))).collect(),
                        predicted: firsts
                            .next()
                            .into_iter()
                            .flatten()
                            .map(&mut of_word)
                            .collect(),
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
                            Some(Label::Class(class)) => Some(self.name(i64::from(*class))),
                            _ => None,
                        },
                        predicted: self.name(logits.f_argmax(0, false)?.f_int64_value(&[])?),
                        probabilities,
                    }
                }
            })
        })
        .collect()
    }

    fn name(&self, class: i64) -> String {
        let known = usize::try_from(class).ok();
        let known = known.and_then(|class| self.labels.get(class));
        known.cloned().unwrap_or_else(|| class.to_string())
    }
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
