//! Tests of init schemes.

use lorahost_plugin_api::protocol::{Factor, Layer};
use tch::{Kind, Tensor};

use super::bench::{SHAPES, Trial, layer, layers, weight};
use super::sample::{normal, same};
use super::subject::{
    Subject, Verdict, ensure, failed, is_refusal, leaves_nothing, skipped, words,
};
use crate::adapter::{Factors, Linear, ModuleKind};
use crate::dropout::Pass;
use crate::plugins::LayerFactors;

/// Shapes, types and values are looked at where every run looks at them.
pub fn shapes(subject: &Subject) -> Verdict {
    for rank in [4, 8] {
        let layers = layers(rank);
        let trial = Trial::new(subject, &layers, Kind::Float)?;
        for layer in &layers {
            trial.factors(layer)?;
        }
    }
    Ok(())
}

pub fn any_rank(subject: &Subject) -> Verdict {
    for rank in [1, 3, 128] {
        for layer in layers(rank) {
            let trial = Trial::new(subject, std::slice::from_ref(&layer), Kind::Float)?;
            if let Err(error) = trial.factors(&layer) {
                let own = is_refusal(&error) && !words(&error).contains(" has shape ");
                ensure(own, || format!("rank {rank}: {}", words(&error)))?;
            }
        }
    }
    Ok(())
}

pub fn ranks(subject: &Subject) -> Verdict {
    let layers = layers(8);
    let trial = Trial::new(subject, &layers, Kind::Float)?;
    if !trial.scheme.chooses_ranks() {
        return Err(skipped("it does not choose ranks"));
    }
    trial.scheme.ranks(&layers, tch::Device::Cpu)?;
    Ok(())
}

/// Bounds on `rms(A) sqrt(fan_in)`: with inputs of variance 1 that is the root mean square of A x.
const SANE: std::ops::RangeInclusive<f64> = 1e-3..=30.0;
/// How far apart it may lie between the narrowest and the widest layer; a scale that knows no `fan_in` comes to 4.
const APART: f64 = 6.0;

pub fn spread(subject: &Subject) -> Verdict {
    let widths = [32, 64, 128, 256, 512];
    let shaped = widths.into_iter().enumerate();
    let layers: Vec<Layer> = shaped
        .map(|(index, fan_in)| layer(index, (64, fan_in), 8))
        .collect();
    let trial = Trial::new(subject, &layers, Kind::Float)?;
    let mut sizes = Vec::new();
    for layer in &layers {
        let a = trial.factors(layer)?.a;
        sizes.push(root_mean_square(&a) * (layer.fan_in as f64).sqrt());
    }
    if sizes.iter().all(|&size| size == 0.0) {
        return Err(skipped("A starts at zero"));
    }
    for (width, size) in widths.iter().zip(&sizes) {
        ensure(SANE.contains(size), || {
            format!("at fan_in {width} rms(A) sqrt(fan_in) is {size:.3e}")
        })?;
    }
    let least = sizes.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = sizes.iter().copied().fold(0.0, f64::max);
    ensure(largest <= APART * least, || {
        format!(
            "rms(A) sqrt(fan_in) goes from {least:.3e} to {largest:.3e} as fan_in does from 32 to 512"
        )
    })
}

pub fn learns(subject: &Subject) -> Verdict {
    let layers = layers(4);
    let trial = Trial::new(subject, &layers, Kind::Float)?;
    for layer in &layers {
        let LayerFactors { a, b, frozen, .. } = trial.factors(layer)?;
        for (factor, tensor, name) in [(Factor::A, &a, "A"), (Factor::B, &b, "B")] {
            ensure(
                frozen != Some(factor) || root_mean_square(tensor) > 0.0,
                || {
                    format!(
                        "{name} of {} is frozen at zero, so B A stays zero",
                        layer.name
                    )
                },
            )?;
        }
        // A direction is a row of A with its column of B.
        let directions = Tensor::cat(&[&a, &b.transpose(0, 1)], 1);
        for first in 0..layer.rank as i64 {
            let one = directions.get(first);
            let zero = root_mean_square(&one) == 0.0;
            ensure(!zero, || {
                format!(
                    "direction {first} of {} is zero in A and in B, and stays so",
                    layer.name
                )
            })?;
            let twin = (0..first).find(|&other| directions.get(other).equal(&one));
            if let Some(other) = twin {
                return Err(failed(format!(
                    "directions {other} and {first} of {} start alike, and stay so",
                    layer.name
                )));
            }
        }
    }
    Ok(())
}

