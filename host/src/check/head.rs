//! Tests of task heads.

use lorahost_plugin_api::protocol::{DataKind, Metrics, Sees};
use tch::{Kind, Tensor};

use super::head_bench::{Bench, IGNORED, VOCABULARY, column, masked};
use super::sample::{normal, same};
use super::subject::{Stop, Subject, Verdict, ensure, failed, leaves_nothing, skipped};
use crate::native::gradients::grad;
use crate::plugins::{HeadBatch, HeadLoss, Pass};

const TRAINING: Pass = Pass::Training(3);
const EVALUATION: Pass = Pass::Evaluation(0);

pub fn plan(subject: &Subject) -> Verdict {
    Bench::new(subject, Kind::Float).map(drop)
}

pub fn inputs(subject: &Subject) -> Verdict {
    let bench = Bench::new(subject, Kind::Float)?;
    for pass in [TRAINING, EVALUATION] {
        let tokens = bench.inputs(pass)?.tokens;
        for token in [tokens.min(), tokens.max()] {
            let token = token.int64_value(&[]);
            ensure((0..VOCABULARY as i64).contains(&token), || {
                format!("it shows the model token {token}, of a vocabulary of {VOCABULARY}")
            })?;
        }
    }
    Ok(())
}

pub fn loss(subject: &Subject) -> Verdict {
    let bench = Bench::new(subject, Kind::Float)?;
    let hidden = bench.hidden().set_requires_grad(true);
    let HeadLoss { sum, count } = bench.forward(&hidden, &bench.inputs(TRAINING)?, TRAINING)?;
    let value = sum.double_value(&[]);
    ensure(value.is_finite(), || format!("the loss is {value}"))?;
    ensure(count > 0, || {
        "the loss counts neither rows nor tokens".to_owned()
    })?;
    let [gradient] = &grad(&[sum], &[hidden])?[..] else {
        return Err(failed("there is no gradient"));
    };
    ensure(gradient.is_some(), || {
        "the loss does not depend on the hidden states".to_owned()
    })
}

/// Half the distance of a difference, and how well it agrees in float64.
const STEP: f64 = 1e-5;
const CLOSE: f64 = 1e-5;

pub fn gradients(subject: &Subject) -> Verdict {
    let bench = Bench::new(subject, Kind::Double)?;
    let batch = bench.inputs(TRAINING)?;
    let mut leaves = vec![bench.hidden().set_requires_grad(true)];
    leaves.extend(
        bench
            .layers
            .parameters()
            .into_iter()
            .map(Tensor::shallow_clone),
    );
    let sum = bench.forward(&leaves[0], &batch, TRAINING)?.sum;
    let gradients = grad(&[sum], &leaves)?;
    for (place, (leaf, gradient)) in leaves.iter().zip(gradients).enumerate() {
        for direction in 0..3 {
            let way = normal(
                &format!("way {place} {direction}"),
                &leaf.size(),
                Kind::Double,
            );
            let at = |step: f64| {
                let _ = tch::no_grad(|| leaf.shallow_clone().f_add_(&(&way * step)))?;
                Ok::<f64, Stop>(
                    bench
                        .forward(&leaves[0], &batch, TRAINING)?
                        .sum
                        .double_value(&[]),
                )
            };
            // There, back beyond the start, and to it.
            let (above, below) = (at(STEP)?, at(-2.0 * STEP)?);
            at(STEP)?;
            let measured = (above - below) / (2.0 * STEP);
            let given = gradient.as_ref().map_or(0.0, |gradient| {
                (gradient * &way).sum(Kind::Double).double_value(&[])
            });
            let what = if place == 0 {
                "the hidden states"
            } else {
                "a weight of the head"
            };
            let apart = (given - measured).abs();
            // Written so that NaN does not agree.
            ensure(
                apart <= CLOSE * (1.0 + given.abs() + measured.abs()),
                || {
                    format!(
                        "along a random direction of {what} the gradient is {given:.6e}, the difference {measured:.6e}"
                    )
                },
            )?;
        }
    }
    Ok(())
}

pub fn packing(subject: &Subject) -> Verdict {
    let bench = Bench::new(subject, Kind::Double)?;
    let (batch, hidden) = (bench.inputs(TRAINING)?, bench.hidden());
    let whole = bench.evaluate(&hidden, &batch)?;
    let (mut sum, mut count) = (0.0, 0);
    for unit in 0..bench.units() {
        let (batch, hidden) = bench.pick(&batch, &hidden, &[unit])?;
        let (of_unit, counted) = bench.evaluate(&hidden, &batch)?;
        sum += of_unit;
        count += counted;
    }
    agree(whole, (sum, count), "its rows by themselves")
}

