//! How far a run has moved: norms of what each linear layer learned, of gradients and of updates.
//!
//! No matrix of a layer's size is taken apart. With P = A A' and Q = B' B, both r x r, ||B A||_F^2 is the trace of
//! Q P, and the largest singular value of B A the root of the largest eigenvalue of Q P.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use tch::{Kind, TchError, Tensor, no_grad};

use super::checkpoint::Progress;
use super::setup::Setup;
use crate::adapter::{Linear, ModuleKind};
use crate::data;
use crate::model::Model;
use crate::model::TokenCost;
use crate::record::{Diagnostics, LayerNorms, Norms};
use crate::spec::RunSpec;

/// Squarings of a matrix whose largest eigenvalue is asked for: what the power 2^10 leaves of the second largest.
const SQUARINGS: usize = 10;

/// Measures one run.
pub struct Meter {
    /// By the layer's place in the model; those that learn.
    layers: Vec<Start>,
    /// The layer that a parameter belongs to, by the parameter's name: its place in `layers`.
    owners: HashMap<String, usize>,
    /// Multiply-adds a token, forward and backward.
    multiply_adds: u64,
}

/// A layer before the first step.
struct Start {
    /// The layer's place among all.
    place: usize,
    /// ||W0||_F.
    norm: f64,
    /// W0, where W itself learns: it is changed in place.
    weight: Option<Tensor>,
}

/// Squares of Frobenius norms of a step's gradients and updates. They outlive the step: it may be an evaluation in another
/// process, after a checkpoint, that tells them.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepNorms {
    layers: Vec<[f64; 2]>,
    /// Over all parameters, also those of no linear layer.
    total: [f64; 2],
}

/// The parameters and gradient norms before a step.
pub struct BeforeStep {
    values: Vec<Tensor>,
    gradients: Vec<f64>,
}

impl Meter {
    /// Looks at a model that has not been trained yet, and has no checkpoint's values.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn new(model: &Model) -> Result<Self, TchError> {
        let linears = model.linears();
        let mut layers = Vec::new();
        let mut owners = HashMap::new();
        for (place, linear) in linears.iter().enumerate() {
            let learns = linear.weight().requires_grad() && !linear.is_tied();
            if !learns && !linear.is_wrapped() {
                continue;
            }
            let weight = if linear.compensated().is_some() {
                linear.merged()?
            } else {
                linear.weight().f_detach()?
            };
            for parameter in linear.parameters(place) {
                owners.insert(parameter.name, layers.len());
            }
            layers.push(Start {
                place,
                norm: frobenius(&weight)?,
                weight: learns.then(|| copy(&weight)).transpose()?,
            });
        }
        let in_encoder = linears
            .iter()
            .filter(|linear| linear.kind() != ModuleKind::Head);
        Ok(Self {
            layers,
            owners,
            multiply_adds: in_encoder.map(|linear| multiply_adds(linear)).sum(),
        })
    }

    /// To be called before a step that an evaluation follows, with its gradients in place.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn before_step(setup: &Setup) -> Result<BeforeStep, TchError> {
        let values = &setup.optimizer.group().values;
        no_grad(|| {
            let gradient = |value: &Tensor| {
                let gradient = value.grad();
                if gradient.defined() {
                    square(&gradient)
                } else {
                    Ok(0.0)
                }
            };
            Ok(BeforeStep {
                gradients: values.iter().map(gradient).collect::<Result<_, _>>()?,
                values: values.iter().map(copy).collect::<Result<_, _>>()?,
            })
        })
    }

    /// To be called after that step.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn after_step(&self, setup: &Setup, before: BeforeStep) -> Result<StepNorms, TchError> {
        let mut norms = StepNorms {
            layers: vec![[0.0; 2]; self.layers.len()],
            total: [0.0; 2],
        };
        let group = setup.optimizer.group();
        let now = group.infos.iter().zip(&group.values);
        let before = before.values.into_iter().zip(before.gradients);
        for ((info, value), (mut old, gradient)) in now.zip(before) {
            // In place: of the largest parameters there is no third copy.
            let update = no_grad(|| square(&old.f_sub_(value)?))?;
            let squares = [gradient, update];
            let owner = self.owners.get(&info.name);
            for sum in owner
                .map(|&owner| &mut norms.layers[owner])
                .into_iter()
                .chain([&mut norms.total])
            {
                *sum = [sum[0] + squares[0], sum[1] + squares[1]];
            }
        }
        Ok(norms)
    }

    /// The norms at this point of a run.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn measure(
        &self,
        spec: &RunSpec,
        setup: &Setup,
        progress: &Progress,
    ) -> Result<Diagnostics, TchError> {
        let (epoch, step) = (progress.epoch, progress.measured.steps);
        let last_step = progress.last_step.as_ref();
        let linears = setup.model.linears();
        let mut layers = Vec::new();
        for (index, start) in self.layers.iter().enumerate() {
            let linear = linears[start.place];
            let mut norms = no_grad(|| of_layer(linear, start))?;
            if let Some(step) = last_step {
                set_step(&mut norms, step.layers[index]);
            }
            let name = linear.name().to_owned();
            layers.push(LayerNorms { name, norms });
        }
        let tokens = tokens_until(spec, setup, step);
        Ok(Diagnostics {
            step,
            epoch,
            tokens,
            multiply_adds: tokens * self.multiply_adds,
            total: self.total(&layers, last_step),
            layers,
        })
    }

    fn total(&self, layers: &[LayerNorms], last_step: Option<&StepNorms>) -> Norms {
        let each = |norm: fn(&Norms) -> Option<f64>| {
            let found: Vec<f64> = layers
                .iter()
                .filter_map(|layer| norm(&layer.norms))
                .collect();
            (!found.is_empty()).then_some(found)
        };
        let root = |found: Vec<f64>| found.iter().map(|x| x * x).sum::<f64>().sqrt();
        let largest = |found: Vec<f64>| found.into_iter().fold(f64::NEG_INFINITY, f64::max);
        let change = each(|norms| norms.change).map(root);
        let start = root(self.layers.iter().map(|start| start.norm).collect());
        let mut total = Norms {
            change,
            relative_change: change.map(|change| change / start),
            spectral_a: each(|norms| norms.spectral_a).map(largest),
            spectral_b: each(|norms| norms.spectral_b).map(largest),
            spectral_ba: each(|norms| norms.spectral_ba).map(largest),
            ..Norms::default()
        };
        if let Some(step) = last_step {
            set_step(&mut total, step.total);
        }
        total
    }
}