pub fn start(subject: &Subject) -> Verdict {
    const CLOSE: f64 = 1e-4;
    let layers = layers(8);
    let trial = Trial::new(subject, &layers, Kind::Float)?;
    for layer in &layers {
        let LayerFactors {
            a, b, compensate, ..
        } = trial.factors(layer)?;
        let weight = weight(layer, Kind::Float);
        let product = b.matmul(&a) * layer.scale;
        let moved = root_mean_square(&product) / root_mean_square(&weight);
        if !compensate && moved > CLOSE {
            return Err(skipped(format!(
                "B A is neither zero nor compensated: s B A is {moved:.2e} of W in root mean square"
            )));
        }
        let x = normal(
            &format!("x of {}", layer.name),
            &[16, layer.fan_in as i64],
            Kind::Float,
        );
        let mut linear = Linear::new(&layer.name, ModuleKind::Mlp, weight.copy(), None);
        let factors = Factors {
            compensate,
            ..Factors::new(a, b, layer.scale)
        };
        linear
            .attach(factors)
            .map_err(|error| failed(error.to_string()))?;
        let began = linear.forward(&x, &Pass::evaluation())?;
        let apart = (began - x.matmul(&weight.transpose(0, 1)))
            .abs()
            .max()
            .double_value(&[]);
        ensure(apart <= CLOSE, || {
            format!("{}: the first outputs differ by {apart:.2e}", layer.name)
        })?;
    }
    Ok(())
}

pub fn repeats(subject: &Subject) -> Verdict {
    let layers = layers(8);
    compare(subject, &layers, &layers, "a second time")
}

pub fn order(subject: &Subject) -> Verdict {
    let layers = layers(8);
    let reversed: Vec<Layer> = layers.iter().rev().cloned().collect();
    compare(subject, &layers, &reversed, "in another order")
}

pub fn dtype(subject: &Subject) -> Verdict {
    let layers = layers(4);
    let trial = Trial::new(subject, &layers, Kind::Double)?;
    for layer in &layers {
        trial.factors(layer)?;
    }
    Ok(())
}

pub fn leaks(subject: &Subject) -> Verdict {
    leaves_nothing(|| {
        let layer = layer(0, SHAPES[0], 4);
        let trial = Trial::new(subject, std::slice::from_ref(&layer), Kind::Float)?;
        trial.factors(&layer)?;
        Ok(())
    })
}

/// The factors of the same layers by two new components, in two orders.
fn compare(subject: &Subject, first: &[Layer], second: &[Layer], how: &str) -> Verdict {
    let (one, other) = (
        Trial::new(subject, first, Kind::Float)?,
        Trial::new(subject, first, Kind::Float)?,
    );
    let mut known = Vec::new();
    for layer in first {
        known.push((&layer.name, one.factors(layer)?));
    }
    for layer in second {
        let again = other.factors(layer)?;
        let same = known
            .iter()
            .find(|(name, _)| **name == layer.name)
            .is_some_and(|(_, first)| same(&first.a, &again.a) && same(&first.b, &again.b));
        ensure(same, || format!("{} gets other factors {how}", layer.name))?;
    }
    Ok(())
}

fn root_mean_square(tensor: &Tensor) -> f64 {
    tensor
        .to_kind(Kind::Double)
        .square()
        .mean(Kind::Double)
        .sqrt()
        .double_value(&[])
}
