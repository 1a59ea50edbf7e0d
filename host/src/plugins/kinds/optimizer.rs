//! Optimizers: the whole group in one call a step.

use lorahost_plugin_api::protocol::{
    EvaluationPhase, EvaluationRequest, OptimizerState, ParameterInfo, PrepareRequest, StepRequest,
};
use tch::Tensor;

use crate::native::dispatch::{check_plain, same_form};
use crate::plugins::component::Invocation;
use crate::plugins::scope::Scope;
use crate::plugins::{Component, PluginError};

/// An optimizer of a plugin with the parameters it moves.
pub struct Optimizer {
    component: Component,
    group: OptimizerGroup,
    /// What a step must leave as it is: tensors of each parameter's shape, type and device.
    forms: Vec<Tensor>,
    seed: u64,
}

/// Parameters and what is known of them, in an order that does not change.
pub struct OptimizerGroup {
    pub infos: Vec<ParameterInfo>,
    pub values: Vec<Tensor>,
}

/// Type, shape and device of a tensor, or what else it is.
fn form(tensor: &Tensor) -> String {
    check_plain(tensor).map_or_else(
        |what| what,
        |()| {
            let (kind, shape, device) = (tensor.kind(), tensor.size(), tensor.device());
            format!("{kind:?} {shape:?} on {device:?}")
        },
    )
}

impl Optimizer {
    /// Prepares the component for these parameters.
    ///
    /// # Errors
    /// When the optimizer refuses them.
    pub fn new(
        component: Component,
        group: OptimizerGroup,
        seed: u64,
    ) -> Result<Self, PluginError> {
        let optimizer = Self {
            component,
            forms: group.values.iter().map(Tensor::detach).collect(),
            group,
            seed,
        };
        let message = PrepareRequest {
            parameters: optimizer.group.infos.clone(),
        };
        optimizer.run(&message, "prepare", "", &optimizer.values())?;
        Ok(optimizer)
    }

    /// Step `step` (from 1); gradients are those that the backward pass left.
    ///
    /// # Errors
    /// When the optimizer fails, or gives a parameter another shape, type or device.
    pub fn step(&self, step: u64, lr: f64) -> Result<(), PluginError> {
        let grads: Vec<Tensor> = self.group.values.iter().map(Tensor::grad).collect();
        let mut tensors = self.values();
        tensors.extend(grads.iter().map(|grad| grad.defined().then_some(grad)));
        let place = format!("step {step}");
        self.run(&StepRequest { step, lr }, "step", &place, &tensors)?;
        let OptimizerGroup { infos, values } = &self.group;
        for ((info, value), before) in infos.iter().zip(values).zip(&self.forms) {
            if !same_form(value, before) {
                let (found, before) = (form(value), form(before));
                let message = format!("it made {} {found}, which was {before}", info.name);
                return Err(self.component.error("step", &place, message));
            }
        }
        Ok(())
    }

    /// Tells the optimizer that an evaluation, checkpoint or the end begins or is over.
    ///
    /// # Errors
    /// When the optimizer fails.
    pub fn evaluation(&self, phase: EvaluationPhase) -> Result<(), PluginError> {
        let message = EvaluationRequest { phase };
        self.run(&message, "evaluation", "", &self.values())
    }

    /// Everything that a resumed run needs, by name.
    ///
    /// # Errors
    /// When the optimizer fails, or names and tensors differ in number.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>, PluginError> {
        let invocation = self.invocation("state", "", &[]);
        let reply = self
            .component
            .invoke::<_, OptimizerState>(&(), invocation)?;
        let names = reply.message.names;
        if names.len() != reply.tensors.len() {
            let message = format!("{} names for {} tensors", names.len(), reply.tensors.len());
            return Err(self.component.error("state", "", message));
        }
        Ok(names.into_iter().zip(reply.tensors).collect())
    }

    /// Gives back what [`state`](Self::state) gave.
    ///
    /// # Errors
    /// When the optimizer refuses it.
    pub fn load(&self, state: &[(String, Tensor)]) -> Result<(), PluginError> {
        let message = OptimizerState {
            names: state.iter().map(|(name, _)| name.clone()).collect(),
        };
        let tensors: Vec<_> = state.iter().map(|(_, tensor)| Some(tensor)).collect();
        self.run(&message, "load", "", &tensors)
    }

    /// The parameters that this optimizer moves.
    #[must_use]
    pub fn group(&self) -> &OptimizerGroup {
        &self.group
    }

    fn values(&self) -> Vec<Option<&Tensor>> {
        self.group.values.iter().map(Some).collect()
    }

    fn run<M: serde::Serialize>(
        &self,
        message: &M,
        method: &'static str,
        place: &str,
        tensors: &[Option<&Tensor>],
    ) -> Result<(), PluginError> {
        self.component
            .run(message, self.invocation(method, place, tensors))
    }

    fn invocation<'a>(
        &self,
        method: &'static str,
        place: &'a str,
        tensors: &'a [Option<&'a Tensor>],
    ) -> Invocation<'a> {
        let scope = Scope {
            streams: Some((self.seed, "optimizer", place.to_owned())),
            defaults: self
                .group
                .values
                .first()
                .map(|value| (value.kind(), value.device())),
            ..Scope::default()
        };
        Invocation {
            method,
            place,
            tensors,
            scope,
            records: false,
        }
    }
}
