use super::{Answer, Arg, Call, Context, Error, Params, Result, Tensor, op};
use crate::abi::{self, Component};
use crate::manifest::Piece;
use crate::protocol::{
    Activation, DataKind, ForwardReply, ForwardRequest, HeadLayer, HeadLayers, HeadPlan,
    HeadPrepareRequest, InputsReply, Metrics, MetricsRequest, Pooled, Task,
};

pub trait TaskHead: Params {
    const DATA: DataKind = DataKind::Classes;

    const REQUIRES: &'static [&'static str] = &[abi::HEAD];

    fn plan(&mut self, task: &Task) -> Result<HeadPlan>;

    fn inputs(&mut self, batch: &Batch<'_>, _ctx: &HeadContext<'_>) -> Result<Inputs> {
        Ok(Inputs {
            tokens: batch.tokens.try_clone()?,
            labels: batch.labels.map(Tensor::try_clone).transpose()?,
        })
    }

    fn forward(
        &mut self,
        hidden: &Tensor,
        batch: &Batch<'_>,
        ctx: &HeadContext<'_>,
    ) -> Result<Loss>;

    fn reset(&mut self) {}

    fn observe(&mut self, _loss: &Loss, _batch: &Batch<'_>) -> Result<()> {
        Ok(())
    }

    fn metrics(&self, loss: f64) -> Result<Metrics>;
}

#[derive(Clone, Copy)]
pub struct Batch<'a> {
    pub tokens: &'a Tensor,
    pub offsets: &'a Tensor,
    pub labels: Option<&'a Tensor>,
    pub bytes: Option<u64>,
}

impl Batch<'_> {
    pub fn first_positions(&self) -> Result<Tensor> {
        self.offsets.slice(0, None, Some(-1))
    }

    pub fn last_positions(&self) -> Result<Tensor> {
        self.offsets.slice(0, Some(1), None)?.sub_int(1)
    }

    pub fn expect_labels(&self) -> Result<&Tensor> {
        self.labels.ok_or_else(|| {
            Error::new("the data has no labels").with_help("name the column with --label-column")
        })
    }
}

pub struct Inputs {
    pub tokens: Tensor,
    pub labels: Option<Tensor>,
}

pub struct Loss {
    pub sum: Tensor,
    pub count: u64,
    pub predictions: Option<Tensor>,
}

pub struct HeadContext<'a> {
    context: Context,
    head: &'a HeadLayers,
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

    #[must_use]
    pub fn layers(&self) -> &[HeadLayer] {
        &self.head.layers
    }

    pub fn layer(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        Ok(Tensor::owned(
            abi::connected()?.head()?.layer(name, x.handle())?,
        ))
    }

    pub fn parameters(&self, name: &str) -> Result<Vec<Tensor>> {
        let handles = abi::connected()?.head()?.parameters(name)?;
        Ok(handles.into_iter().map(Tensor::owned).collect())
    }

    pub fn dropout(&self, x: &Tensor, p: f64) -> Result<Tensor> {
        Ok(Tensor::owned(
            abi::connected()?.head()?.dropout(x.handle(), p)?,
        ))
    }

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
                Some(Activation::Silu) => op("aten::silu").arg(&x).tensor()?,
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
    pub const MANIFEST: Piece = Piece::Many(&[
        Piece::Text(",\"data\":\""),
        Piece::Text(T::DATA.name()),
        Piece::Text("\""),
    ]);
}

impl<T: TaskHead> Component for Head<T> {
    fn invoke(&mut self, call: &Call<'_>) -> Result<Answer> {
        match call.method {
            "plan" => Answer::new(
                &self.head.plan(&call.read::<HeadPrepareRequest>()?.task)?,
                vec![],
            ),
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
