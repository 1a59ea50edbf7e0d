//! Task heads: from packed hidden states to a loss, predictions and metrics.

use super::{Answer, Arg, Call, Context, Error, Params, Result, Tensor, op};
use crate::abi::{self, Component};
use crate::manifest::Piece;
use crate::protocol::{
    Activation, DataKind, ForwardReply, ForwardRequest, HeadLayer, HeadLayers, HeadPlan,
    HeadPrepareRequest, InputsReply, Metrics, MetricsRequest, PlanReply, Pooled, Sees, Task,
};

/// What is learned, and how it is measured.
///
/// Sequences come packed: row `i` of a batch is the tokens `offsets[i] .. offsets[i + 1]`; there is no padding.
pub trait TaskHead: Params {
    /// What a row of its data is.
    const DATA: DataKind = DataKind::Classes;

    /// Which hidden states the head looks at. With [`Sees::Pooled`] the host may compute no others: `forward` then gets one
    /// a row, `[rows, hidden]`, with the offsets and tokens of a batch whose rows are that one token.
    /// [`HeadContext::pool`] finds them either way.
    const SEES: Sees = Sees::Tokens;

    /// Ids of host extensions that the head cannot do without.
    const REQUIRES: &'static [&'static str] = &[abi::HEAD];

    /// Which of the model's heads is wanted, and with how many outputs. Called once, before all else.
    ///
    /// # Errors
    /// When the data does not suit the task.
    fn plan(&mut self, task: &Task) -> Result<HeadPlan>;

    /// What the model gets to see: by default the tokens and labels as they are.
    ///
    /// # Errors
    /// Whatever went wrong; the run ends.
    fn inputs(&mut self, batch: &Batch<'_>, _ctx: &HeadContext<'_>) -> Result<Inputs> {
        Ok(Inputs {
            tokens: batch.tokens.try_clone()?,
            labels: batch.labels.map(Tensor::try_clone).transpose()?,
        })
    }

    /// Loss of a batch from the hidden states `[total, hidden]` of the model's last layer; gradients are recorded.
    ///
    /// # Errors
    /// Whatever went wrong; the run ends.
    fn forward(
        &mut self,
        hidden: &Tensor,
        batch: &Batch<'_>,
        ctx: &HeadContext<'_>,
    ) -> Result<Loss>;

    /// Called before the first batch of an evaluation: forget what was accumulated.
    fn reset(&mut self) {}

    /// Accumulates what the metrics need of one evaluated batch.
    ///
    /// # Errors
    /// Whatever went wrong; the run ends.
    fn observe(&mut self, _loss: &Loss, _batch: &Batch<'_>) -> Result<()> {
        Ok(())
    }

    /// The metrics of all that was observed since [`reset`](Self::reset); `loss` is the mean over everything counted.
    ///
    /// # Errors
    /// Whatever went wrong; the run ends.
    fn metrics(&self, loss: f64) -> Result<Metrics>;
}

/// One packed batch.
#[derive(Clone, Copy)]
pub struct Batch<'a> {
    /// Token ids `[total]`, int64, as the model sees them.
    pub tokens: &'a Tensor,
    /// `[rows + 1]`, int64, from 0 to `total`.
    pub offsets: &'a Tensor,
    /// What [`TaskHead::DATA`] has for labels, or [`TaskHead::inputs`] made of them: classes int64 `[rows]`, numbers
    /// float32 `[rows]`, tags int64 `[total]` with -100 where a token has none.
    pub labels: Option<&'a Tensor>,
    /// Length in UTF-8 of the text that the predicted tokens cover: of blocks alone, all tokens but the first of each.
    pub bytes: Option<u64>,
}

impl Batch<'_> {
    /// Positions of the first token of every row, `[rows]`.
    ///
    /// # Errors
    /// When the host refuses the operator.
    pub fn first_positions(&self) -> Result<Tensor> {
        self.offsets.slice(0, None, Some(-1))
    }

    /// Positions of the last token of every row, `[rows]`.
    ///
    /// # Errors
    /// When the host refuses the operator.
    pub fn last_positions(&self) -> Result<Tensor> {
        self.offsets.slice(0, Some(1), None)?.sub_int(1)
    }

    /// The labels, or an error that says that the data has none.
    ///
    /// # Errors
    /// When the data has no labels.
    pub fn expect_labels(&self) -> Result<&Tensor> {
        self.labels.ok_or_else(|| {
            Error::new("the data has no labels").with_help("name the column with --label-column")
        })
    }
}

/// What the model and the loss work on.
pub struct Inputs {
    pub tokens: Tensor,
    pub labels: Option<Tensor>,
}

/// The loss of a batch.
pub struct Loss {
    /// Sum over everything counted, a scalar that carries gradients.
    pub sum: Tensor,
    /// What the sum runs over: rows or tokens.
    pub count: u64,
    /// Whatever [`TaskHead::observe`] wants to see, such as logits or classes.
    pub predictions: Option<Tensor>,
}

/// A [`Context`] with the model's head.
pub struct HeadContext<'a> {
    context: Context,
    head: &'a HeadLayers,
    /// Whether this is a training pass; an evaluation otherwise.
    pub training: bool,
}

