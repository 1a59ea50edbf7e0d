//! LoRA+ (arXiv 2402.12354): B learns faster than A, by one ratio for all layers; everything else learns as A does.

use lorahost_plugin_api::prelude::*;

/// AdamW with the learning rate of B multiplied by a ratio.
#[derive(Params)]
struct LoraPlus {
    /// lambda, the learning rate of B over that of A; a run's own factors on the two come on top.
    #[param(default = 16.0, min = 0.0)]
    ratio: f64,
    #[param(flatten)]
    adamw: AdamW,
    /// What is known of the parameters, B with its rate.
    #[param(skip)]
    infos: Vec<ParameterInfo>,
}

impl Optimizer for LoraPlus {
    fn prepare(&mut self, group: &Group<'_>) -> Result<()> {
        let infos = group.parameters.iter().map(|parameter| {
            let mut info = parameter.info.clone();
            if info.role == Role::B {
                info.lr *= self.ratio;
            }
            info
        });
        self.infos = infos.collect();
        self.adamw.prepare(group)
    }

    fn step(&mut self, group: &Group<'_>, step: u64, lr: f64) -> Result<()> {
        let parameters = group.parameters.iter().zip(&self.infos);
        let group = Group {
            parameters: parameters
                .map(|(&parameter, info)| Parameter { info, ..parameter })
                .collect(),
        };
        self.adamw.step(&group, step, lr)
    }

    fn state(&self) -> Result<State> {
        self.adamw.state()
    }

    fn load(&mut self, state: State) -> Result<()> {
        self.adamw.load(state)
    }
}

export_plugin! { optimizer "lora-plus" => LoraPlus }

#[cfg(test)]
mod tests;
