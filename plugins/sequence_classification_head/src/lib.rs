//! One class for each row: cross-entropy on the model's pooled head; accuracy and macro-F1.

use std::collections::BTreeMap;

use lorahost_plugin_api::prelude::*;

/// Cross-entropy over classes of whole rows.
#[derive(Params)]
struct SequenceClassification {
    #[param(skip)]
    confusion: Confusion,
}

impl TaskHead for SequenceClassification {
    const SEES: Sees = Sees::Pooled;

    fn plan(&mut self, task: &Task) -> Result<HeadPlan> {
        let classes = task.labels.len();
        if classes < 2 {
            return Err(Error::new(format!(
                "classification needs at least two classes, the data has {classes}"
            ))
            .with_help("name the column of classes with --label-column"));
        }
        self.confusion = Confusion::new(classes);
        Ok(HeadPlan {
            layout: "pooled".to_owned(),
            outputs: Some(classes),
        })
    }

    fn forward(
        &mut self,
        hidden: &Tensor,
        batch: &Batch<'_>,
        ctx: &HeadContext<'_>,
    ) -> Result<Loss> {
        let labels = batch.expect_labels()?;
        let pooled = ctx.pool(hidden, batch)?;
        let logits = ctx.through(&pooled)?;
        Ok(Loss {
            sum: logits.cross_entropy_sum(labels)?,
            count: labels.shape()?[0].cast_unsigned(),
            predictions: Some(logits.detach()?),
        })
    }

    fn reset(&mut self) {
        self.confusion = Confusion::new(self.confusion.classes);
    }

    fn observe(&mut self, loss: &Loss, batch: &Batch<'_>) -> Result<()> {
        if let Some(logits) = &loss.predictions {
            let predicted = logits.argmax(1)?.to_i64()?;
            self.confusion
                .add(&batch.expect_labels()?.to_i64()?, &predicted);
        }
        Ok(())
    }

    fn metrics(&self, _loss: f64) -> Result<Metrics> {
        Ok(Metrics {
            values: BTreeMap::from([
                ("accuracy".to_owned(), self.confusion.accuracy()),
                ("macro_f1".to_owned(), self.confusion.macro_f1()),
            ]),
            headline: "accuracy".to_owned(),
            short: "acc".to_owned(),
            higher_is_better: true,
        })
    }
}

/// Counts of (true class, predicted class).
#[derive(Default)]
struct Confusion {
    classes: usize,
    counts: Vec<u64>,
}

impl Confusion {
    fn new(classes: usize) -> Self {
        Self {
            classes,
            counts: vec![0; classes * classes],
        }
    }

    fn add(&mut self, labels: &[i64], predicted: &[i64]) {
        let class = |value: &i64| {
            usize::try_from(*value)
                .ok()
                .filter(|&class| class < self.classes)
        };
        for place in labels
            .iter()
            .zip(predicted)
            .filter_map(|(label, predicted)| Some(class(label)? * self.classes + class(predicted)?))
        {
            self.counts[place] += 1;
        }
    }

    fn accuracy(&self) -> f64 {
        let right: u64 = (0..self.classes)
            .map(|class| self.counts[class * self.classes + class])
            .sum();
        right as f64 / self.counts.iter().sum::<u64>() as f64
    }

    /// Unweighted mean of F1 over the classes; a class that neither occurs nor is predicted counts as 0, as in
    /// scikit-learn.
    fn macro_f1(&self) -> f64 {
        let f1 = |class: usize| {
            let right = self.counts[class * self.classes + class];
            let occurs: u64 = self.counts[class * self.classes..][..self.classes]
                .iter()
                .sum();
            let predicted: u64 = self.counts.iter().skip(class).step_by(self.classes).sum();
            if occurs + predicted == 0 {
                0.0
            } else {
                2.0 * right as f64 / (occurs + predicted) as f64
            }
        };
        (0..self.classes).map(f1).sum::<f64>() / self.classes as f64
    }
}

export_plugin! { head "sequence-classification" => SequenceClassification }

#[cfg(test)]
mod tests;
