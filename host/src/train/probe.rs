//! What init schemes may have measured before training: gradients and input covariances of the layers that get factors.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use lorahost_plugin_api::sdk;
use tch::{Kind, TchError, Tensor};

use super::TrainError;
use super::head::HeadPass;
use super::run::packed;
use super::trainer::Watch;
use crate::adapter::{LayerInfo, observed};
use crate::data::{self, TokenSplits};
use crate::model::{self, Model};
use crate::plugins::{HeadLoss, Measure, Pass, TaskHead};
use crate::record::Event;
use crate::spec::RunSpec;

/// The model before it has factors, and the batches that training begins with. Without dropout.
pub struct Probe {
    spec: RunSpec,
    model: Rc<Model>,
    head: Rc<TaskHead>,
    tokens: Rc<TokenSplits>,
    layers: Vec<LayerInfo>,
    /// By number of batches and name of the layer: all layers are measured when the first one is asked for.
    gradients: RefCell<HashMap<u64, ByLayer>>,
    covariances: RefCell<HashMap<u64, ByLayer>>,
}

type ByLayer = HashMap<String, Tensor>;

impl Probe {
    pub fn new(
        spec: &RunSpec,
        model: &Rc<Model>,
        head: &Rc<TaskHead>,
        tokens: &Rc<TokenSplits>,
        layers: &[LayerInfo],
    ) -> Self {
        Self {
            spec: spec.clone(),
            model: Rc::clone(model),
            head: Rc::clone(head),
            tokens: Rc::clone(tokens),
            layers: layers.to_vec(),
            gradients: RefCell::default(),
            covariances: RefCell::default(),
        }
    }

    /// The units of the first batches of training: rows, or pairs of them.
    fn batches(&self, count: u64) -> Vec<Vec<u32>> {
        let order = data::order(self.tokens.train.units(), self.spec.seeds.data, 1);
        let batches = order.chunks(self.spec.train.batch_size);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        batches.take(count).map(<[u32]>::to_vec).collect()
    }

    fn loss(&self, rows: &[u32], pass: Pass) -> Result<HeadLoss, TrainError> {
        // The call of the init scheme, around these calls of the head, has been announced.
        let mut ignore = |_: Event| {};
        let mut quiet = Watch::new(&mut ignore);
        let (tokens, head) = (&self.tokens.train, &self.spec.head);
        let (packed, batch) = packed(
            tokens,
            rows,
            &self.model,
            &self.head,
            pass,
            head,
            &mut quiet,
        )?;
        let pass_of_model = model::Pass::evaluation();
        let hidden = self.model.forward(&packed, &pass_of_model)?;
        let access = Rc::new(HeadPass::new(&self.model, pass_of_model));
        Ok(self.head.forward(&hidden, &batch, access, pass)?)
    }

    /// dL/dW of every layer, L the mean over everything that the batches count.
    fn gradients(&self, batches: u64) -> Result<ByLayer, TrainError> {
        let linears = self.model.linears();
        let weights: Vec<&Tensor> = self
            .layers
            .iter()
            .map(|at| linears[at.index].weight())
            .collect();
        let _learning = Learning::of(&weights);
        let mut sums: Vec<Tensor> = Vec::new();
        let mut count = 0;
        for (number, rows) in self.batches(batches).iter().enumerate() {
            let loss = tch::with_grad(|| self.loss(rows, Pass::Training(number as u64)))?;
            if loss.count == 0 {
                continue;
            }
            count += loss.count;
            let gradients = Tensor::f_run_backward(&[&loss.sum], &weights, false, false)?;
            if sums.is_empty() {
                sums = gradients;
            } else {
                for (sum, gradient) in sums.iter_mut().zip(&gradients) {
                    let _ = sum.f_add_(gradient)?;
                }
            }
        }
        if count == 0 {
            let message = format!("it counts nothing in the first {batches} batches");
            return Err(self.head.fault("forward", message).into());
        }
        let names = self.layers.iter().map(|layer| layer.name.clone());
        let means = sums.iter().map(|sum| sum.f_div_scalar(count as f64));
        names
            .zip(means)
            .map(|(name, mean)| Ok((name, mean?)))
            .collect()
    }

    /// E[x x'] of every layer's inputs.
    fn covariances(&self, batches: u64) -> Result<ByLayer, TrainError> {
        let sums = self.layers.iter().map(|layer| {
            let shape = [layer.fan_in, layer.fan_in];
            let zeros = Tensor::f_zeros(shape, (Kind::Float, self.model.device()))?;
            Ok((layer.name.clone(), (zeros, 0)))
        });
        let sums: HashMap<String, (Tensor, i64)> = sums.collect::<Result<_, TchError>>()?;
        let sums = Rc::new(RefCell::new(sums));
        let seen = Rc::clone(&sums);
        let observer = move |name: &str, x: &Tensor| {
            if let Some((sum, rows)) = seen.borrow_mut().get_mut(name) {
                let x = x.f_reshape([-1, sum.size()[0]])?;
                *rows += x.size()[0];
                let _ = sum.f_addmm_(&x.f_transpose(0, 1)?, &x)?;
            }
            Ok(())
        };
        observed(Rc::new(observer), || {
            tch::no_grad(|| {
                let batches = self.batches(batches).into_iter().enumerate();
                batches
                    .map(|(number, rows)| self.loss(&rows, Pass::Evaluation(number as u64)))
                    .try_for_each(|loss| loss.map(drop))
            })
        })?;
        let sums = sums.take();
        let mean = |(name, (sum, rows)): (String, (Tensor, i64))| {
            Ok((name, sum.f_div_scalar(rows.max(1) as f64)?))
        };
        sums.into_iter().map(mean).collect()
    }
}

impl Measure for Probe {
    fn gradient(&self, layer: &str, batches: u64) -> sdk::Result<Tensor> {
        once(&self.gradients, batches, layer, || self.gradients(batches))
    }

    fn covariance(&self, layer: &str, batches: u64) -> sdk::Result<Tensor> {
        once(&self.covariances, batches, layer, || {
            self.covariances(batches)
        })
    }
}

/// A copy of a layer's tensor; those of all layers are made when none was asked for before.
fn once(
    measured: &RefCell<HashMap<u64, ByLayer>>,
    batches: u64,
    layer: &str,
    make: impl FnOnce() -> Result<ByLayer, TrainError>,
) -> sdk::Result<Tensor> {
    if !measured.borrow().contains_key(&batches) {
        let made = make().map_err(|error| sdk::Error::new(error.to_string()))?;
        measured.borrow_mut().insert(batches, made);
    }
    let measured = measured.borrow();
    let found = measured.get(&batches).and_then(|layers| layers.get(layer));
    let found = found.ok_or_else(|| {
        sdk::Error::new(format!(
            "`{layer}` is not among the layers that get factors"
        ))
    })?;
    // In memory of its own: a plugin may change what it gets.
    let copy = || {
        let mut copy = found.f_empty_like()?;
        copy.f_copy_(found)?;
        Ok(copy)
    };
    copy().map_err(|error: TchError| sdk::Error::new(error.to_string()))
}

/// Weights that have gradients until this is dropped.
struct Learning(Vec<Tensor>);

impl Learning {
    fn of(weights: &[&Tensor]) -> Self {
        let weights = weights.iter().map(|weight| weight.set_requires_grad(true));
        Self(weights.collect())
    }
}

impl Drop for Learning {
    fn drop(&mut self) {
        for weight in &self.0 {
            let _ = weight.set_requires_grad(false);
        }
    }
}
