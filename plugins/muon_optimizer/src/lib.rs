//! Muon (Jordan 2024, <https://kellerjordan.github.io/posts/muon/>; at scale: arXiv 2502.16982): each matrix steps along
//! its momentum with all singular values brought near 1,
//!
//! ```text
//! m <- b m + (1 - b) g, w <- (1 - lr decay) w - lr adjust NS(m, or with Nesterov (1 - b) g + b m)
//! ```
//!
//! NS being five steps of a Newton-Schulz iteration. Its matrices are A, B and the weights of the model's linear layers;
//! biases, norms, embeddings and the head take AdamW with the same learning rate and decay. As `torch.optim.Muon`, but
//! for the iteration, which torch does in bfloat16 and this in the type of the parameters.

use lorahost_plugin_api::prelude::*;

/// Coefficients of X <- a X + (b X X' + c (X X')^2) X.
const COEFFICIENTS: (f64, f64, f64) = (3.4445, -4.775, 2.0315);
const ITERATIONS: usize = 5;

/// Orthogonalised momentum for matrices, AdamW for the rest.
#[derive(Params)]
struct Muon {
    /// Decay of the momentum.
    #[param(default = 0.95, min = 0.0, max = 0.999999)]
    momentum: f64,
    /// Mixes the gradient into the momentum once more.
    #[param(default = true)]
    nesterov: bool,
    /// Factor on the learning rate of a matrix: `original`, sqrt(max(1, rows / columns)), or `match_rms_adamw`,
    /// 0.2 sqrt(max(rows, columns)), with which a learning rate of AdamW keeps its meaning.
    #[param(default = "original")]
    adjust: Adjust,
    #[param(flatten)]
    adamw: AdamW,
    /// Momentum by parameter; none for those of AdamW.
    #[param(skip)]
    momenta: Vec<(String, Option<Tensor>)>,
}

#[derive(Choice)]
enum Adjust {
    Original,
    MatchRmsAdamw,
}

impl Adjust {
    fn factor(&self, shape: &[i64]) -> f64 {
        let rows = shape.first().map_or(1.0, |&rows| rows as f64);
        let columns = shape.last().map_or(1.0, |&columns| columns as f64);
        match self {
            Adjust::Original => (rows / columns).max(1.0).sqrt(),
            Adjust::MatchRmsAdamw => 0.2 * rows.max(columns).sqrt(),
        }
    }
}

impl Optimizer for Muon {
    fn prepare(&mut self, group: &Group<'_>) -> Result<()> {
        let momenta = group
            .parameters
            .iter()
            .map(|Parameter { info, value, .. }| {
                let momentum = is_matrix(info).then(|| value.zeros_like()).transpose()?;
                Ok((info.name.clone(), momentum))
            });
        self.momenta = momenta.collect::<Result<_>>()?;
        self.adamw.prepare(&group.only(|info| !is_matrix(info)))
    }

    fn step(&mut self, group: &Group<'_>, step: u64, lr: f64) -> Result<()> {
        for (parameter, (_, momentum)) in group.parameters.iter().zip(&self.momenta) {
            let Parameter { info, value, grad } = parameter;
            let (Some(grad), Some(momentum)) = (grad, momentum) else {
                continue;
            };
            momentum.lerp_(grad, 1.0 - self.momentum)?;
            let update = if self.nesterov {
                let update = grad.copy()?;
                update.lerp_(momentum, self.momentum)?;
                update
            } else {
                momentum.try_clone()?
            };
            let lr = lr * info.lr;
            if info.decay {
                value.mul_scalar_(1.0 - lr * self.adamw.weight_decay)?;
            }
            let factor = self.adjust.factor(&value.shape()?);
            let update = update.orthogonalize(ITERATIONS, COEFFICIENTS)?;
            value.add_scaled_(&update, -lr * factor)?;
        }
        let rest = group.only(|info| !is_matrix(info));
        self.adamw.step(&rest, step, lr)
    }

    fn state(&self) -> Result<State> {
        let mut state = self.adamw.state()?;
        for (name, momentum) in &self.momenta {
            if let Some(momentum) = momentum {
                state.push(format!("{name}.momentum"), momentum)?;
            }
        }
        Ok(state)
    }

    fn load(&mut self, mut state: State) -> Result<()> {
        for (name, momentum) in &mut self.momenta {
            if let Some(momentum) = momentum {
                *momentum = state.take(&format!("{name}.momentum"))?;
            }
        }
        self.adamw.load(state)
    }
}

fn is_matrix(info: &ParameterInfo) -> bool {
    matches!(info.role, Role::A | Role::B | Role::Base)
}

export_plugin! { optimizer "muon" => Muon }

#[cfg(test)]
mod tests;
