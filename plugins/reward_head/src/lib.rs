//! A reward for each text from pairs of a chosen and a rejected one (Bradley-Terry; arXiv 2203.02155).

use std::collections::BTreeMap;

use lorahost_plugin_api::prelude::*;

/// -log sigmoid(reward of the chosen text - reward of the rejected one); accuracy.
#[derive(Params)]
struct Reward {
    #[param(skip)]
    observed: Observed,
}

/// What an evaluation has seen.
#[derive(Default)]
struct Observed {
    pairs: u64,
    /// Pairs whose chosen text has the larger reward; equal rewards count half, as a guess would.
    right: f64,
}

impl TaskHead for Reward {
    const DATA: DataKind = DataKind::Pairs;

    const SEES: Sees = Sees::Pooled;

    fn plan(&mut self, _task: &Task) -> Result<HeadPlan> {
        Ok(HeadPlan {
            layout: "pooled".to_owned(),
            outputs: Some(1),
        })
    }

    /// Row 2i is the chosen text of pair i, row 2i + 1 the rejected one.
    fn forward(
        &mut self,
        hidden: &Tensor,
        batch: &Batch<'_>,
        ctx: &HeadContext<'_>,
    ) -> Result<Loss> {
        let rewards = ctx.through(&ctx.pool(hidden, batch)?)?;
        let rows = rewards.shape()?[0];
        if rows % 2 != 0 {
            let message = format!("{rows} rows are no pairs of a chosen and a rejected text");
            return Err(Error::new(message));
        }
        let pairs = rewards.reshape(&[rows / 2, 2])?;
        let margin = pairs.select(1, 0)?.sub_tensor(&pairs.select(1, 1)?)?;
        Ok(Loss {
            sum: -&margin.log_sigmoid()?.sum()?,
            count: (rows / 2).cast_unsigned(),
            predictions: Some(margin.detach()?),
        })
    }

    fn reset(&mut self) {
        self.observed = Observed::default();
    }

    fn observe(&mut self, loss: &Loss, _batch: &Batch<'_>) -> Result<()> {
        if let Some(margin) = &loss.predictions {
            for margin in margin.to_f64()? {
                self.observed.pairs += 1;
                self.observed.right += match margin {
                    0.0 => 0.5,
                    margin if margin > 0.0 => 1.0,
                    _ => 0.0,
                };
            }
        }
        Ok(())
    }

    fn metrics(&self, loss: f64) -> Result<Metrics> {
        let accuracy = self.observed.right / self.observed.pairs as f64;
        Ok(Metrics {
            values: BTreeMap::from([("nll".to_owned(), loss), ("accuracy".to_owned(), accuracy)]),
            headline: "accuracy".to_owned(),
            short: "acc".to_owned(),
            higher_is_better: true,
        })
    }
}

export_plugin! { head "reward" => Reward }

#[cfg(test)]
mod tests;
