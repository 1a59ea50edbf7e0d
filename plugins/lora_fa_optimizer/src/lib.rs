//! LoRA-FA (arXiv 2308.03303): A stays where it started, and B moves along the gradient for which s B A comes closest to
//! a step of the full weight,
//!
//! ```text
//! g_B <- g_B (A A')^-1 / s^2
//! ```
//!
//! by AdamW. Everything that is no factor takes AdamW on its own gradient.

use lorahost_plugin_api::prelude::*;

/// AdamW on B's projected gradient; A does not move.
#[derive(Params)]
struct LoraFa {
    /// Added to the diagonal of A A', which has no inverse where A is of low rank.
    #[param(default = 1e-8, min = 1e-12)]
    damping: f64,
    #[param(flatten)]
    adamw: AdamW,
    /// (A A')^-1 / s^2 of each B, by its place in the group: A never changes.
    #[param(skip)]
    metrics: Vec<Option<Tensor>>,
}

impl Optimizer for LoraFa {
    fn prepare(&mut self, group: &Group<'_>) -> Result<()> {
        let parameters = group.parameters.iter().enumerate();
        let metrics = parameters.map(|(place, Parameter { info, .. })| {
            let partner = group.partner(place);
            match (info.role, partner) {
                (Role::B, Some(a)) => {
                    let metric = inverse_gram(group.parameters[a].value, self.damping)?;
                    metric.mul_scalar_(info.inverse_square_scale()?)?;
                    Ok(Some(metric))
                }
                (Role::A | Role::B, None) => Err(Error::new(format!(
                    "{} has no partner that learns: lora-fa needs A and B of a pair",
                    info.name
                ))
                .with_help("choose an init scheme that freezes neither factor")),
                _ => Ok(None),
            }
        });
        self.metrics = metrics.collect::<Result<_>>()?;
        self.adamw.prepare(&moving(group))
    }

    fn step(&mut self, group: &Group<'_>, step: u64, lr: f64) -> Result<()> {
        let both = group.parameters.iter().zip(&self.metrics);
        let gradients = both.map(|(parameter, metric)| match (parameter.grad, metric) {
            (Some(grad), Some(metric)) => grad.matmul(metric).map(Some),
            _ => Ok(None),
        });
        let gradients = gradients.collect::<Result<Vec<_>>>()?;
        let group = group.with_gradients(&gradients);
        self.adamw.step(&moving(&group), step, lr)
    }

    fn state(&self) -> Result<State> {
        self.adamw.state()
    }

    fn load(&mut self, state: State) -> Result<()> {
        self.adamw.load(state)
    }
}

/// All but A.
fn moving<'a>(group: &Group<'a>) -> Group<'a> {
    group.only(|info| info.role != Role::A)
}

export_plugin! { optimizer "lora-fa" => LoraFa }

#[cfg(test)]
mod tests;
