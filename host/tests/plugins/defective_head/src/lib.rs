//! Task heads that a run would take, each with one defect that `lorahost plugin check` finds. All but that classify rows,
//! or with `CountsAll` tokens.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use lorahost_plugin_api::prelude::*;

/// Rows whose class was found, and all rows.
#[derive(Default)]
struct Right {
    right: f64,
    rows: f64,
}

impl Right {
    fn observe(&mut self, loss: &Loss, batch: &Batch<'_>) -> Result<()> {
        if let Some(logits) = &loss.predictions {
            let found = logits.argmax(1)?.to_i64()?;
            let labels = batch.expect_labels()?.to_i64()?;
            let right = found
                .iter()
                .zip(&labels)
                .filter(|(found, label)| found == label);
            self.right += right.count() as f64;
            self.rows += labels.len() as f64;
        }
        Ok(())
    }

    fn metrics(&self) -> Metrics {
        Metrics {
            values: BTreeMap::from([("accuracy".to_owned(), self.right / self.rows)]),
            headline: "accuracy".to_owned(),
            short: "acc".to_owned(),
            higher_is_better: true,
        }
    }
}

fn logits(hidden: &Tensor, batch: &Batch<'_>, ctx: &HeadContext<'_>) -> Result<Tensor> {
    ctx.through(&ctx.pool(hidden, batch)?)
}

fn classes(layout: &str, task: &Task) -> HeadPlan {
    HeadPlan {
        layout: layout.to_owned(),
        outputs: Some(task.labels.len()),
    }
}

