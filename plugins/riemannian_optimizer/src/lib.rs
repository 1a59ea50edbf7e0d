//! Riemannian preconditioned LoRA (arXiv 2402.02347): each factor's gradient in the metric of the other factor,
//!
//! ```text
//! g_A <- (B'B + d I)^-1 g_A, g_B <- g_B (A A' + d I)^-1
//! ```
//!
//! and then AdamW. A factor without its partner in the group (one of them is frozen), and whatever is no factor, takes
//! AdamW on its own gradient.

use lorahost_plugin_api::prelude::*;

/// AdamW on gradients that are preconditioned by the other factor of the pair.
#[derive(Params)]
struct Riemannian {
    /// d, added to the diagonal of B'B and A A': at the start B = 0.
    #[param(default = 1e-2, min = 1e-12)]
    damping: f64,
    #[param(flatten)]
    adamw: AdamW,
}

impl Optimizer for Riemannian {
    fn prepare(&mut self, group: &Group<'_>) -> Result<()> {
        self.adamw.prepare(group)
    }

    fn step(&mut self, group: &Group<'_>, step: u64, lr: f64) -> Result<()> {
        let parameters = group.parameters.iter().enumerate();
        let gradients = parameters.map(|(place, parameter)| {
            let (Some(grad), Some(partner)) = (parameter.grad, group.partner(place)) else {
                return Ok(None);
            };
            let partner = group.parameters[partner].value;
            let preconditioned = match parameter.info.role {
                Role::A => inverse_gram(&partner.t()?, self.damping)?.matmul(grad)?,
                Role::B => grad.matmul(&inverse_gram(partner, self.damping)?)?,
                _ => return Ok(None),
            };
            Ok(Some(preconditioned))
        });
        let gradients = gradients.collect::<Result<Vec<_>>>()?;
        self.adamw.step(&group.with_gradients(&gradients), step, lr)
    }

    fn state(&self) -> Result<State> {
        self.adamw.state()
    }

    fn load(&mut self, state: State) -> Result<()> {
        self.adamw.load(state)
    }
}

export_plugin! { optimizer "riemannian" => Riemannian }

#[cfg(test)]
mod tests;
