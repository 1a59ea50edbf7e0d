//! AdamW, for the optimizers that are it, end in it, or leave some of the parameters to it.

use lorahost_plugin_derive::Params;

use super::{Arg, Group, Kind, Optimizer, Result, State, Tensor, op};

/// Adam with decoupled weight decay.
///
/// It is that of arXiv 1711.05101, as `torch.optim.AdamW`, in one fused call for each learning rate, decay and age. An
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
    /// Number of steps that it was moved by.
    steps: f64,
}

impl Optimizer for AdamW {
    fn prepare(&mut self, group: &Group<'_>) -> Result<()> {
        let moments = group.parameters.iter().map(|parameter| {
            Ok(Moments {
                name: parameter.info.name.clone(),
                mean: parameter.value.zeros_like()?,
                square: parameter.value.zeros_like()?,
                steps: 0.0,
            })
        });
        self.moments = moments.collect::<Result<_>>()?;
        Ok(())
    }

    /// The group has the parameters of the prepared one, in its order.
    fn step(&mut self, group: &Group<'_>, _step: u64, lr: f64) -> Result<()> {
        let age = |place: usize| self.moments.get(place).map_or(0.0, |moments| moments.steps);
        for (age, alike) in group.alike_by(age) {
            let (values, grads) = alike.of(group);
            // One count for all, where `torch.optim` has one for each parameter; in float32 on the parameters' device.
            let steps = op("aten::full")
                .arg(&[])
                .arg(age + 1.0)
                .named("dtype", Kind::Float)
                .named("device", Tensor::default_device()?)
                .tensor()?;
            op("aten::_fused_adamw_")
                .arg(&values)
                .arg(&grads)
                .arg(&alike.pick(&self.moments, |moments| &moments.mean))
                .arg(&alike.pick(&self.moments, |moments| &moments.square))
                .arg(Arg::Tensors(Vec::new()))
                .arg(&vec![&steps; values.len()])
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
            for place in alike.members {
                if let Some(moments) = self.moments.get_mut(place) {
                    moments.steps += 1.0;
                }
            }
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
            state.push(format!("{name}.mean"), mean)?;
            state.push(format!("{name}.square"), square)?;
            state.push_number(format!("{name}.steps"), *steps)?;
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
            *mean = state.take(&format!("{name}.mean"))?;
            *square = state.take(&format!("{name}.square"))?;
            *steps = state.take_number(&format!("{name}.steps"))?;
        }
        Ok(())
    }
}