pub fn order(subject: &Subject) -> Verdict {
    let bench = Bench::new(subject, Kind::Double)?;
    let (batch, hidden) = (bench.inputs(TRAINING)?, bench.hidden());
    let whole = bench.evaluate(&hidden, &batch)?;
    let backwards: Vec<usize> = (0..bench.units()).rev().collect();
    let (batch, hidden) = bench.pick(&batch, &hidden, &backwards)?;
    let other = bench.evaluate(&hidden, &batch)?;
    agree(whole, other, "its rows in another order")
}

pub fn mask(subject: &Subject) -> Verdict {
    let bench = Bench::new(subject, Kind::Double)?;
    let batch = bench.inputs(TRAINING)?;
    let Some(labels) = masked(&batch) else {
        return Err(skipped(format!(
            "no token of its batches has the label {IGNORED}"
        )));
    };
    let ignored = labels.eq(IGNORED);
    let expected = labels
        .ne(IGNORED)
        .sum(Kind::Int64)
        .int64_value(&[])
        .cast_unsigned();
    let hidden = bench.hidden().set_requires_grad(true);
    let HeadLoss { sum, count } = bench.forward(&hidden, &batch, TRAINING)?;
    ensure(count == expected, || {
        format!("the loss counts {count} tokens, {expected} have a label")
    })?;
    let gradient = grad(&[sum], &[hidden])?.pop().flatten();
    let gradient =
        gradient.ok_or_else(|| failed("the loss does not depend on the hidden states"))?;
    let leaked = gradient
        .abs()
        .amax([1], false)
        .masked_select(&ignored)
        .max()
        .double_value(&[]);
    ensure(leaked == 0.0, || {
        format!("tokens with the label {IGNORED} have gradients of up to {leaked:.2e}")
    })
}

pub fn sees(subject: &Subject) -> Verdict {
    let bench = Bench::new(subject, Kind::Double)?;
    if bench.head.sees() == Sees::Tokens {
        return Err(skipped(
            "it looks at the hidden states of all tokens".to_owned(),
        ));
    }
    let (batch, hidden) = (bench.inputs(TRAINING)?, bench.hidden());
    let whole = bench.evaluate(&hidden, &batch)?;
    let firsts = batch.offsets.slice(0, None, -1, 1);
    let pooled = bench.evaluate(&hidden.index_select(0, &firsts), &batch.pooled(&firsts)?)?;
    agree(whole, pooled, "the hidden states that it says it looks at")
}

pub fn metrics(subject: &Subject) -> Verdict {
    let bench = Bench::new(subject, Kind::Float)?;
    let (batch, hidden) = (bench.inputs(EVALUATION)?, bench.hidden());
    bench.head.reset()?;
    bench.layers.forget();
    let (sum, count) = bench.evaluate(&hidden, &batch)?;
    let loss = sum / count as f64;
    let Metrics {
        values, headline, ..
    } = bench.head.metrics(loss)?;
    let given = values[&headline];
    let counted = by_hand(&headline, &bench, &batch, loss)
        .ok_or_else(|| skipped(format!("this host does not know how to count `{headline}`")))?;
    ensure(
        (given - counted).abs() <= 1e-4 * (1.0 + counted.abs()),
        || format!("its {headline} is {given}, by hand {counted}"),
    )
}

pub fn batches(subject: &Subject) -> Verdict {
    let bench = Bench::new(subject, Kind::Double)?;
    let (batch, hidden) = (bench.inputs(EVALUATION)?, bench.hidden());
    let measured = |parts: &[Vec<usize>]| {
        bench.head.reset()?;
        let (mut sum, mut count) = (0.0, 0);
        for part in parts {
            let (batch, hidden) = bench.pick(&batch, &hidden, part)?;
            let (of_part, counted) = bench.evaluate(&hidden, &batch)?;
            sum += of_part;
            count += counted;
        }
        Ok::<Metrics, Stop>(bench.head.metrics(sum / count as f64)?)
    };
    let units: Vec<usize> = (0..bench.units()).collect();
    let whole = measured(std::slice::from_ref(&units))?;
    let cut = measured(&[units[..1].to_vec(), units[1..].to_vec()])?;
    ensure(
        whole.headline == cut.headline && whole.values.len() == cut.values.len(),
        || "one evaluation has other metrics than the next".to_owned(),
    )?;
    for (name, one) in &whole.values {
        let other = cut.values.get(name).copied().unwrap_or(f64::NAN);
        let same =
            (one - other).abs() <= 1e-6 * (1.0 + one.abs()) || one.is_nan() && other.is_nan();
        ensure(same, || {
            format!("{name} is {one} of one batch, {other} of the same rows in two")
        })?;
    }
    Ok(())
}

