//! Stochastic gradient descent with momentum, Nesterov's form and weight decay, as `torch.optim.SGD`.

use lorahost_plugin_api::prelude::*;

/// Gradient descent with optional momentum.
#[derive(Params)]
struct Sgd {
    /// Share of the last update that is kept.
    #[param(default = 0.0, min = 0.0, max = 1.0)]
    momentum: f64,
    /// Looks ahead by the momentum; needs a momentum above 0.
    #[param(default = false)]
    nesterov: bool,
    /// Added to the gradient as this share of the parameter.
    #[param(default = 0.0, min = 0.0)]
    weight_decay: f64,
    /// One buffer a parameter, from its first gradient on.
    #[param(skip)]
    velocity: Vec<Option<Tensor>>,
    #[param(skip)]
    names: Vec<String>,
}

impl Optimizer for Sgd {
    fn prepare(&mut self, group: &Group<'_>) -> Result<()> {
        if self.nesterov && self.momentum == 0.0 {
            return Err(Error::new("nesterov needs a momentum")
                .with_help("set momentum above 0, such as 0.9"));
        }
        self.names = group
            .parameters
            .iter()
            .map(|parameter| parameter.info.name.clone())
            .collect();
        self.velocity = self.names.iter().map(|_| None).collect();
        Ok(())
    }

    fn step(&mut self, group: &Group<'_>, _step: u64, lr: f64) -> Result<()> {
        for (parameter, velocity) in group.parameters.iter().zip(&mut self.velocity) {
            let Some(grad) = parameter.grad else { continue };
            let mut update = grad.copy()?;
            if parameter.info.decay && self.weight_decay > 0.0 {
                update.add_scaled_(parameter.value, self.weight_decay)?;
            }
            if self.momentum > 0.0 {
                let velocity = match velocity {
                    Some(velocity) => {
                        velocity.mul_scalar_(self.momentum)?;
                        velocity.add_(&update)?;
                        &*velocity
                    }
                    none => none.insert(update.copy()?),
                };
                if self.nesterov {
                    update.add_scaled_(velocity, self.momentum)?;
                } else {
                    update = velocity.try_clone()?;
                }
            }
            parameter
                .value
                .add_scaled_(&update, -lr * parameter.info.lr)?;
        }
        Ok(())
    }

    fn state(&self) -> Result<State> {
        let mut state = State::default();
        for (name, velocity) in self.names.iter().zip(&self.velocity) {
            if let Some(velocity) = velocity {
                state.push(name, velocity)?;
            }
        }
        Ok(state)
    }

    fn load(&mut self, mut state: State) -> Result<()> {
        for (name, velocity) in self.names.iter().zip(&mut self.velocity) {
            // A parameter that never had a gradient has no buffer.
            *velocity = state.take(name).ok();
        }
        Ok(())
    }
}

export_plugin! { optimizer "sgd" => Sgd }

#[cfg(test)]
mod tests;
