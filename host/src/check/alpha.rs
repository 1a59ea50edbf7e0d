//! Tests of alpha policies.

use lorahost_plugin_api::protocol::{AlphaReply, Layer};

use super::bench::{SHAPES, layer};
use super::subject::{Stop, Subject, Verdict, ensure, leaves_nothing};
use crate::plugins::AlphaPolicy;

/// Ranks and shapes that a policy is asked for.
fn layers() -> Vec<Layer> {
    let ranks = 1..=256;
    let layers = ranks.map(|rank| layer(rank, SHAPES[rank % SHAPES.len()], rank));
    layers.collect()
}

fn policy(subject: &Subject) -> Result<AlphaPolicy, Stop> {
    Ok(AlphaPolicy::new(subject.create()?))
}

pub fn scale(subject: &Subject) -> Verdict {
    let policy = policy(subject)?;
    for layer in layers() {
        let AlphaReply { scale, lr_a, lr_b } = policy.scale(&layer)?;
        for (what, value) in [
            ("the scale", scale),
            ("the factor on A's learning rate", lr_a),
            ("the factor on B's learning rate", lr_b),
        ] {
            ensure(value.is_finite() && value > 0.0, || {
                format!("at rank {} {what} is {value}", layer.rank)
            })?;
        }
    }
    Ok(())
}

pub fn repeats(subject: &Subject) -> Verdict {
    let (forwards, backwards) = (policy(subject)?, policy(subject)?);
    let layers = layers();
    let answers = |policy: &AlphaPolicy, layers: &mut dyn Iterator<Item = &Layer>| {
        let answers = layers.map(|layer| {
            let AlphaReply { scale, lr_a, lr_b } = policy.scale(layer)?;
            Ok([scale, lr_a, lr_b])
        });
        answers.collect::<Result<Vec<_>, Stop>>()
    };
    let first = answers(&forwards, &mut layers.iter())?;
    let again = answers(&forwards, &mut layers.iter())?;
    let mut other = answers(&backwards, &mut layers.iter().rev())?;
    other.reverse();
    for (place, layer) in layers.iter().enumerate() {
        let (first, again, other) = (first[place], again[place], other[place]);
        ensure(first == again && first == other, || {
            format!(
                "at rank {} it answers {first:?}, then {again:?}, in another order {other:?}",
                layer.rank
            )
        })?;
    }
    Ok(())
}

pub fn leaks(subject: &Subject) -> Verdict {
    leaves_nothing(|| scale(subject))
}
