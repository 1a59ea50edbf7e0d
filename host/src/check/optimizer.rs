//! Tests of optimizers.

use lorahost_plugin_api::protocol::{EvaluationPhase, Role};
use tch::Kind;

use super::optimizer_bench::{Descent, Members};
use super::sample::same;
use super::subject::{
    Stop, Subject, Verdict, ensure, failed, is_refusal, leaves_nothing, skipped, words,
};

/// The learning rates that are tried.
const RATES: [f64; 6] = [1.0, 0.3, 0.1, 0.03, 0.01, 0.001];
/// Steps at each of them.
const STEPS: u64 = 100;
/// The multiple of the first loss from which on a rate is given up.
const FAR: f64 = 1e3;
/// A learning rate for tests that are not about how far a step goes.
const RATE: f64 = 0.01;

/// Shape, type and device are looked at where every run looks at them.
pub fn steps(subject: &Subject) -> Verdict {
    moves(Descent::lora(subject)?)
}

pub fn descends(subject: &Subject) -> Verdict {
    let mut best = f64::INFINITY;
    let mut first = 0.0;
    for rate in RATES {
        let mut descent = Descent::lora(subject)?;
        first = descent.evaluated()?;
        for _ in 0..STEPS {
            // A rate that is too large is no fault of the optimizer's.
            let loss = descent.loss().double_value(&[]);
            if !loss.is_finite() || loss > FAR * first {
                break;
            }
            descent.steps(1, rate)?;
        }
        best = best.min(descent.evaluated()?);
        if best <= 0.5 * first {
            return Ok(());
        }
    }
    Err(failed(format!(
        "the loss of {first:.4} came down to {best:.4} at best"
    )))
}

pub fn repeats(subject: &Subject) -> Verdict {
    let (mut one, mut other) = (Descent::lora(subject)?, Descent::lora(subject)?);
    one.steps(5, RATE)?;
    other.steps(5, RATE)?;
    unchanged(
        &other,
        &one.snapshot(),
        "comes out different the second time",
    )
}

pub fn resumes(subject: &Subject) -> Verdict {
    let mut whole = Descent::lora(subject)?;
    whole.steps(3, RATE)?;
    let mut resumed = Descent::lora(subject)?;
    resumed.resume(&whole)?;
    whole.steps(3, RATE)?;
    resumed.steps(3, RATE)?;
    unchanged(
        &resumed,
        &whole.snapshot(),
        "goes on in another way after save and load",
    )
}

pub fn evaluation(subject: &Subject) -> Verdict {
    let (mut plain, mut watched) = (Descent::lora(subject)?, Descent::lora(subject)?);
    plain.steps(3, RATE)?;
    watched.steps(3, RATE)?;
    let before = watched.snapshot();
    for phase in [EvaluationPhase::Before, EvaluationPhase::After] {
        watched.optimizer.evaluation(phase)?;
    }
    unchanged(&watched, &before, "is another one after an evaluation")?;
    plain.steps(3, RATE)?;
    watched.steps(3, RATE)?;
    unchanged(
        &watched,
        &plain.snapshot(),
        "goes on in another way after an evaluation",
    )
}

pub fn keeps_off(subject: &Subject) -> Verdict {
    let mut descent = Descent::lora(subject)?;
    descent.steps(2, RATE)?;
    descent.backward()?;
    let gradients: Vec<_> = descent
        .values()
        .iter()
        .map(|value| value.grad().copy())
        .collect();
    descent.step(RATE)?;
    for (value, before) in descent.values().iter().zip(&gradients) {
        ensure(same(&value.grad(), before), || {
            "it changes the gradients that it is given".to_owned()
        })?;
    }
    descent.forget()?;
    let before = descent.snapshot();
    descent.step(RATE)?;
    unchanged(&descent, &before, "has no gradient, and is changed")
}

pub fn lone_factor(subject: &Subject) -> Verdict {
    let mut refusals = Vec::new();
    for role in [Role::A, Role::B] {
        match Descent::new(subject, Members::Lone(role), Kind::Float, |_| ())? {
            Ok(descent) => moves(descent)?,
            Err(error) if is_refusal(&error) => refusals.push(words(&error)),
            Err(error) => return Err(error.into()),
        }
    }
    match refusals.pop() {
        None => Ok(()),
        Some(refusal) => Err(skipped(refusal)),
    }
}

pub fn full(subject: &Subject) -> Verdict {
    moves(Descent::new(subject, Members::Full, Kind::Float, |_| ())??)
}

pub fn own_rate(subject: &Subject) -> Verdict {
    const STILL: [&str; 2] = ["encoder.layer.1.dense.lora_B", "classifier.bias"];
    let made = Descent::new(subject, Members::Lora, Kind::Float, |info| {
        if STILL.contains(&info.name.as_str()) {
            info.lr = 0.0;
        }
    })?;
    let mut descent = match made {
        Ok(descent) => descent,
        Err(error) if is_refusal(&error) => return Err(skipped(words(&error))),
        Err(error) => return Err(error.into()),
    };
    let before = descent.snapshot();
    descent.steps(3, RATE)?;
    let infos = &descent.optimizer.group().infos;
    for ((info, value), before) in infos.iter().zip(descent.values()).zip(&before) {
        let still = !STILL.contains(&info.name.as_str()) || same(&value.detach(), before);
        ensure(still, || format!("{} moves, with the factor 0", info.name))?;
    }
    ensure(descent.differs(&before).is_some(), || {
        "nothing moves, where two of six parameters have the factor 0".to_owned()
    })
}

pub fn zero_gradients(subject: &Subject) -> Verdict {
    let mut descent = Descent::lora(subject)?;
    for _ in 0..3 {
        descent.gradients_of(0.0)?;
        descent.step(RATE)?;
    }
    finite(&descent)
}

pub fn non_finite(subject: &Subject) -> Verdict {
    for value in [f64::NAN, f64::INFINITY] {
        let mut descent = Descent::lora(subject)?;
        descent.steps(2, RATE)?;
        for _ in 0..2 {
            descent.gradients_of(value)?;
            descent.step(RATE)?;
        }
    }
    Ok(())
}

/// That the type stays is looked at in every step.
pub fn dtype(subject: &Subject) -> Verdict {
    for members in [Members::Lora, Members::Full] {
        moves(Descent::new(subject, members, Kind::Double, |_| ())??)?;
    }
    Ok(())
}

pub fn leaks(subject: &Subject) -> Verdict {
    leaves_nothing(|| {
        let mut descent = Descent::lora(subject)?;
        descent.steps(2, RATE)?;
        descent.evaluated()?;
        descent.optimizer.state()?;
        Ok(())
    })
}

/// Whether three steps change something, and leave all of it finite.
fn moves(mut descent: Descent) -> Verdict {
    let before = descent.snapshot();
    descent.steps(3, RATE)?;
    ensure(descent.differs(&before).is_some(), || {
        "three steps change nothing".to_owned()
    })?;
    finite(&descent)
}

fn finite(descent: &Descent) -> Verdict {
    descent
        .broken()
        .map_or(Ok(()), |name| Err(failed(format!("{name} is not finite"))))
}

fn unchanged(descent: &Descent, before: &[tch::Tensor], what: &str) -> Result<(), Stop> {
    descent
        .differs(before)
        .map_or(Ok(()), |name| Err(failed(format!("{name} {what}"))))
}
