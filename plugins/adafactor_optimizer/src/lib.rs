//! Adafactor (arXiv 1804.04235), as `torch.optim.Adafactor`: the second moment of a matrix is kept as the means of its
//! rows and columns, a step is clipped by its root mean square, and the learning rate is relative to that of the
//! parameter,
//!
//! ```text
//! b = t^decay, R <- R + b (row means of g^2 - R), C likewise, V = R C / mean(R), u = g / sqrt(V),
//! w <- (1 - lr wd) w - max(eps2, rms(w)) min(lr, 1/sqrt(t)) u / max(1, rms(u) / clip)
//! ```

use lorahost_plugin_api::prelude::*;

/// Adam's second moment in factored form, with relative steps.
#[derive(Params)]
struct Adafactor {
    /// The second moment's newest value weighs t^decay in step t.
    #[param(default = -0.8, max = 0.0)]
    beta2_decay: f64,
    /// Least root of a second moment; the default is the distance from 1 to the next float32.
    #[param(default = 1.1920928955078125e-7, min = 0.0)]
    eps1: f64,
    /// Least root mean square of a parameter that steps are relative to: B = 0 moves by it at the start.
    #[param(default = 1e-3, min = 0.0)]
    eps2: f64,
    /// Root mean square of a step from which on it is clipped.
    #[param(default = 1.0, min = 1.0)]
    clip: f64,
    /// Share of a parameter, times the learning rate, that a step takes away.
    #[param(default = 0.0, min = 0.0)]
    weight_decay: f64,
    #[param(skip)]
    moments: Vec<Moments>,
}

/// State of one parameter.
struct Moments {
    name: String,
    steps: f64,
    square: Square,
}

/// Mean of squared gradients.
enum Square {
    /// Of a matrix: by row `[rows, 1]` and by column `[1, columns]`.
    Factored(Tensor, Tensor),
    Full(Tensor),
}

impl Optimizer for Adafactor {
    fn prepare(&mut self, group: &Group<'_>) -> Result<()> {
        let moments = group.parameters.iter().map(|parameter| {
            let square = match parameter.value.shape()?[..] {
                [rows, columns] => {
                    Square::Factored(Tensor::zeros(&[rows, 1])?, Tensor::zeros(&[1, columns])?)
                }
                _ => Square::Full(parameter.value.zeros_like()?),
            };
            Ok(Moments {
                name: parameter.info.name.clone(),
                steps: 0.0,
                square,
            })
        });
        self.moments = moments.collect::<Result<_>>()?;
        Ok(())
    }

    fn step(&mut self, group: &Group<'_>, _step: u64, lr: f64) -> Result<()> {
        for (parameter, moments) in group.parameters.iter().zip(&mut self.moments) {
            let Parameter { info, value, grad } = parameter;
            let Some(grad) = grad else { continue };
            moments.steps += 1.0;
            let lr = lr * info.lr;
            let relative = root_mean_square(value)?.max(self.eps2);
            let rate = relative * lr.min(moments.steps.sqrt().recip());

            let newest = moments.steps.powf(self.beta2_decay);
            let update = moments.square.update(grad, newest, self.eps1)?;
            update.mul_(grad)?;
            // Not `max`, which would pass over a NaN.
            let excess = root_mean_square(&update)? / self.clip;
            let clipped = if excess < 1.0 { 1.0 } else { excess };
            if info.decay && self.weight_decay > 0.0 {
                value.mul_scalar_(1.0 - lr * self.weight_decay)?;
            }
            value.add_scaled_(&update, -rate / clipped)?;
        }
        Ok(())
    }

    fn state(&self) -> Result<State> {
        let mut state = State::default();
        for moments in &self.moments {
            state.push_number(format!("{}.steps", moments.name), moments.steps)?;
            for (part, tensor) in moments.square.parts() {
                state.push(format!("{}.{part}", moments.name), tensor)?;
            }
        }
        Ok(state)
    }

    fn load(&mut self, mut state: State) -> Result<()> {
        for moments in &mut self.moments {
            let name = &moments.name;
            moments.steps = state.take_number(&format!("{name}.steps"))?;
            let mut take = |part| state.take(&format!("{name}.{part}"));
            moments.square = match moments.square {
                Square::Factored(..) => Square::Factored(take("rows")?, take("columns")?),
                Square::Full(_) => Square::Full(take("square")?),
            };
        }
        Ok(())
    }
}

impl Square {
    /// Takes in a gradient with weight `newest`, and returns 1 / sqrt of the whole.
    fn update(&self, grad: &Tensor, newest: f64, eps: f64) -> Result<Tensor> {
        let square = grad.square()?;
        let estimate = match self {
            Square::Factored(rows, columns) => {
                rows.lerp_(&square.mean_dim(&[1], true)?, newest)?;
                columns.lerp_(&square.mean_dim(&[0], true)?, newest)?;
                let mean = rows.mean()?.clamp(eps, f64::INFINITY)?;
                rows.matmul(columns)?.div_tensor(&mean)?
            }
            Square::Full(all) => {
                all.lerp_(&square, newest)?;
                all.copy()?
            }
        };
        estimate.clamp(eps * eps, f64::INFINITY)?.rsqrt()
    }

    fn parts(&self) -> Vec<(&str, &Tensor)> {
        match self {
            Square::Factored(rows, columns) => vec![("rows", rows), ("columns", columns)],
            Square::Full(all) => vec![("square", all)],
        }
    }
}

fn root_mean_square(tensor: &Tensor) -> Result<f64> {
    tensor.square()?.mean()?.sqrt()?.item()
}

export_plugin! { optimizer "adafactor" => Adafactor }

#[cfg(test)]
mod tests;
