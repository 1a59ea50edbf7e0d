//! Optimizers that a run would take, each with one defect that `lorahost plugin check` finds. All but that are gradient
//! descent.

use std::sync::atomic::{AtomicUsize, Ordering};

use lorahost_plugin_api::prelude::*;

/// Moves along the gradient, `rate(parameter)` times the learning rate.
fn descend(group: &Group<'_>, lr: f64, rate: impl Fn(&Parameter<'_>) -> Result<f64>) -> Result<()> {
    for parameter in &group.parameters {
        if let Some(grad) = parameter.grad {
            parameter.value.add_scaled_(grad, -lr * rate(parameter)?)?;
        }
    }
    Ok(())
}

/// An optimizer that only has a step.
macro_rules! stepping {
    ($(#[$doc:meta])* $type:ident, |$group:ident, $lr:ident| $step:block) => {
        $(#[$doc])*
        #[derive(Params)]
        struct $type;

        impl Optimizer for $type {
            fn step(&mut self, $group: &Group<'_>, _step: u64, $lr: f64) -> Result<()> $step
        }
    };
}

stepping! {
    /// Goes up.
    Climbs, |group, lr| { descend(group, -lr, |one| Ok(one.info.lr)) }
}

stepping! {
    /// Takes another step each time.
    Moody, |group, lr| {
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        let calls = CALLS.fetch_add(1, Ordering::Relaxed) as f64;
        descend(group, lr, |one| Ok(one.info.lr * (1.0 + calls / 1e4)))
    }
}

stepping! {
    /// Leaves no gradient behind.
    Tidies, |group, lr| {
        descend(group, lr, |one| Ok(one.info.lr))?;
        for grad in group.parameters.iter().filter_map(|one| one.grad) {
            grad.fill_(0.0)?;
        }
        Ok(())
    }
}

stepping! {
    /// Takes no notice of factors on the learning rate.
    Deaf, |group, lr| { descend(group, lr, |_| Ok(1.0)) }
}

stepping! {
    /// Divides by the gradient's norm.
    Divides, |group, lr| {
        descend(group, lr, |one| {
            let norm = one.grad.map_or(Ok(1.0), |grad| grad.norm()?.item())?;
            Ok(one.info.lr / norm)
        })
    }
}

stepping! {
    /// Refuses what is not finite.
    Brittle, |group, lr| {
        for one in &group.parameters {
            let norm = one.grad.map_or(Ok(1.0), |grad| grad.norm()?.item())?;
            if !norm.is_finite() {
                return Err(Error::new(format!("the gradient of {} is {norm}", one.info.name)));
            }
        }
        descend(group, lr, |one| Ok(one.info.lr))
    }
}

stepping! {
    /// Wants both factors of a pair.
    Paired, |group, lr| {
        for (place, one) in group.parameters.iter().enumerate() {
            let lone = one.info.pair.is_some() && group.partner(place).is_none();
            assert!(!lone, "{} is alone", one.info.name);
        }
        descend(group, lr, |one| Ok(one.info.lr))
    }
}

stepping! {
    /// Moves factors alone.
    Narrow, |group, lr| {
        descend(group, lr, |one| Ok(if one.info.pair.is_some() { one.info.lr } else { 0.0 }))
    }
}

stepping! {
    /// Forgets a tensor in each step.
    Keeps, |group, lr| {
        std::mem::forget(Tensor::zeros(&[1])?);
        descend(group, lr, |one| Ok(one.info.lr))
    }
}

/// Has momentum, and does not save it.
#[derive(Params)]
struct Forgets {
    #[param(skip)]
    velocity: Vec<Tensor>,
}

impl Optimizer for Forgets {
    fn prepare(&mut self, group: &Group<'_>) -> Result<()> {
        let zeros = group.parameters.iter().map(|one| one.value.zeros_like());
        self.velocity = zeros.collect::<Result<_>>()?;
        Ok(())
    }

    fn step(&mut self, group: &Group<'_>, _step: u64, lr: f64) -> Result<()> {
        for (one, velocity) in group.parameters.iter().zip(&self.velocity) {
            if let Some(grad) = one.grad {
                velocity.mul_scalar_(0.5)?;
                velocity.add_(grad)?;
                one.value.add_scaled_(velocity, -lr * one.info.lr)?;
            }
        }
        Ok(())
    }
}

/// Shows itself at another point in an evaluation, and stays there.
#[derive(Params)]
struct Stays;

impl Optimizer for Stays {
    fn step(&mut self, group: &Group<'_>, _step: u64, lr: f64) -> Result<()> {
        descend(group, lr, |one| Ok(one.info.lr))
    }

    fn evaluation(&mut self, group: &Group<'_>, phase: EvaluationPhase) -> Result<()> {
        for one in &group.parameters {
            if phase == EvaluationPhase::Before {
                one.value.mul_scalar_(0.99)?;
            }
        }
        Ok(())
    }
}

export_plugin! {
    optimizer "climbs" => Climbs,
    optimizer "moody" => Moody,
    optimizer "tidies" => Tidies,
    optimizer "deaf" => Deaf,
    optimizer "divides" => Divides,
    optimizer "brittle" => Brittle,
    optimizer "paired" => Paired,
    optimizer "narrow" => Narrow,
    optimizer "keeps" => Keeps,
    optimizer "forgets" => Forgets,
    optimizer "stays" => Stays,
}
