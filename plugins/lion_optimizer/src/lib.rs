//! Lion (arXiv 2302.06675): steps of one size in every coordinate, along the sign of an interpolation between momentum
//! and gradient,
//!
//! ```text
//! c = b1 m + (1 - b1) g, w <- w - lr (sign(c) + decay w), m <- b2 m + (1 - b2) g
//! ```

use lorahost_plugin_api::prelude::*;

/// The sign of momentum and gradient.
#[derive(Params)]
struct Lion {
    /// Share of the momentum in the direction of a step.
    #[param(default = 0.9, min = 0.0, max = 0.999999)]
    beta1: f64,
    /// Decay of the momentum.
    #[param(default = 0.99, min = 0.0, max = 0.999999)]
    beta2: f64,
    /// Share of a parameter, times the learning rate, that a step takes away.
    #[param(default = 0.0, min = 0.0)]
    weight_decay: f64,
    #[param(skip)]
    momenta: Vec<(String, Tensor)>,
}

impl Optimizer for Lion {
    fn prepare(&mut self, group: &Group<'_>) -> Result<()> {
        let momenta = group.parameters.iter().map(|parameter| {
            let zero = parameter.value.zeros_like()?;
            Ok((parameter.info.name.clone(), zero))
        });
        self.momenta = momenta.collect::<Result<_>>()?;
        Ok(())
    }

    fn step(&mut self, group: &Group<'_>, _step: u64, lr: f64) -> Result<()> {
        for alike in group.alike() {
            let lr = lr * alike.lr;
            let (values, grads) = alike.of(group);
            let momenta = alike.pick(&self.momenta, |(_, momentum)| momentum);

            let mixed = foreach::lerp(&momenta, &grads, 1.0 - self.beta1)?;
            let mixed: Vec<_> = mixed.iter().collect();
            let directions = foreach::sign(&mixed)?;
            let directions: Vec<_> = directions.iter().collect();
            // The sign of NaN is 0: without this a run that diverged would stand still instead.
            foreach::sub_(&mixed, &mixed)?;
            foreach::add_scaled_(&directions, &mixed, 1.0)?;

            if alike.decay && self.weight_decay > 0.0 {
                foreach::mul_scalar_(&values, 1.0 - lr * self.weight_decay)?;
            }
            foreach::add_scaled_(&values, &directions, -lr)?;
            foreach::lerp_(&momenta, &grads, 1.0 - self.beta2)?;
        }
        Ok(())
    }

    fn state(&self) -> Result<State> {
        let mut state = State::default();
        for (name, momentum) in &self.momenta {
            state.push(name, momentum)?;
        }
        Ok(state)
    }

    fn load(&mut self, mut state: State) -> Result<()> {
        for (name, momentum) in &mut self.momenta {
            *momentum = state.take(name)?;
        }
        Ok(())
    }
}

export_plugin! { optimizer "lion" => Lion }

#[cfg(test)]
mod tests;