/// A classifier whose loss is changed: the sum over rows, the logits, the labels, and what came in.
macro_rules! classifier {
    ($(#[$doc:meta])* $type:ident $(sees $sees:ident)?, |$sum:ident, $logits:ident, $labels:ident, $hidden:ident| $loss:block) => {
        $(#[$doc])*
        #[derive(Params)]
        struct $type {
            #[param(skip)]
            right: Right,
        }

        impl TaskHead for $type {
            $(const SEES: Sees = Sees::$sees;)?

            fn plan(&mut self, task: &Task) -> Result<HeadPlan> {
                Ok(classes("pooled", task))
            }

            fn forward(&mut self, $hidden: &Tensor, batch: &Batch<'_>, ctx: &HeadContext<'_>) -> Result<Loss> {
                let $labels = batch.expect_labels()?;
                let $logits = logits($hidden, batch, ctx)?;
                let $sum = $logits.cross_entropy_sum($labels)?;
                Ok(Loss {
                    sum: $loss,
                    count: $labels.shape()?[0].cast_unsigned(),
                    predictions: Some($logits.detach()?),
                })
            }

            fn reset(&mut self) {
                self.right = Right::default();
            }

            fn observe(&mut self, loss: &Loss, batch: &Batch<'_>) -> Result<()> {
                self.right.observe(loss, batch)
            }

            fn metrics(&self, _loss: f64) -> Result<Metrics> {
                Ok(self.right.metrics())
            }
        }
    };
}

classifier! {
    /// Answers the mean for the sum.
    Mean, |sum, logits, labels, hidden| {
        let _ = hidden;
        sum / labels.shape()?[0] as f64
    }
}

classifier! {
    /// Looks at all tokens, and says that one a row is enough.
    Blinkered sees Pooled, |sum, logits, labels, hidden| {
        let _ = (&labels, &logits);
        sum + hidden.square()?.sum()?
    }
}

classifier! {
    /// Counts a penalty that autograd does not see.
    Detached, |sum, logits, labels, hidden| {
        let _ = (&labels, hidden);
        sum + logits.detach()?.square()?.sum()?
    }
}

classifier! {
    /// Counts the first row twice.
    Partial, |sum, logits, labels, hidden| {
        let _ = hidden;
        let first = |tensor: &Tensor| tensor.slice(0, Some(0), Some(1));
        sum + first(&logits)?.cross_entropy_sum(&first(labels)?)?
    }
}

classifier! {
    /// Answers another loss each time.
    Moody, |sum, logits, labels, hidden| {
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        let _ = (&labels, hidden);
        sum * (1.0 + CALLS.fetch_add(1, Ordering::Relaxed) as f64 / 1e3)
    }
}

classifier! {
    /// Knows float32 alone.
    Single, |sum, logits, labels, hidden| {
        let _ = (&labels, hidden);
        sum.to_kind(Kind::Float)?
    }
}

classifier! {
    /// Forgets a tensor in each batch.
    Keeps, |sum, logits, labels, hidden| {
        let _ = (&labels, hidden);
        std::mem::forget(Tensor::zeros(&[1])?);
        sum
    }
}

classifier! {
    /// Wants the classes of a batch to rise from its first row to its last.
    Ordered, |sum, logits, labels, hidden| {
        let _ = (&logits, hidden);
        let kind = sum.kind()?;
        let end = |start| labels.slice(0, Some(start), None)?.select(0, 0)?.to_kind(kind);
        sum + (end(0)? - end(-1)?).relu()?
    }
}

classifier! {
    /// Answers in float64, whatever it got.
    Double, |sum, logits, labels, hidden| {
        let _ = (&logits, labels, hidden);
        sum.to_kind(Kind::Double)?
    }
}

/// Boasts, and remembers earlier evaluations.
#[derive(Params)]
struct Boasts {
    #[param(skip)]
    right: Right,
}

impl TaskHead for Boasts {
    fn plan(&mut self, task: &Task) -> Result<HeadPlan> {
        Ok(classes("pooled", task))
    }

    fn forward(
        &mut self,
        hidden: &Tensor,
        batch: &Batch<'_>,
        ctx: &HeadContext<'_>,
    ) -> Result<Loss> {
        let labels = batch.expect_labels()?;
        let logits = logits(hidden, batch, ctx)?;
        Ok(Loss {
            sum: logits.cross_entropy_sum(labels)?,
            count: labels.shape()?[0].cast_unsigned(),
            predictions: Some(logits.detach()?),
        })
    }

    fn observe(&mut self, loss: &Loss, batch: &Batch<'_>) -> Result<()> {
        self.right.right += 1.0;
        self.right.observe(loss, batch)
    }

    fn metrics(&self, _loss: f64) -> Result<Metrics> {
        Ok(self.right.metrics())
    }
}

/// Takes tokens without tag for tokens of the first one.
#[derive(Params)]
struct CountsAll;

impl TaskHead for CountsAll {
    const DATA: DataKind = DataKind::Tags;

    fn plan(&mut self, task: &Task) -> Result<HeadPlan> {
        Ok(classes("tokens", task))
    }

    fn forward(
        &mut self,
        hidden: &Tensor,
        batch: &Batch<'_>,
        ctx: &HeadContext<'_>,
    ) -> Result<Loss> {
        let labels = batch.expect_labels()?;
        let tagged = labels.masked_fill(&labels.lt_scalar(0.0)?, 0.0)?;
        Ok(Loss {
            sum: ctx.through(hidden)?.cross_entropy_sum(&tagged)?,
            count: labels.shape()?[0].cast_unsigned(),
            predictions: None,
        })
    }

    fn metrics(&self, loss: f64) -> Result<Metrics> {
        Ok(Metrics {
            values: BTreeMap::from([("nll".to_owned(), loss)]),
            headline: "nll".to_owned(),
            short: "nll".to_owned(),
            higher_is_better: false,
        })
    }
}

export_plugin! {
    head "mean" => Mean,
    head "blinkered" => Blinkered,
    head "detached" => Detached,
    head "partial" => Partial,
    head "moody" => Moody,
    head "single" => Single,
    head "ordered" => Ordered,
    head "double" => Double,
    head "keeps" => Keeps,
    head "boasts" => Boasts,
    head "counts-all" => CountsAll,
}