fn set_step(norms: &mut Norms, [gradient, update]: [f64; 2]) {
    norms.gradient = Some(gradient.sqrt());
    norms.update = Some(update.sqrt());
}

fn of_layer(linear: &Linear, start: &Start) -> Result<Norms, TchError> {
    let mut norms = match linear.factors() {
        Some((a, b, scale)) => of_factors(a, b, scale, linear.compensated())?,
        None => Norms::default(),
    };
    if let Some(weight) = &start.weight {
        // A layer whose weight learns has no factors.
        norms.change = Some(frobenius(&linear.weight().f_sub(weight)?)?);
    }
    norms.relative_change = norms.change.map(|change| change / start.norm);
    Ok(norms)
}

/// Norms of A `[r, fan_in]`, B `[fan_out, r]` and s B A, the latter less s B0 A0 where that was taken off W.
fn of_factors(
    a: &Tensor,
    b: &Tensor,
    scale: f64,
    compensated: Option<(&Tensor, &Tensor)>,
) -> Result<Norms, TchError> {
    let double = |tensor: &Tensor| tensor.f_detach()?.f_to_kind(Kind::Double);
    let (a, b) = (double(a)?, double(b)?);
    let gram_a = a.f_matmul(&a.f_transpose(0, 1)?)?;
    let gram_b = b.f_transpose(0, 1)?.f_matmul(&b)?;
    let of_product = gram_b.f_matmul(&gram_a)?;
    let change = match compensated {
        None => trace(&of_product)?,
        Some((a0, b0)) => {
            // [B, -B0] [A; A0]: the same with factors of rank 2r.
            let a = Tensor::f_cat(&[&a, &double(a0)?], 0)?;
            let b = Tensor::f_cat(&[&b, &double(b0)?.f_neg()?], 1)?;
            let gram_a = a.f_matmul(&a.f_transpose(0, 1)?)?;
            let gram_b = b.f_transpose(0, 1)?.f_matmul(&b)?;
            trace(&gram_b.f_matmul(&gram_a)?)?
        }
    };
    Ok(Norms {
        // Rounding may leave less than nothing of a change of nothing.
        change: Some(scale.abs() * change.max(0.0).sqrt()),
        spectral_a: Some(largest_eigenvalue(&gram_a)?.sqrt()),
        spectral_b: Some(largest_eigenvalue(&gram_b)?.sqrt()),
        spectral_ba: Some(largest_eigenvalue(&of_product)?.sqrt()),
        ..Norms::default()
    })
}

