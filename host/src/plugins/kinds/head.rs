//! Task heads: inputs, loss and metrics.

use std::cell::Cell;
use std::rc::Rc;

use lorahost_plugin_api::protocol::{
    ForwardReply, ForwardRequest, HeadLayers, HeadPlan, HeadPrepareRequest, InputsReply, Metrics,
    MetricsRequest, PlanReply, Sees, Task,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tch::{Device, Kind, TchError, Tensor};

use crate::plugins::component::{Invocation, Reply};
use crate::plugins::scope::{HeadAccess, Scope};
use crate::plugins::{Component, PluginError};

/// A task head of a plugin.
pub struct TaskHead {
    component: Component,
    seed: u64,
    device: Device,
    sees: Cell<Sees>,
}

/// One packed batch.
#[derive(Debug)]
pub struct HeadBatch {
    /// `[total]`, int64
    pub tokens: Tensor,
    /// `[rows + 1]`, int64
    pub offsets: Tensor,
    pub labels: Option<Tensor>,
    /// Length in UTF-8 of the text that the predicted tokens cover, where it is known.
    pub bytes: Option<u64>,
}

impl HeadBatch {
    /// The batch of the tokens that stand for their rows, at these `places`: each row is one token.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn pooled(&self, places: &Tensor) -> Result<Self, TchError> {
        let rows = places.size()[0];
        Ok(Self {
            tokens: self.tokens.f_index_select(0, places)?,
            offsets: Tensor::f_arange(rows + 1, (Kind::Int64, self.offsets.device()))?,
            labels: self.labels.as_ref().map(Tensor::shallow_clone),
            bytes: self.bytes,
        })
    }
}

/// The loss of a batch.
#[derive(Debug)]
pub struct HeadLoss {
    /// A scalar with gradients.
    pub sum: Tensor,
    pub count: u64,
}

/// Which batch a head sees: the place of its random streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// Forward pass number `n` of the training.
    Training(u64),
    /// Batch number `n` of an evaluation.
    Evaluation(u64),
}

impl Pass {
    #[must_use]
    pub fn training(self) -> bool {
        matches!(self, Self::Training(_))
    }

    fn place(self) -> String {
        match self {
            Self::Training(number) => format!("batch {number}"),
            Self::Evaluation(number) => format!("evaluation batch {number}"),
        }
    }
}

impl TaskHead {
    #[must_use]
    pub fn new(component: Component, seed: u64, device: Device) -> Self {
        Self {
            component,
            seed,
            device,
            sees: Cell::default(),
        }
    }

    /// Which of the model's heads the task needs.
    ///
    /// # Errors
    /// When the data does not suit the task.
    pub fn plan(&self, task: &Task) -> Result<HeadPlan, PluginError> {
        let reply = self.ask("plan", &HeadPrepareRequest { task: task.clone() })?;
        let PlanReply { plan, sees } = reply.message;
        self.sees.set(sees);
        Ok(plan)
    }

    /// Which hidden states the head looks at, as [`plan`](Self::plan) answered.
    #[must_use]
    pub fn sees(&self) -> Sees {
        self.sees.get()
    }

    /// Tells the head which layers the model has for it.
    ///
    /// # Errors
    /// When the head fails.
    pub fn layers(&self, layers: &HeadLayers) -> Result<(), PluginError> {
        self.component.run(layers, self.quiet("layers"))
    }

    /// Tokens and labels as the model and the loss are to see them.
    ///
    /// # Errors
    /// When the head fails, or answers tokens of another shape or type.
    pub fn inputs(&self, batch: &HeadBatch, pass: Pass) -> Result<HeadBatch, PluginError> {
        let place = pass.place();
        let tensors = [
            Some(&batch.tokens),
            Some(&batch.offsets),
            batch.labels.as_ref(),
        ];
        let invocation = Invocation {
            method: "inputs",
            place: &place,
            tensors: &tensors,
            scope: self.scope(&place, None),
            records: false,
        };
        let request = ForwardRequest {
            training: pass.training(),
            bytes: batch.bytes,
        };
        let Reply {
            message: InputsReply { labels: labelled },
            tensors,
        } = self.component.invoke(&request, invocation)?;
        let wanted = 1 + usize::from(labelled);
        if tensors.len() != wanted {
            let message = format!("it answered {} tensors, not {wanted}", tensors.len());
            return Err(self.component.error("inputs", &place, message));
        }
        let mut tensors = tensors.into_iter();
        let tokens = tensors
            .next()
            .filter(|tokens| tokens.size() == batch.tokens.size() && tokens.kind() == Kind::Int64);
        let Some(tokens) = tokens else {
            let message = format!(
                "its tokens are not int64 of shape {:?}",
                batch.tokens.size()
            );
            return Err(self.component.error("inputs", &place, message));
        };
        Ok(HeadBatch {
            tokens,
            offsets: batch.offsets.shallow_clone(),
            labels: tensors.next(),
            bytes: batch.bytes,
        })
    }

