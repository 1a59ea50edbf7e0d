//! A component of each kind, built against ABI 1 for ever: see ../README.md. Each does what its equal of the catalogue
//! does; with its parameter set it also takes what else the host lends, and comes to the same.

use std::collections::BTreeMap;

use lorahost_plugin_api::abi::{AUTOGRAD, CACHE, COVARIANCE, GRADIENTS, HEAD, RANKS, WEIGHT};
use lorahost_plugin_api::prelude::*;

/// A uniform, B zero.
#[derive(Params)]
struct Uniform {
    /// Factor on the bound.
    #[param(default = 1.0, min = 0.0)]
    gain: f64,
    /// Looks at the weight, its gradient and its inputs, keeps one in the cache, and answers as without.
    #[param(default = false)]
    looks: bool,
}

impl InitScheme for Uniform {
    const REQUIRES: &'static [&'static str] = &[WEIGHT, GRADIENTS, COVARIANCE, CACHE, RANKS];

    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        if self.looks {
            let (wide, tall) = (layer.fan_in as i64, layer.fan_out as i64);
            let [kept] = ctx.cached(layer, "covariance", || Ok([ctx.covariance(layer, 1)?]))?;
            expect("its inputs", &kept, [wide, wide])?;
            expect("its weight", &ctx.weight()?, [tall, wide])?;
            expect("its gradient", &ctx.gradient(layer, 1)?, [tall, wide])?;
            ctx.info("seen");
        }
        let bound = self.gain / (layer.fan_in as f64).sqrt();
        let a = (ctx.rand("A", [layer.rank, layer.fan_in])? * 2.0 - 1.0) * bound;
        let b = Tensor::zeros(&[layer.fan_out as i64, layer.rank as i64])?;
        Ok(Factors::new(a, b))
    }

    fn ranks(&self, layers: &[Layer], _ctx: &Context) -> Result<Option<Vec<usize>>> {
        let ranks = || layers.iter().map(|layer| layer.rank).collect();
        Ok(self.looks.then(ranks))
    }
}

fn expect(what: &str, tensor: &Tensor, shape: [i64; 2]) -> Result<()> {
    let found = tensor.shape()?;
    let finite = tensor.to_f64()?.iter().all(|value| value.is_finite());
    if found == shape && finite {
        return Ok(());
    }
    Err(Error::new(format!("{what}: {found:?}, finite: {finite}")))
}

/// s = alpha / r.
#[derive(Params)]
struct Constant {
    /// Numerator of the scale.
    #[param(default = 32.0, min = 0.0)]
    alpha: f64,
}

impl AlphaPolicy for Constant {
    fn scale(&self, layer: &Layer) -> Result<Scale> {
        Ok(Scale::from(self.alpha / layer.rank as f64))
    }
}

/// Cross-entropy over classes of whole rows.
#[derive(Params)]
struct Classes {
    /// Takes the gradients itself and hands them over.
    #[param(default = false)]
    by_hand: bool,
    #[param(skip)]
    right: usize,
    #[param(skip)]
    seen: usize,
}

impl TaskHead for Classes {
    const REQUIRES: &'static [&'static str] = &[HEAD, AUTOGRAD];

    fn plan(&mut self, task: &Task) -> Result<HeadPlan> {
        Ok(HeadPlan {
            layout: "pooled".to_owned(),
            outputs: Some(task.labels.len()),
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
        let mut sum = logits.cross_entropy_sum(labels)?;
        if self.by_hand && ctx.training {
            let mut inputs = vec![pooled];
            for layer in ctx.layers() {
                inputs.extend(ctx.parameters(&layer.name)?);
            }
            let inputs: Vec<&Tensor> = inputs.iter().collect();
            let grads = grad(&[&sum], &inputs)?;
            let grads: Vec<_> = grads.iter().map(Option::as_ref).collect();
            sum = with_gradients(&sum.detach()?, &inputs, &grads)?;
        }
        Ok(Loss {
            sum,
            count: labels.shape()?[0].cast_unsigned(),
            predictions: Some(logits.detach()?),
        })
    }

    fn reset(&mut self) {
        (self.right, self.seen) = (0, 0);
    }

    fn observe(&mut self, loss: &Loss, batch: &Batch<'_>) -> Result<()> {
        if let Some(logits) = &loss.predictions {
            let predicted = logits.argmax(1)?.to_i64()?;
            let labels = batch.expect_labels()?.to_i64()?;
            let both = predicted.iter().zip(&labels);
            self.right += both.filter(|(one, other)| one == other).count();
            self.seen += labels.len();
        }
        Ok(())
    }

    fn metrics(&self, _loss: f64) -> Result<Metrics> {
        let accuracy = self.right as f64 / self.seen as f64;
        Ok(Metrics {
            values: BTreeMap::from([("accuracy".to_owned(), accuracy)]),
            headline: "accuracy".to_owned(),
            short: "acc".to_owned(),
            higher_is_better: true,
        })
    }
}

export_plugin! {
    init "abi1" => Uniform,
    alpha "abi1" => Constant,
    optimizer "abi1" => AdamW,
    head "abi1" => Classes,
}