pub fn repeats(subject: &Subject) -> Verdict {
    let losses = || {
        let bench = Bench::new(subject, Kind::Float)?;
        let batch = bench.inputs(TRAINING)?;
        let sum = bench.forward(&bench.hidden(), &batch, TRAINING)?.sum;
        Ok::<_, Stop>((batch.tokens, sum.detach()))
    };
    let ((tokens, sum), (tokens_again, sum_again)) = (losses()?, losses()?);
    ensure(tokens.equal(&tokens_again), || {
        "it shows the model other tokens the second time".to_owned()
    })?;
    ensure(same(&sum, &sum_again), || {
        format!(
            "the loss is {}, the second time {}",
            sum.double_value(&[]),
            sum_again.double_value(&[])
        )
    })
}

pub fn dtype(subject: &Subject) -> Verdict {
    for kind in [Kind::Float, Kind::Double] {
        let bench = Bench::new(subject, kind)?;
        let found = bench
            .forward(&bench.hidden(), &bench.inputs(TRAINING)?, TRAINING)?
            .sum
            .kind();
        ensure(found == kind, || {
            format!("hidden states in {kind:?} give a loss in {found:?}")
        })?;
    }
    Ok(())
}

pub fn leaks(subject: &Subject) -> Verdict {
    leaves_nothing(|| {
        loss(subject)?;
        let bench = Bench::new(subject, Kind::Float)?;
        bench.head.reset()?;
        let (sum, _) = bench.evaluate(&bench.hidden(), &bench.inputs(EVALUATION)?)?;
        bench.head.metrics(sum)?;
        Ok(())
    })
}

impl Bench {
    /// Sum and count of the loss in an evaluation.
    fn evaluate(&self, hidden: &Tensor, batch: &HeadBatch) -> Result<(f64, u64), Stop> {
        let HeadLoss { sum, count } = self.forward(hidden, batch, EVALUATION)?;
        Ok((sum.double_value(&[]), count))
    }
}

fn agree(whole: (f64, u64), other: (f64, u64), what: &str) -> Verdict {
    let apart = (whole.0 - other.0).abs();
    ensure(
        whole.1 == other.1 && apart <= 1e-9 * (1.0 + whole.0.abs()),
        || {
            format!(
                "a batch has a loss of {} over {}, {what} {} over {}",
                whole.0, whole.1, other.0, other.1
            )
        },
    )
}

/// A headline from what the model's last layer gave and the labels; none where its meaning is not known here.
fn by_hand(headline: &str, bench: &Bench, batch: &HeadBatch, loss: f64) -> Option<f64> {
    match headline {
        "perplexity" => return Some(loss.exp()),
        "nll" | "loss" | "mse" => return Some(loss),
        _ => {}
    }
    let outputs = bench.layers.outputs()?;
    let rows = outputs.size()[0];
    match (headline, bench.data) {
        ("accuracy", DataKind::Pairs) => {
            let rewards = column(&outputs, 0);
            let right = rewards.chunks(2).filter(|pair| pair[0] > pair[1]).count();
            Some(2.0 * right as f64 / rows as f64)
        }
        ("accuracy", _) => {
            let labels = batch.labels.as_ref()?;
            let counted = labels.ne(IGNORED);
            // Some heads apply the layer to the tokens with labels alone.
            let outputs = if rows == labels.size()[0] {
                outputs.index_select(0, &counted.nonzero().squeeze_dim(1))
            } else {
                outputs
            };
            let labels = labels.masked_select(&counted);
            if outputs.size()[0] != labels.size()[0] {
                return None;
            }
            let right = outputs.argmax(1, false).eq_tensor(&labels);
            Some(
                right
                    .to_kind(Kind::Double)
                    .mean(Kind::Double)
                    .double_value(&[]),
            )
        }
        ("pearson", DataKind::Numbers) => {
            let numbers = column(&batch.labels.as_ref()?.unsqueeze(1), 0);
            Some(correlation(&column(&outputs, 0), &numbers))
        }
        _ => None,
    }
}

/// Pearson's correlation by its definition.
fn correlation(x: &[f64], y: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_x, mean_y) = (mean(x), mean(y));
    let products = x.iter().zip(y).map(|(x, y)| (x - mean_x) * (y - mean_y));
    let spread = |values: &[f64], mean: f64| {
        values
            .iter()
            .map(|value| (value - mean).powi(2))
            .sum::<f64>()
            .sqrt()
    };
    products.sum::<f64>() / (spread(x, mean_x) * spread(y, mean_y))
}
