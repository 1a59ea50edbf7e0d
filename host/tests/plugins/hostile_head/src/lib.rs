//! Task heads that each do one thing wrong, and otherwise classify rows.

use std::collections::BTreeMap;

use lorahost_plugin_api::prelude::*;

/// One way of going wrong: everything that a head does, sound unless a method is replaced.
trait Wrong: Params {
    fn plan(&self, task: &Task) -> Result<HeadPlan> {
        Ok(HeadPlan {
            layout: "pooled".to_owned(),
            outputs: Some(task.labels.len()),
        })
    }

    fn inputs(&self, batch: &Batch<'_>) -> Result<Inputs> {
        Ok(Inputs {
            tokens: batch.tokens.try_clone()?,
            labels: batch.labels.map(Tensor::try_clone).transpose()?,
        })
    }

    fn logits(&self, hidden: &Tensor, batch: &Batch<'_>, ctx: &HeadContext<'_>) -> Result<Tensor> {
        ctx.through(&ctx.pool(hidden, batch)?)
    }

    fn loss(&self, sum: Tensor, rows: u64) -> Result<Loss> {
        Ok(Loss {
            sum,
            count: rows,
            predictions: None,
        })
    }

    fn headline(&self) -> &'static str {
        "nll"
    }
}

/// The head of a way of going wrong.
macro_rules! head {
    ($type:ty) => {
        impl TaskHead for $type {
            fn plan(&mut self, task: &Task) -> Result<HeadPlan> {
                Wrong::plan(self, task)
            }

            fn inputs(&mut self, batch: &Batch<'_>, _ctx: &HeadContext<'_>) -> Result<Inputs> {
                Wrong::inputs(self, batch)
            }

            fn forward(
                &mut self,
                hidden: &Tensor,
                batch: &Batch<'_>,
                ctx: &HeadContext<'_>,
            ) -> Result<Loss> {
                let labels = batch.expect_labels()?;
                let logits = self.logits(hidden, batch, ctx)?;
                let rows = labels.shape()?[0].cast_unsigned();
                self.loss(logits.cross_entropy_sum(labels)?, rows)
            }

            fn metrics(&self, loss: f64) -> Result<Metrics> {
                Ok(Metrics {
                    values: BTreeMap::from([("nll".to_owned(), loss)]),
                    headline: self.headline().to_owned(),
                    short: "nll".to_owned(),
                    higher_is_better: false,
                })
            }
        }
    };
}

/// A loss of two elements.
#[derive(Params)]
struct TwoLosses;

impl Wrong for TwoLosses {
    fn loss(&self, sum: Tensor, rows: u64) -> Result<Loss> {
        Ok(Loss {
            sum: stack(&[&sum, &sum], 0)?,
            count: rows,
            predictions: None,
        })
    }
}

/// A loss without gradients.
#[derive(Params)]
struct Detached;

impl Wrong for Detached {
    fn loss(&self, sum: Tensor, rows: u64) -> Result<Loss> {
        Ok(Loss {
            sum: sum.detach()?,
            count: rows,
            predictions: None,
        })
    }
}

/// Counts nothing, ever.
#[derive(Params)]
struct CountsNothing;

impl Wrong for CountsNothing {
    fn loss(&self, sum: Tensor, _rows: u64) -> Result<Loss> {
        Ok(Loss {
            sum,
            count: 0,
            predictions: None,
        })
    }
}

/// Its headline is not among its metrics.
#[derive(Params)]
struct NoHeadline;

impl Wrong for NoHeadline {
    fn headline(&self) -> &'static str {
        "happiness"
    }
}

/// Tokens that are one too few.
#[derive(Params)]
struct LosesAToken;

impl Wrong for LosesAToken {
    fn inputs(&self, batch: &Batch<'_>) -> Result<Inputs> {
        Ok(Inputs {
            tokens: batch.tokens.slice(0, Some(1), None)?,
            labels: batch.labels.map(Tensor::try_clone).transpose()?,
        })
    }
}

/// Tokens that the model does not have.
#[derive(Params)]
struct InventsTokens;

impl Wrong for InventsTokens {
    fn inputs(&self, batch: &Batch<'_>) -> Result<Inputs> {
        Ok(Inputs {
            tokens: batch.tokens.zeros_like()?.sub_int(-1_000_000)?,
            labels: batch.labels.map(Tensor::try_clone).transpose()?,
        })
    }
}

/// Wants a head that no model has.
#[derive(Params)]
struct Exotic;

impl Wrong for Exotic {
    fn plan(&self, _task: &Task) -> Result<HeadPlan> {
        Ok(HeadPlan {
            layout: "crystal-ball".to_owned(),
            outputs: Some(2),
        })
    }
}

/// Wants a head without outputs.
#[derive(Params)]
struct Mute;

impl Wrong for Mute {
    fn plan(&self, _task: &Task) -> Result<HeadPlan> {
        Ok(HeadPlan {
            layout: "pooled".to_owned(),
            outputs: Some(0),
        })
    }
}

/// Wants fewer outputs than there are classes.
#[derive(Params)]
struct Narrow;

impl Wrong for Narrow {
    fn plan(&self, _task: &Task) -> Result<HeadPlan> {
        Ok(HeadPlan {
            layout: "pooled".to_owned(),
            outputs: Some(2),
        })
    }
}

/// Applies the layers twice, so that nobody can tell which outputs are a row's.
#[derive(Params)]
struct LooksTwice;

impl Wrong for LooksTwice {
    fn logits(&self, hidden: &Tensor, batch: &Batch<'_>, ctx: &HeadContext<'_>) -> Result<Tensor> {
        let pooled = ctx.pool(hidden, batch)?;
        Ok((ctx.through(&pooled)? + ctx.through(&pooled)?) / 2.0)
    }
}

/// Changes its logits where the loss needs them as they were.
#[derive(Params)]
struct Rewrites;

impl Wrong for Rewrites {
    fn logits(&self, hidden: &Tensor, batch: &Batch<'_>, ctx: &HeadContext<'_>) -> Result<Tensor> {
        let logits = ctx.through(&ctx.pool(hidden, batch)?)?;
        let exponentials = op("aten::exp").arg(&logits).tensor()?;
        let sum = &exponentials + &logits;
        op("aten::zero_").arg(&exponentials).run()?;
        Ok(sum)
    }
}

head!(TwoLosses);
head!(Detached);
head!(CountsNothing);
head!(NoHeadline);
head!(LosesAToken);
head!(InventsTokens);
head!(Exotic);
head!(Mute);
head!(Narrow);
head!(LooksTwice);
head!(Rewrites);

export_plugin! {
    head "two-losses" => TwoLosses,
    head "detached" => Detached,
    head "counts-nothing" => CountsNothing,
    head "no-headline" => NoHeadline,
    head "loses-a-token" => LosesAToken,
    head "invents-tokens" => InventsTokens,
    head "exotic" => Exotic,
    head "mute" => Mute,
    head "narrow" => Narrow,
    head "looks-twice" => LooksTwice,
    head "rewrites" => Rewrites,
}
