//! AdamW (arXiv 1711.05101), as `torch.optim.AdamW`, in one fused call for each learning rate and decay.

use lorahost_plugin_api::prelude::*;

/// Adam with decoupled weight decay.
#[derive(Params)]
struct AdamW {
    /// Decay of the mean of gradients.
    #[param(default = 0.9, min = 0.0, max = 1.0)]
    beta1: f64,
    /// Decay of the mean of squared gradients.
    #[param(default = 0.999, min = 0.0, max = 1.0)]
    beta2: f64,
    /// Added to the square root of the second moment.
    #[param(default = 1e-8, min = 0.0)]
    eps: f64,
    /// Share of a parameter, times the learning rate, that a step takes away.
    #[param(default = 0.01, min = 0.0)]
    weight_decay: f64,
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

/// A parameter that moves in this step.
struct Member<'a> {
    parameter: Parameter<'a>,
    grad: &'a Tensor,
    moments: &'a Moments,
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

    fn step(&mut self, group: &Group<'_>, _step: u64, lr: f64) -> Result<()> {
        let mut members: Vec<_> = group
            .parameters
            .iter()
            .zip(&self.moments)
            .filter_map(|(&parameter, moments)| {
                Some(Member {
                    parameter,
                    grad: parameter.grad?,
                    moments,
                })
            })
            .collect();
        // One fused call takes one learning rate and one decay.
        let settings =
            |member: &Member<'_>| (member.parameter.info.lr, member.parameter.info.decay);
        while let Some((factor, decay)) = members.first().map(settings) {
            let (now, later) = members
                .into_iter()
                .partition(|member| settings(member) == (factor, decay));
            self.fused(
                &now,
                lr * factor,
                if decay { self.weight_decay } else { 0.0 },
            )?;
            members = later;
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

impl AdamW {
    fn fused(&self, members: &Vec<Member<'_>>, lr: f64, weight_decay: f64) -> Result<()> {
        let list = |pick: for<'m> fn(&'m Member<'_>) -> &'m Tensor| {
            members.iter().map(pick).collect::<Vec<_>>()
        };
        for member in members {
            op("aten::add_.Scalar")
                .arg(&member.moments.steps)
                .arg(1.0)
                .run()?;
        }
        op("aten::_fused_adamw_")
            .arg(&list(|member| member.parameter.value))
            .arg(&list(|member| member.grad))
            .arg(&list(|member| &member.moments.mean))
            .arg(&list(|member| &member.moments.square))
            .arg(Arg::Tensors(Vec::new()))
            .arg(&list(|member| &member.moments.steps))
            .named("lr", lr)
            .named("beta1", self.beta1)
            .named("beta2", self.beta2)
            .named("weight_decay", weight_decay)
            .named("eps", self.eps)
            .named("amsgrad", false)
            .named("maximize", false)
            .run()
    }
}

export_plugin! { optimizer "adamw" => AdamW }

#[cfg(test)]
mod tests;
