//! Task heads as the host calls them, on hidden states from the test.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::array::Array;
use super::fixtures::begin;
use super::host::install;
use super::store::{self, CallState};
use crate::abi::Component;
use crate::protocol::{
    ForwardReply, ForwardRequest, HeadLayer, HeadLayerKind, HeadLayers, HeadPlan,
    HeadPrepareRequest, InputsReply, Metrics, MetricsRequest, Pooled, Task,
};
use crate::sdk::{Answer, Batch, Call, Error, Head, Inputs, Result, TaskHead, Tensor, caught};

/// A head over a model that consists of nothing else.
pub struct TestHead<T> {
    component: Head<T>,
    plan: HeadPlan,
    layers: HashMap<String, (Array, Option<Array>)>,
    seed: u64,
    calls: u64,
}

/// A linear layer without activation and dropout, that was not pretrained.
#[must_use]
pub fn linear(name: &str, fan_in: usize, fan_out: usize) -> HeadLayer {
    HeadLayer {
        name: name.to_owned(),
        kind: HeadLayerKind::Linear,
        fan_in,
        fan_out,
        bias: false,
        input_dropout: 0.0,
        activation: None,
        dropout: 0.0,
        pretrained: false,
        tied: false,
    }
}

impl<T: TaskHead> TestHead<T> {
    /// Plans the task. Until [`layers`](Self::layers) says otherwise the model's head is the identity, on the first
    /// token of a row.
    ///
    /// # Errors
    /// What [`TaskHead::plan`] returned.
    pub fn new(head: T, task: &Task, seed: u64) -> Result<Self> {
        install();
        let mut head = Self {
            component: Head::from(head),
            plan: HeadPlan {
                layout: String::new(),
                outputs: None,
            },
            layers: HashMap::new(),
            seed,
            calls: 0,
        };
        let request = json!(HeadPrepareRequest { task: task.clone() });
        let answer = head.invoke("plan", &request, &[], false)?;
        head.plan = serde_json::from_str(&answer.message)?;
        head.layers(Vec::new(), Some(Pooled::First))?;
        Ok(head)
    }

    /// Gives the model's head layers, each with its weight `[fan_out, fan_in]` and bias `[fan_out]`.
    ///
    /// # Errors
    /// When a tensor was dropped.
    pub fn layers(
        &mut self,
        layers: Vec<(HeadLayer, &Tensor, Option<&Tensor>)>,
        pooled: Option<Pooled>,
    ) -> Result<()> {
        let array = |tensor: &Tensor| store::get(tensor.handle());
        self.layers = layers
            .iter()
            .map(|(layer, weight, bias)| {
                let bias = bias.map(array).transpose()?;
                Ok((layer.name.clone(), (array(weight)?, bias)))
            })
            .collect::<Result<_>>()?;
        let layers = layers.into_iter().map(|(layer, ..)| layer).collect();
        let message = json!(HeadLayers { layers, pooled });
        self.invoke("layers", &message, &[], false).map(drop)
    }

    /// Which of the model's heads the task wants.
    #[must_use]
    pub fn plan(&self) -> &HeadPlan {
        &self.plan
    }

    /// What the model gets to see of a batch.
    ///
    /// # Errors
    /// What [`TaskHead::inputs`] returned.
    pub fn inputs(&mut self, batch: &Batch<'_>, training: bool) -> Result<Inputs> {
        let message = json!(ForwardRequest {
            training,
            bytes: batch.bytes
        });
        let answer = self.invoke("inputs", &message, &lend(None, batch), training)?;
        let InputsReply { labels } = serde_json::from_str(&answer.message)?;
        let mut tensors = answer.tensors.into_iter();
        let tokens = tensors
            .next()
            .ok_or_else(|| Error::new("no tokens came back"))?;
        let labels = if labels { tensors.next() } else { None };
        Ok(Inputs { tokens, labels })
    }

    /// Sum of the loss, and what it counts; an evaluation is observed too.
    ///
    /// # Errors
    /// What [`TaskHead::forward`] or [`TaskHead::observe`] returned.
    pub fn forward(
        &mut self,
        hidden: &Tensor,
        batch: &Batch<'_>,
        training: bool,
    ) -> Result<(f64, u64)> {
        let message = json!(ForwardRequest {
            training,
            bytes: batch.bytes
        });
        let answer = self.invoke("forward", &message, &lend(Some(hidden), batch), training)?;
        let ForwardReply { count } = serde_json::from_str(&answer.message)?;
        let sum = answer
            .tensors
            .first()
            .ok_or_else(|| Error::new("no loss came back"))?;
        Ok((sum.item()?, count))
    }

    /// Begins an evaluation.
    ///
    /// # Errors
    /// Never from the head itself.
    pub fn reset(&mut self) -> Result<()> {
        self.invoke("reset", &Value::Null, &[], false).map(drop)
    }

    /// The metrics since [`reset`](Self::reset), where the mean loss was `loss`.
    ///
    /// # Errors
    /// What [`TaskHead::metrics`] returned.
    pub fn metrics(&mut self, loss: f64) -> Result<Metrics> {
        let answer = self.invoke("metrics", &json!(MetricsRequest { loss }), &[], false)?;
        Ok(serde_json::from_str(&answer.message)?)
    }

    fn invoke(
        &mut self,
        method: &str,
        message: &Value,
        tensors: &[Tensor],
        training: bool,
    ) -> Result<Answer> {
        self.calls += 1;
        begin(CallState {
            seed: self.seed,
            name: format!("{method} {}", self.calls),
            head: self.layers.clone(),
            training,
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

/// Hidden states, if any, and the batch, as the host passes them.
fn lend(hidden: Option<&Tensor>, batch: &Batch<'_>) -> Vec<Tensor> {
    let labels = batch.labels.map_or(0, Tensor::handle);
    let handles = hidden.map(Tensor::handle).into_iter();
    handles
        .chain([batch.tokens.handle(), batch.offsets.handle(), labels])
        .map(Tensor::lent)
        .collect()
}
