//! One tag for each word: cross-entropy on its first token; F1 of entities, accuracy of tags.

use std::collections::BTreeMap;

use lorahost_plugin_api::prelude::*;

mod entities;

use entities::{Counts, Tag};

/// Cross-entropy over tags of words; F1 of entities where the tags are B-, I-, E-, S- and O.
#[derive(Params)]
struct TokenClassification {
    /// The tags in the order of their numbers; none where they do not mark entities.
    #[param(skip)]
    tags: Option<Vec<Tag>>,
    #[param(skip)]
    observed: Observed,
}

/// What an evaluation has seen.
#[derive(Default)]
struct Observed {
    words: u64,
    right: u64,
    entities: Counts,
}

/// The label of a token without tag.
const IGNORE: i64 = -100;

impl TaskHead for TokenClassification {
    const DATA: DataKind = DataKind::Tags;

    fn plan(&mut self, task: &Task) -> Result<HeadPlan> {
        let tags = task.labels.len();
        if tags < 2 {
            return Err(Error::new(format!(
                "token-classification needs at least two tags, the data has {tags}"
            ))
            .with_help("name the column of tags with --label-column"));
        }
        self.tags = task.labels.iter().map(|name| Tag::parse(name)).collect();
        Ok(HeadPlan {
            layout: "tokens".to_owned(),
            outputs: Some(tags),
        })
    }

    fn forward(
        &mut self,
        hidden: &Tensor,
        batch: &Batch<'_>,
        ctx: &HeadContext<'_>,
    ) -> Result<Loss> {
        let labels = batch.expect_labels()?;
        let places = labels.ne_scalar(IGNORE as f64)?.nonzero()?.squeeze(1)?;
        let logits = ctx.through(&hidden.index_select(0, &places)?)?;
        Ok(Loss {
            sum: logits.cross_entropy_sum(&labels.index_select(0, &places)?)?,
            count: places.shape()?[0].cast_unsigned(),
            predictions: Some(logits.detach()?),
        })
    }

    fn reset(&mut self) {
        self.observed = Observed::default();
    }

    fn observe(&mut self, loss: &Loss, batch: &Batch<'_>) -> Result<()> {
        let Some(logits) = loss.predictions.as_ref().filter(|_| loss.count > 0) else {
            return Ok(());
        };
        let mut predicted = logits.argmax(1)?.to_i64()?.into_iter();
        let labels = batch.expect_labels()?.to_i64()?;
        for row in batch.offsets.to_i64()?.windows(2) {
            let tokens = &labels[row[0] as usize..row[1] as usize];
            let words = tokens.iter().filter(|label| **label != IGNORE);
            let row: Vec<(i64, i64)> = words.copied().zip(predicted.by_ref()).collect();
            self.observe_row(&row);
        }
        Ok(())
    }

    fn metrics(&self, _loss: f64) -> Result<Metrics> {
        let Observed {
            words,
            right,
            entities,
        } = &self.observed;
        let mut values = BTreeMap::from([("accuracy".to_owned(), *right as f64 / *words as f64)]);
        let (headline, short) = if self.tags.is_some() {
            values.insert("precision".to_owned(), entities.precision());
            values.insert("recall".to_owned(), entities.recall());
            values.insert("f1".to_owned(), entities.f1());
            ("f1", "f1")
        } else {
            ("accuracy", "acc")
        };
        Ok(Metrics {
            values,
            headline: headline.to_owned(),
            short: short.to_owned(),
            higher_is_better: true,
        })
    }
}

impl TokenClassification {
    /// Takes in the words of a row: the true and the predicted tag of each.
    fn observe_row(&mut self, words: &[(i64, i64)]) {
        let right = words.iter().filter(|(label, predicted)| label == predicted);
        self.observed.words += words.len() as u64;
        self.observed.right += right.count() as u64;
        if let Some(tags) = &self.tags {
            // The host checks labels against the names, and predictions are places among as many outputs.
            let tag = |number: i64| usize::try_from(number).ok().and_then(|at| tags.get(at));
            let labels = words.iter().filter_map(|&(label, _)| tag(label));
            let predicted = words.iter().filter_map(|&(_, predicted)| tag(predicted));
            self.observed.entities.add(labels, predicted);
        }
    }
}

export_plugin! { head "token-classification" => TokenClassification }

#[cfg(test)]
mod tests;