/// Of a square matrix without negative eigenvalues: its power 2^[`SQUARINGS`] leaves the eigenvector alone.
fn largest_eigenvalue(matrix: &Tensor) -> Result<f64, TchError> {
    let norm = frobenius(matrix)?;
    if norm == 0.0 {
        return Ok(0.0);
    }
    let mut power = matrix.f_div_scalar(norm)?;
    for _ in 0..SQUARINGS {
        power = power.f_matmul(&power)?;
        power = power.f_div_scalar(frobenius(&power)?.max(f64::MIN_POSITIVE))?;
    }
    let columns = power
        .f_square()?
        .f_sum_dim_intlist(0_i64, false, Kind::Double)?;
    let place = columns.f_argmax(0, false)?;
    let vector = power.f_index_select(1, &place.f_reshape(1)?)?;
    Ok(frobenius(&matrix.f_matmul(&vector)?)? / frobenius(&vector)?)
}

fn copy(tensor: &Tensor) -> Result<Tensor, TchError> {
    let mut copy = tensor.f_empty_like()?;
    copy.f_copy_(tensor)?;
    Ok(copy)
}

fn trace(matrix: &Tensor) -> Result<f64, TchError> {
    matrix.f_trace()?.f_double_value(&[])
}

fn frobenius(tensor: &Tensor) -> Result<f64, TchError> {
    tensor.f_detach()?.f_norm()?.f_double_value(&[])
}

/// The sum of squares.
fn square(tensor: &Tensor) -> Result<f64, TchError> {
    frobenius(tensor).map(|norm| norm * norm)
}

/// Those of a token in a layer, forward and backward.
fn multiply_adds(linear: &Linear) -> u64 {
    let rank = linear.factors().map_or(0, |(a, ..)| a.size()[0] as u64);
    TokenCost::of_layer(linear, rank, linear.weight().requires_grad()).step
}

/// Tokens of the batches of the first `step` steps.
fn tokens_until(spec: &RunSpec, setup: &Setup, step: usize) -> u64 {
    let train = &setup.tokens.train;
    let rows = train.units();
    let mut left = step;
    let mut tokens = 0;
    for epoch in 1..=spec.train.epochs {
        let order = data::order(rows, spec.seeds.data, epoch);
        for group in order.chunks(spec.train.batch_size * spec.train.accumulate) {
            if left == 0 {
                return tokens;
            }
            left -= 1;
            let lengths = group.iter().map(|&unit| train.length(unit as usize) as u64);
            tokens += lengths.sum::<u64>();
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    fn random(rows: i64, columns: i64, stream: &mut Stream) -> Tensor {
        let values: Vec<f32> = (0..rows * columns)
            .map(|_| stream.normal() as f32)
            .collect();
        Tensor::from_slice(&values).reshape([rows, columns])
    }

    fn dense_norms(matrix: &Tensor) -> (f64, f64) {
        let (_, values, _) = matrix.to_kind(Kind::Double).svd(true, false);
        (frobenius(&values).unwrap(), values.max().double_value(&[]))
    }

    #[test]
    fn norms_of_factors_are_those_of_the_matrices() {
        let stream = &mut Stream::new(3);
        for rank in [1, 4, 12] {
            let (a, b) = (random(rank, 20, stream), random(15, rank, stream));
            let norms = of_factors(&a, &b, -2.0, None).unwrap();
            let near = |found: Option<f64>, expected: f64| {
                let found = found.unwrap();
                assert!(
                    (found / expected - 1.0).abs() < 1e-5,
                    "{rank}: {found} {expected}"
                );
            };
            let product = b.matmul(&a);
            near(norms.change, 2.0 * dense_norms(&product).0);
            near(norms.spectral_ba, dense_norms(&product).1);
            near(norms.spectral_a, dense_norms(&a).1);
            near(norms.spectral_b, dense_norms(&b).1);

            let (a0, b0) = (random(rank, 20, stream), random(15, rank, stream));
            let norms = of_factors(&a, &b, 0.5, Some((&a0, &b0))).unwrap();
            near(
                norms.change,
                0.5 * dense_norms(&(product - b0.matmul(&a0))).0,
            );
        }
    }

    #[test]
    fn what_has_not_moved_has_no_norm() {
        let stream = &mut Stream::new(4);
        let (a, b) = (random(3, 8, stream), random(9, 3, stream));
        let zero = Tensor::zeros([9, 3], (Kind::Float, tch::Device::Cpu));
        let norms = of_factors(&a, &zero, 1.0, None).unwrap();
        assert_eq!((norms.change, norms.spectral_b), (Some(0.0), Some(0.0)));
        assert_eq!(norms.spectral_ba, Some(0.0));
        let norms = of_factors(&a, &b, 1.0, Some((&a, &b))).unwrap();
        assert!(norms.change.unwrap() < 1e-5);
    }
}
