//! Optimizers as the host calls them, with gradients from the test.

use serde_json::{Value, json};

use super::fixtures::begin;
use super::host::install;
use super::store::CallState;
use crate::abi::Component;
use crate::protocol::{
    EvaluationPhase, EvaluationRequest, OptimizerState, ParameterInfo, PrepareRequest, Role,
    StepRequest,
};
use crate::sdk::{Answer, Call, Optimize, Optimizer, Result, Tensor, caught};

/// An optimizer at work on a group of parameters.
pub struct Descent<T> {
    component: Optimize<T>,
    values: Vec<Tensor>,
    step: u64,
}

/// A parameter of no pair, with scale and learning-rate factor 1, that decays.
#[must_use]
pub fn parameter(name: &str, role: Role) -> ParameterInfo {
    ParameterInfo {
        name: name.to_owned(),
        role,
        pair: None,
        scale: 1.0,
        lr: 1.0,
        decay: true,
    }
}

impl<T: Optimizer> Descent<T> {
    /// Prepares the optimizer for these parameters, which it will change in place.
    ///
    /// # Errors
    /// What [`Optimizer::prepare`] returned.
    pub fn new(optimizer: T, group: Vec<(ParameterInfo, Tensor)>) -> Result<Self> {
        install();
        let (parameters, values): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        let mut descent = Self {
            component: Optimize::from(optimizer),
            values,
            step: 0,
        };
        let request = json!(PrepareRequest { parameters });
        let tensors = descent.lend(&[]);
        descent.invoke("prepare", &request, &tensors)?;
        Ok(descent)
    }

    /// One step along these gradients, one a parameter; `None` where the loss does not depend on it.
    ///
    /// # Errors
    /// What [`Optimizer::step`] returned.
    pub fn step(&mut self, grads: &[Option<&Tensor>], lr: f64) -> Result<()> {
        self.step += 1;
        let request = json!(StepRequest {
            step: self.step,
            lr
        });
        let tensors = self.lend(grads);
        self.invoke("step", &request, &tensors).map(drop)
    }

    /// As many steps on the sum of x^2 / 2 over all parameters, whose gradient is x and whose minimum lies at 0.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn quadratic(&mut self, steps: usize, lr: f64) -> Result<()> {
        for _ in 0..steps {
            let grads = self
                .values
                .iter()
                .map(Tensor::copy)
                .collect::<Result<Vec<_>>>()?;
            self.step(&grads.iter().map(Some).collect::<Vec<_>>(), lr)?;
        }
        Ok(())
    }

    /// The parameters as they are now.
    #[must_use]
    pub fn values(&self) -> &[Tensor] {
        &self.values
    }

    /// What a checkpoint would hold.
    ///
    /// # Errors
    /// What [`Optimizer::state`] returned.
    pub fn state(&mut self) -> Result<Vec<(String, Tensor)>> {
        let answer = self.invoke("state", &Value::Null, &[])?;
        let names = serde_json::from_str::<OptimizerState>(&answer.message)?.names;
        Ok(names.into_iter().zip(answer.tensors).collect())
    }

    /// Goes on from a checkpoint that was made after `step` steps.
    ///
    /// # Errors
    /// What [`Optimizer::load`] returned.
    pub fn load(&mut self, state: Vec<(String, Tensor)>, step: u64) -> Result<()> {
        let (names, tensors): (Vec<_>, Vec<_>) = state.into_iter().unzip();
        self.step = step;
        self.invoke("load", &json!(OptimizerState { names }), &tensors)
            .map(drop)
    }

    /// Before or after an evaluation.
    ///
    /// # Errors
    /// What [`Optimizer::evaluation`] returned.
    pub fn evaluation(&mut self, phase: EvaluationPhase) -> Result<()> {
        let tensors = self.lend(&[]);
        self.invoke("evaluation", &json!(EvaluationRequest { phase }), &tensors)
            .map(drop)
    }

    /// Parameters and gradients, as the host passes them.
    fn lend(&self, grads: &[Option<&Tensor>]) -> Vec<Tensor> {
        let grads = grads.iter().map(|grad| grad.map_or(0, Tensor::handle));
        let handles = self.values.iter().map(Tensor::handle).chain(grads);
        handles.map(Tensor::lent).collect()
    }

    fn invoke(&mut self, method: &str, message: &Value, tensors: &[Tensor]) -> Result<Answer> {
        begin(CallState {
            name: format!("{method} {}", self.step),
            ..CallState::default()
        })?;
        let message = message.to_string();
        caught(|| {
            self.component.invoke(&Call {
                method,
                message: &message,
                tensors,
            })
        })
    }
}
