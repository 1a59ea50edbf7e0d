//! One number for each row: squared error on the model's pooled head; Pearson's and Spearman's correlation.

use std::collections::BTreeMap;

use lorahost_plugin_api::prelude::*;

mod correlation;

use correlation::{pearson, spearman};

/// Squared error on a number for whole rows; correlation with the true ones.
#[derive(Params)]
struct Regression {
    #[param(skip)]
    observed: Observed,
}

/// The numbers of an evaluation, true and predicted.
#[derive(Default)]
struct Observed {
    labels: Vec<f64>,
    predicted: Vec<f64>,
}

impl TaskHead for Regression {
    const DATA: DataKind = DataKind::Numbers;

    const SEES: Sees = Sees::Pooled;

    fn plan(&mut self, _task: &Task) -> Result<HeadPlan> {
        Ok(HeadPlan {
            layout: "pooled".to_owned(),
            outputs: Some(1),
        })
    }

    fn forward(
        &mut self,
        hidden: &Tensor,
        batch: &Batch<'_>,
        ctx: &HeadContext<'_>,
    ) -> Result<Loss> {
        let labels = batch.expect_labels()?;
        let predicted = ctx.through(&ctx.pool(hidden, batch)?)?.squeeze(1)?;
        Ok(Loss {
            sum: predicted.sub_tensor(labels)?.square()?.sum()?,
            count: labels.shape()?[0].cast_unsigned(),
            predictions: Some(predicted.detach()?),
        })
    }

    fn reset(&mut self) {
        self.observed = Observed::default();
    }

    fn observe(&mut self, loss: &Loss, batch: &Batch<'_>) -> Result<()> {
        if let Some(predicted) = &loss.predictions {
            self.observed
                .labels
                .extend(batch.expect_labels()?.to_f64()?);
            self.observed.predicted.extend(predicted.to_f64()?);
        }
        Ok(())
    }

    /// The correlations are NaN where either side is constant: there is none to speak of.
    fn metrics(&self, loss: f64) -> Result<Metrics> {
        let Observed { labels, predicted } = &self.observed;
        let errors = labels
            .iter()
            .zip(predicted)
            .map(|(label, predicted)| (predicted - label).abs());
        Ok(Metrics {
            values: BTreeMap::from([
                ("mse".to_owned(), loss),
                ("mae".to_owned(), errors.sum::<f64>() / labels.len() as f64),
                ("pearson".to_owned(), pearson(labels, predicted)),
                ("spearman".to_owned(), spearman(labels, predicted)),
            ]),
            headline: "pearson".to_owned(),
            short: "pearson".to_owned(),
            higher_is_better: true,
        })
    }
}

export_plugin! { head "regression" => Regression }

#[cfg(test)]
mod tests;
