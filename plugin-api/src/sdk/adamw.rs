//! AdamW, for the optimizers that are it, end in it, or leave some of the parameters to it.

use lorahost_plugin_derive::Params;

use super::{Arg, Group, Optimizer, Result, State, Tensor, foreach, op};

/// Adam with decoupled weight decay.
///
/// It is that of arXiv 1711.05101, as `torch.optim.AdamW`, in one fused call for each learning rate and decay. An
/// optimizer that changes gradients or learning rates and then does this keeps it in a field with `#[param(flatten)]`
/// and passes `prepare`, `step`, `state` and `load` on, a step with the group that it made. A parameter without a
/// gradient stays as it is, its state too.
#[derive(Params)]
pub struct AdamW {
    /// Decay of the mean of gradients.
    #[param(default = 0.9, min = 0.0, max = 0.999999)]
    pub beta1: f64,
    /// Decay of the mean of squared gradients.
    #[param(default = 0.999, min = 0.0, max = 0.999999)]
    pub beta2: f64,
    /// Added to the square root of the second moment.
    #[param(default = 1e-8, min = 0.0)]
    pub eps: f64,
    /// Share of a parameter, times the learning rate, that a step takes away.
    #[param(default = 0.01, min = 0.0)]
    pub weight_decay: f64,
    #[param(skip)]
    moments: Vec<Moments>,
}

/// State of one parameter.
struct Moments {
    name: String,
    mean: Tensor,
    square: Tensor,
    /// Number of steps as a float tensor: what the fused operator counts with.
    steps: Tensor,
}

impl Optimizer for AdamW {
    fn prepare(&mut self, group: &Group<'_>) -> Result<()> {
        let moments = group.parameters.iter().map(|parameter| {
            Ok(Moments {
                name: parameter.info.name.clone(),
                mean: parameter.value.zeros_like()?,
                square: parameter.value.zeros_like()?,
                steps: Tensor::zeros(&[])?,
            })
        });
        self.moments = moments.collect::<Result<_>>()?;
        Ok(())
    }

    /// The group has the parameters of the prepared one, in its order.
    fn step(&mut self, group: &Group<'_>, _step: u64, lr: f64) -> Result<()> {
        for alike in group.alike() {
            let (values, grads) = alike.of(group);
            let steps = alike.pick(&self.moments, |moments| &moments.steps);
            foreach::add_scalar_(&steps, 1.0)?;
            op("aten::_fused_adamw_")
                .arg(&values)
                .arg(&grads)
                .arg(&alike.pick(&self.moments, |moments| &moments.mean))
                .arg(&alike.pick(&self.moments, |moments| &moments.square))
                .arg(Arg::Tensors(Vec::new()))
                .arg(&steps)
                .named("lr", lr * alike.lr)
                .named("beta1", self.beta1)
                .named("beta2", self.beta2)
                .named(
                    "weight_decay",
                    if alike.decay { self.weight_decay } else { 0.0 },
                )
                .named("eps", self.eps)
                .named("amsgrad", false)
                .named("maximize", false)
                .run()?;
        }
        Ok(())
    }

    fn state(&self) -> Result<State> {
        let mut state = State::default();
        for Moments {
            name,
            mean,
            square,
            steps,
        } in &self.moments
        {
            for (part, tensor) in [("mean", mean), ("square", square), ("steps", steps)] {
                state.push(format!("{name}.{part}"), tensor)?;
            }
        }
        Ok(state)
    }

    fn load(&mut self, mut state: State) -> Result<()> {
        for Moments {
            name,
            mean,
            square,
            steps,
        } in &mut self.moments
        {
            for (part, tensor) in [("mean", mean), ("square", square), ("steps", steps)] {
                *tensor = state.take(&format!("{name}.{part}"))?;
            }
        }
        Ok(())
    }
}
