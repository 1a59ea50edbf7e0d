//! One component of each kind that panics in the call that `at` names; all else that it does is sound.

use std::collections::BTreeMap;

use lorahost_plugin_api::abi::{HEAD, RANKS};
use lorahost_plugin_api::prelude::*;

fn panic_at(at: &str, call: &str) {
    assert!(at != call, "not in my {call}");
}

/// An init scheme.
#[derive(Params)]
struct Scheme {
    /// The call; none, if it is empty.
    #[param(default = "")]
    at: String,
}

impl InitScheme for Scheme {
    const REQUIRES: &'static [&'static str] = &[RANKS];

    fn ranks(&self, _layers: &[Layer], _ctx: &Context) -> Result<Option<Vec<usize>>> {
        panic_at(&self.at, "ranks");
        Ok(None)
    }

    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        panic_at(&self.at, "init");
        let a = ctx.randn("A", [layer.rank, layer.fan_in])? * 0.1;
        let b = Tensor::zeros(&[layer.fan_out as i64, layer.rank as i64])?;
        Ok(Factors::new(a, b))
    }
}

impl Drop for Scheme {
    fn drop(&mut self) {
        panic_at(&self.at, "drop");
    }
}

/// An alpha policy.
#[derive(Params)]
struct Policy {
    /// The call; none, if it is empty.
    #[param(default = "")]
    at: String,
}

impl AlphaPolicy for Policy {
    fn scale(&self, _layer: &Layer) -> Result<Scale> {
        panic_at(&self.at, "scale");
        Ok(Scale::from(1.0))
    }
}

/// Gradient descent.
#[derive(Params)]
struct Descent {
    /// The call; none, if it is empty.
    #[param(default = "")]
    at: String,
}

impl Optimizer for Descent {
    fn prepare(&mut self, _group: &Group<'_>) -> Result<()> {
        panic_at(&self.at, "prepare");
        Ok(())
    }

    fn step(&mut self, group: &Group<'_>, _step: u64, lr: f64) -> Result<()> {
        panic_at(&self.at, "step");
        for one in &group.parameters {
            if let Some(grad) = one.grad {
                one.value.add_scaled_(grad, -lr * one.info.lr)?;
            }
        }
        Ok(())
    }

    fn state(&self) -> Result<State> {
        panic_at(&self.at, "state");
        Ok(State::default())
    }

    fn load(&mut self, _state: State) -> Result<()> {
        panic_at(&self.at, "load");
        Ok(())
    }

    fn evaluation(&mut self, _group: &Group<'_>, _phase: EvaluationPhase) -> Result<()> {
        panic_at(&self.at, "evaluation");
        Ok(())
    }
}

/// A classifier of rows.
#[derive(Params)]
struct Classifier {
    /// The call; none, if it is empty.
    #[param(default = "")]
    at: String,
}

impl TaskHead for Classifier {
    const REQUIRES: &'static [&'static str] = &[HEAD];

    fn plan(&mut self, task: &Task) -> Result<HeadPlan> {
        panic_at(&self.at, "plan");
        Ok(HeadPlan {
            layout: "pooled".to_owned(),
            outputs: Some(task.labels.len()),
        })
    }

    fn inputs(&mut self, batch: &Batch<'_>, _ctx: &HeadContext<'_>) -> Result<Inputs> {
        panic_at(&self.at, "inputs");
        Ok(Inputs {
            tokens: batch.tokens.try_clone()?,
            labels: batch.labels.map(Tensor::try_clone).transpose()?,
        })
    }

    fn forward(
        &mut self,
        hidden: &Tensor,
        batch: &Batch<'_>,
        ctx: &HeadContext<'_>,
    ) -> Result<Loss> {
        panic_at(&self.at, "forward");
        let labels = batch.expect_labels()?;
        let logits = ctx.through(&ctx.pool(hidden, batch)?)?;
        Ok(Loss {
            sum: logits.cross_entropy_sum(labels)?,
            count: labels.shape()?[0].cast_unsigned(),
            predictions: None,
        })
    }

    fn reset(&mut self) {
        panic_at(&self.at, "reset");
    }

    fn observe(&mut self, _loss: &Loss, _batch: &Batch<'_>) -> Result<()> {
        panic_at(&self.at, "observe");
        Ok(())
    }

    fn metrics(&self, loss: f64) -> Result<Metrics> {
        panic_at(&self.at, "metrics");
        Ok(Metrics {
            values: BTreeMap::from([("nll".to_owned(), loss)]),
            headline: "nll".to_owned(),
            short: "nll".to_owned(),
            higher_is_better: false,
        })
    }
}

export_plugin! {
    init "panics" => Scheme,
    alpha "panics" => Policy,
    optimizer "panics" => Descent,
    head "panics" => Classifier,
}
