//! Schedule-free AdamW (arXiv 2405.15682): no learning-rate schedule and no end in sight. Gradients are taken at y, a
//! plain sequence z steps along them, and evaluations see x, the weighted mean of all z,
//!
//! ```text
//! z <- z - lr (g / (sqrt(v) + eps) + decay y), x <- (1 - c) x + c z, y = (1 - b1) z + b1 x
//! ```
//!
//! A parameter is y while the run trains and x around an evaluation, and at the end. x is not kept: it follows from y
//! and z. The weight of a step in the mean is t^r times the largest learning rate so far to a power, as in the authors'
//! package `schedulefree`, so a warm-up counts for little.

use lorahost_plugin_api::prelude::*;

/// AdamW whose evaluations see the mean of its path.
#[derive(Params)]
struct ScheduleFree {
    /// Share of the mean in the point where gradients are taken.
    #[param(default = 0.9, min = 0.01, max = 0.999999)]
    beta1: f64,
    /// Decay of the mean of squared gradients.
    #[param(default = 0.999, min = 0.0, max = 0.999999)]
    beta2: f64,
    /// Added to the square root of the second moment.
    #[param(default = 1e-8, min = 0.0)]
    eps: f64,
    /// Share of a parameter, times the learning rate, that a step takes away.
    #[param(default = 0.0, min = 0.0)]
    weight_decay: f64,
    /// Power of the step's number in its weight in the mean.
    #[param(default = 0.0, min = 0.0)]
    r: f64,
    /// Power of the largest learning rate so far in a step's weight in the mean.
    #[param(default = 2.0, min = 0.0)]
    weight_lr_power: f64,
    #[param(skip)]
    mean: Mean,
    #[param(skip)]
    points: Vec<Point>,
}

/// How far the mean has come.
#[derive(Default)]
struct Mean {
    steps: f64,
    largest_lr: f64,
    weight: f64,
}

/// State of one parameter.
struct Point {
    name: String,
    z: Tensor,
    square: Tensor,
    /// y, while the parameter is x.
    y: Option<Tensor>,
}

impl Optimizer for ScheduleFree {
    fn prepare(&mut self, group: &Group<'_>) -> Result<()> {
        let points = group.parameters.iter().map(|parameter| {
            Ok(Point {
                name: parameter.info.name.clone(),
                z: parameter.value.copy()?,
                square: parameter.value.zeros_like()?,
                y: None,
            })
        });
        self.points = points.collect::<Result<_>>()?;
        Ok(())
    }

    fn step(&mut self, group: &Group<'_>, _step: u64, lr: f64) -> Result<()> {
        let c = self.mean.share(lr, self.r, self.weight_lr_power);
        let correction = 1.0 - self.beta2.powf(self.mean.steps);
        for alike in group.alike() {
            let lr = lr * alike.lr;
            let (values, grads) = alike.of(group);
            let z = alike.pick(&self.points, |point| &point.z);
            let squares = alike.pick(&self.points, |point| &point.square);

            foreach::mul_scalar_(&squares, self.beta2)?;
            foreach::addcmul_(&squares, &grads, &grads, 1.0 - self.beta2)?;
            let roots = foreach::div_scalar(&squares, correction)?;
            let roots: Vec<_> = roots.iter().collect();
            foreach::sqrt_(&roots)?;
            foreach::add_scalar_(&roots, self.eps)?;
            let directions = foreach::div(&grads, &roots)?;
            let directions: Vec<_> = directions.iter().collect();
            if alike.decay && self.weight_decay > 0.0 {
                foreach::add_scaled_(&directions, &values, self.weight_decay)?;
            }
            // y = (1 - b1) z + b1 x after the step, without x.
            foreach::lerp_(&values, &z, c)?;
            foreach::add_scaled_(&values, &directions, lr * (self.beta1 * (1.0 - c) - 1.0))?;
            foreach::add_scaled_(&z, &directions, -lr)?;
        }
        Ok(())
    }

    fn evaluation(&mut self, group: &Group<'_>, phase: EvaluationPhase) -> Result<()> {
        for (parameter, point) in group.parameters.iter().zip(&mut self.points) {
            match phase {
                EvaluationPhase::Before if point.y.is_none() => {
                    // Kept, since the way back from x would round.
                    point.y = Some(parameter.value.copy()?);
                    parameter.value.lerp_(&point.z, 1.0 - 1.0 / self.beta1)?;
                }
                EvaluationPhase::Before => {}
                EvaluationPhase::After => {
                    if let Some(y) = point.y.take() {
                        parameter.value.copy_(&y)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn state(&self) -> Result<State> {
        let mut state = State::default();
        let Mean {
            steps,
            largest_lr,
            weight,
        } = self.mean;
        state.push_number("steps", steps)?;
        state.push_number("largest_lr", largest_lr)?;
        state.push_number("weight", weight)?;
        for Point { name, z, square, y } in &self.points {
            state.push(format!("{name}.z"), z)?;
            state.push(format!("{name}.square"), square)?;
            if let Some(y) = y {
                state.push(format!("{name}.y"), y)?;
            }
        }
        Ok(state)
    }

    /// A state that was taken around an evaluation goes on there: the parameters are x until it is over.
    fn load(&mut self, mut state: State) -> Result<()> {
        self.mean = Mean {
            steps: state.take_number("steps")?,
            largest_lr: state.take_number("largest_lr")?,
            weight: state.take_number("weight")?,
        };
        for Point { name, z, square, y } in &mut self.points {
            *z = state.take(&format!("{name}.z"))?;
            *square = state.take(&format!("{name}.square"))?;
            *y = state.take(&format!("{name}.y")).ok();
        }
        Ok(())
    }
}

impl Mean {
    /// Counts a step, and returns its share in the mean.
    fn share(&mut self, lr: f64, r: f64, lr_power: f64) -> f64 {
        self.steps += 1.0;
        self.largest_lr = self.largest_lr.max(lr);
        let weight = self.steps.powf(r) * self.largest_lr.powf(lr_power);
        self.weight += weight;
        if self.weight > 0.0 {
            weight / self.weight
        } else {
            0.0
        }
    }
}

export_plugin! { optimizer "schedule-free" => ScheduleFree }

#[cfg(test)]
mod tests;