    /// The loss from hidden states `[total, hidden]`, or from those of [`HeadBatch::pooled`] where the head sees no more; in an evaluation the head also accumulates its metrics.
    ///
    /// # Errors
    /// When the head fails, or its loss is no scalar.
    pub fn forward(
        &self,
        hidden: &Tensor,
        batch: &HeadBatch,
        head: Rc<dyn HeadAccess>,
        pass: Pass,
    ) -> Result<HeadLoss, PluginError> {
        let place = pass.place();
        let tensors = [
            Some(hidden),
            Some(&batch.tokens),
            Some(&batch.offsets),
            batch.labels.as_ref(),
        ];
        let invocation = Invocation {
            method: "forward",
            place: &place,
            tensors: &tensors,
            scope: Scope {
                defaults: Some((hidden.kind(), self.device)),
                ..self.scope(&place, Some(head))
            },
            records: true,
        };
        let request = ForwardRequest {
            training: pass.training(),
            bytes: batch.bytes,
        };
        let Reply {
            message: ForwardReply { count },
            tensors,
        } = self.component.invoke(&request, invocation)?;
        match <[Tensor; 1]>::try_from(tensors) {
            Ok([sum]) if sum.numel() == 1 && pass.training() && !sum.requires_grad() => {
                let message = "its loss carries no gradients";
                Err(self.component.error("forward", &place, message))
            }
            Ok([sum]) if sum.numel() == 1 => Ok(HeadLoss { sum, count }),
            Ok([sum]) => {
                let message = format!("its loss has shape {:?}, expected a scalar", sum.size());
                Err(self.component.error("forward", &place, message))
            }
            Err(other) => {
                let message = format!("it answered {} tensors, not one loss", other.len());
                Err(self.component.error("forward", &place, message))
            }
        }
    }

    /// Forgets what was accumulated.
    ///
    /// # Errors
    /// When the head fails.
    pub fn reset(&self) -> Result<(), PluginError> {
        self.component.run(&(), self.quiet("reset"))
    }

    /// The metrics of all evaluated batches since [`reset`](Self::reset), of which `loss` is the mean.
    ///
    /// # Errors
    /// When the head fails, or names a headline that it did not measure.
    pub fn metrics(&self, loss: f64) -> Result<Metrics, PluginError> {
        let metrics: Metrics = self.ask("metrics", &MetricsRequest { loss })?.message;
        if !metrics.values.contains_key(&metrics.headline) {
            let message = format!(
                "its headline `{}` is not among its metrics",
                metrics.headline
            );
            return Err(self.component.error("metrics", "", message));
        }
        Ok(metrics)
    }

    /// The error of an answer that only shows as wrong where it is used.
    #[must_use]
    pub fn fault(&self, phase: &str, message: impl Into<String>) -> PluginError {
        self.component.error(phase, "", message)
    }

    fn ask<M: Serialize, R: DeserializeOwned>(
        &self,
        method: &'static str,
        message: &M,
    ) -> Result<Reply<R>, PluginError> {
        self.component.invoke(message, self.quiet(method))
    }

    /// A call without tensors and without anything random.
    fn quiet(&self, method: &'static str) -> Invocation<'static> {
        let scope = Scope {
            defaults: Some((Kind::Float, self.device)),
            ..Scope::default()
        };
        Invocation {
            method,
            place: "",
            tensors: &[],
            scope,
            records: false,
        }
    }

    fn scope(&self, place: &str, head: Option<Rc<dyn HeadAccess>>) -> Scope {
        Scope {
            streams: Some((self.seed, "head", place.to_owned())),
            head,
            defaults: Some((Kind::Float, self.device)),
            ..Scope::default()
        }
    }
}