impl HeadContext<'_> {
    fn new(head: &HeadLayers, training: bool) -> Result<HeadContext<'_>> {
        Ok(HeadContext {
            context: Context::new()?,
            head,
            training,
        })
    }

    /// The layers of the head, in the order in which the model applies them.
    #[must_use]
    pub fn layers(&self) -> &[HeadLayer] {
        &self.head.layers
    }

    /// Applies the head layer of this name, with its LoRA if it has one; no activation, no dropout.
    ///
    /// # Errors
    /// When there is no such layer, or `x` does not fit it.
    pub fn layer(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        Ok(Tensor::owned(
            abi::connected()?.head()?.layer(name, x.handle())?,
        ))
    }

    /// The tensors that learn behind the head layer of this name: its weight, bias and LoRA factors, as far as they
    /// are trained. A tied weight is the embedding itself.
    ///
    /// # Errors
    /// When there is no such layer.
    pub fn parameters(&self, name: &str) -> Result<Vec<Tensor>> {
        let handles = abi::connected()?.head()?.parameters(name)?;
        Ok(handles.into_iter().map(Tensor::owned).collect())
    }

    /// Dropout with probability `p` in training, the identity in evaluation.
    ///
    /// # Errors
    /// When `p` lies outside `0 <= p < 1`.
    pub fn dropout(&self, x: &Tensor, p: f64) -> Result<Tensor> {
        Ok(Tensor::owned(
            abi::connected()?.head()?.dropout(x.handle(), p)?,
        ))
    }

    /// One hidden state a row `[rows, hidden]`, where the model's head looks: at its first or its last token.
    ///
    /// # Errors
    /// When the model's head is not one for whole rows.
    pub fn pool(&self, hidden: &Tensor, batch: &Batch<'_>) -> Result<Tensor> {
        let positions = match self.head.pooled {
            Some(Pooled::First) => batch.first_positions()?,
            Some(Pooled::Last) => batch.last_positions()?,
            Some(Pooled::Other) => {
                return Err(newer("looks at another token than the first or the last"));
            }
            None => {
                return Err(Error::new(
                    "this head of the model works on tokens, not on whole rows",
                ));
            }
        };
        hidden.index_select(0, &positions)
    }

    /// Applies all layers as the model defines its head: dropout before the layer, the layer, its activation, dropout
    /// after it.
    ///
    /// # Errors
    /// When `x` does not fit the first layer.
    pub fn through(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.try_clone()?;
        for layer in &self.head.layers {
            if layer.input_dropout > 0.0 {
                x = self.dropout(&x, layer.input_dropout)?;
            }
            x = self.layer(&layer.name, &x)?;
            x = match layer.activation {
                None => x,
                Some(Activation::Relu) => x.relu()?,
                Some(Activation::Tanh) => x.tanh()?,
                Some(Activation::Gelu) => x.gelu()?,
                Some(Activation::GeluTanh) => op("aten::gelu")
                    .arg(&x)
                    .named("approximate", Arg::from("tanh"))
                    .tensor()?,
                Some(Activation::Silu) => x.silu()?,
                Some(Activation::Other) => return Err(newer("has another activation")),
            };
            if layer.dropout > 0.0 {
                x = self.dropout(&x, layer.dropout)?;
            }
        }
        Ok(x)
    }
}

impl std::ops::Deref for HeadContext<'_> {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.context
    }
}

/// The component of a [`TaskHead`].
pub struct Head<T> {
    head: T,
    layers: HeadLayers,
}

impl<T> From<T> for Head<T> {
    fn from(head: T) -> Self {
        Self {
            head,
            layers: HeadLayers::default(),
        }
    }
}

impl<T: TaskHead> Head<T> {
    pub const REQUIRES: &'static [&'static str] = T::REQUIRES;
    /// What the manifest says beside that of every kind.
    pub const MANIFEST: Piece = Piece::Many(&[
        Piece::Text(",\"data\":\""),
        Piece::Text(T::DATA.name()),
        Piece::Text("\""),
    ]);
}

impl<T: TaskHead> Component for Head<T> {
    fn invoke(&mut self, call: &Call<'_>) -> Result<Answer> {
        match call.method {
            "plan" => {
                let plan = self.head.plan(&call.read::<HeadPrepareRequest>()?.task)?;
                Answer::new(
                    &PlanReply {
                        plan,
                        sees: T::SEES,
                    },
                    vec![],
                )
            }
            "layers" => {
                self.layers = call.read()?;
                Ok(Answer::default())
            }
            "inputs" => {
                let ForwardRequest { training, bytes } = call.read()?;
                let batch = batch(call, 0, bytes)?;
                let ctx = HeadContext::new(&self.layers, training)?;
                let Inputs { tokens, labels } = self.head.inputs(&batch, &ctx)?;
                let reply = InputsReply {
                    labels: labels.is_some(),
                };
                Answer::new(&reply, std::iter::once(tokens).chain(labels).collect())
            }
            "forward" => {
                let ForwardRequest { training, bytes } = call.read()?;
                let hidden = call.expect(0, "hidden states")?;
                let batch = batch(call, 1, bytes)?;
                let ctx = HeadContext::new(&self.layers, training)?;
                let loss = self.head.forward(hidden, &batch, &ctx)?;
                if !training {
                    self.head.observe(&loss, &batch)?;
                }
                Answer::new(&ForwardReply { count: loss.count }, vec![loss.sum])
            }
            "reset" => {
                self.head.reset();
                Ok(Answer::default())
            }
            "metrics" => {
                let MetricsRequest { loss } = call.read()?;
                Answer::new(&self.head.metrics(loss)?, vec![])
            }
            other => Err(Error::unsupported(other)),
        }
    }
}

/// The error of a model that came after this API.
fn newer(what: &str) -> Error {
    Error::new(format!("the model's head {what}, which this plugin knows"))
        .with_help("build the plugin against the plugin API of this host")
}

fn batch<'a>(call: &'a Call<'_>, first: usize, bytes: Option<u64>) -> Result<Batch<'a>> {
    Ok(Batch {
        tokens: call.expect(first, "tokens")?,
        offsets: call.expect(first + 1, "offsets")?,
        labels: call.tensor(first + 2),
        bytes,
    })
}
