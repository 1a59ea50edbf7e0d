//! A head of a model with random weights, and packed batches of every kind of data, for a task head to work on.

use std::cell::RefCell;
use std::rc::Rc;

use lorahost_plugin_api::protocol::{
    Activation, DataKind, HeadLayer, HeadLayerKind, HeadLayers, HeadPlan, Pooled, Task,
};
use lorahost_plugin_api::sdk;
use tch::{Device, IndexOp, Kind, Tensor};

use super::sample::normal;
use super::subject::{Stop, Subject, failed, skipped};
use crate::model::Architecture;
use crate::plugins::{HeadAccess, HeadBatch, HeadLoss, Pass, PluginError, TaskHead};

/// Width of the hidden states.
const HIDDEN: usize = 12;
/// Words of the model; the first ones are never text.
pub const VOCABULARY: usize = 16;
const SPECIAL: [i64; 4] = [0, 1, 2, 3];
/// Classes, or tags that mark no entities.
const LABELS: [&str; 3] = ["noun", "verb", "other"];
/// Tokens of the rows of a batch; of pairs two rows each.
const LENGTHS: [i64; 8] = [9, 5, 7, 6, 8, 4, 10, 6];
/// What does not count.
pub const IGNORED: i64 = -100;

/// A task head with its defaults at a model's head.
pub struct Bench {
    pub head: TaskHead,
    pub data: DataKind,
    pub layers: Rc<Layers>,
    kind: Kind,
}

/// The model's head: linear layers.
pub struct Layers {
    all: Vec<(HeadLayer, Linear)>,
    /// What the last layer gave since [`Layers::forget`].
    outputs: RefCell<Vec<Tensor>>,
}

struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Bench {
    /// A new component that has planned, and has the layers that it asked for, in this type.
    pub fn new(subject: &Subject, kind: Kind) -> Result<Self, Stop> {
        let data = subject.manifest()?.data.as_deref().unwrap_or_default();
        let data = DataKind::named(data)
            .ok_or_else(|| skipped(format!("this host has no data of the kind `{data}`")))?;
        let head = TaskHead::new(subject.create()?, 7, Device::Cpu);
        let HeadPlan { layout, outputs } = head.plan(&task(data))?;
        let outputs = outputs.unwrap_or(VOCABULARY);
        let message = described(&layout, outputs)?;
        head.layers(&message)?;
        Ok(Self {
            head,
            data,
            layers: Rc::new(Layers::new(message.layers, kind)),
            kind,
        })
    }

    /// All rows, as the data has them.
    pub fn batch(&self) -> HeadBatch {
        let total: i64 = LENGTHS.iter().sum();
        let words = VOCABULARY as i64 - SPECIAL.len() as i64;
        let (mut tokens, mut tags, mut offsets) = (Vec::new(), Vec::new(), vec![0]);
        for length in LENGTHS {
            for place in 0..length {
                let inner = place > 0 && place < length - 1;
                let number = tokens.len() as i64;
                // Framed by [CLS] and [SEP]; every third word is one of two tokens.
                tokens.push(if inner {
                    SPECIAL.len() as i64 + (5 * number) % words
                } else {
                    i64::from(place > 0)
                });
                tags.push(if inner && number % 3 > 0 {
                    number % 7 % LABELS.len() as i64
                } else {
                    IGNORED
                });
            }
            offsets.push(tokens.len() as i64);
        }
        let rows = LENGTHS.len() as i64;
        let labels = match self.data {
            DataKind::Classes => {
                let classes = (0..rows).map(|row| row % LABELS.len() as i64);
                Some(ints(&classes.collect::<Vec<_>>()))
            }
            DataKind::Numbers => Some(normal("numbers", &[rows], Kind::Float)),
            DataKind::Tags => Some(ints(&tags)),
            DataKind::Text | DataKind::Blocks | DataKind::Pairs => None,
        };
        debug_assert_eq!(tokens.len() as i64, total);
        HeadBatch {
            tokens: ints(&tokens),
            labels,
            bytes: self.bytes(&LENGTHS),
            offsets: ints(&offsets),
        }
    }

    /// Hidden states `[total, hidden]` for all rows.
    pub fn hidden(&self) -> Tensor {
        normal(
            "hidden states",
            &[LENGTHS.iter().sum(), HIDDEN as i64],
            self.kind,
        )
    }

    /// What is never torn apart: rows, or pairs of them.
    pub fn units(&self) -> usize {
        LENGTHS.len() / self.rows_of_unit()
    }

    fn rows_of_unit(&self) -> usize {
        if self.data == DataKind::Pairs { 2 } else { 1 }
    }

    fn bytes(&self, lengths: &[i64]) -> Option<u64> {
        let predicted = lengths
            .iter()
            .map(|length| 3 * (length - 1).cast_unsigned());
        (self.data == DataKind::Blocks).then(|| predicted.sum())
    }

    /// These units of a batch and of its hidden states, in this order.
    pub fn pick(
        &self,
        batch: &HeadBatch,
        hidden: &Tensor,
        units: &[usize],
    ) -> Result<(HeadBatch, Tensor), Stop> {
        let of_unit = self.rows_of_unit();
        let rows = units
            .iter()
            .flat_map(|unit| unit * of_unit..(unit + 1) * of_unit);
        let rows: Vec<usize> = rows.collect();
        let starts: Vec<i64> = LENGTHS
            .iter()
            .scan(0, |end, length| {
                let start = *end;
                *end += length;
                Some(start)
            })
            .collect();
        let lengths: Vec<i64> = rows.iter().map(|&row| LENGTHS[row]).collect();
        let places = rows
            .iter()
            .flat_map(|&row| starts[row]..starts[row] + LENGTHS[row]);
        let places = ints(&places.collect::<Vec<_>>());
        let by_row = ints(&rows.iter().map(|&row| row as i64).collect::<Vec<_>>());
        let labels = batch.labels.as_ref().map(|labels| match labels.size()[..] {
            [count] if count == batch.tokens.size()[0] => Ok(labels.index_select(0, &places)),
            [count] if count == LENGTHS.len() as i64 => Ok(labels.index_select(0, &by_row)),
            ref shape => Err(failed(format!(
                "its labels have shape {shape:?}: neither one a row nor one a token"
            ))),
        });
        let mut offsets = vec![0];
        for length in &lengths {
            offsets.push(offsets[offsets.len() - 1] + length);
        }
        let picked = HeadBatch {
            tokens: batch.tokens.index_select(0, &places),
            offsets: ints(&offsets),
            labels: labels.transpose()?,
            bytes: self.bytes(&lengths),
        };
        Ok((picked, hidden.index_select(0, &places)))
    }

    /// What the model and the loss are to see of [`Bench::batch`].
    pub fn inputs(&self, pass: Pass) -> Result<HeadBatch, PluginError> {
        self.head.inputs(&self.batch(), pass)
    }

    /// The loss, with gradients in training alone.
    pub fn forward(
        &self,
        hidden: &Tensor,
        batch: &HeadBatch,
        pass: Pass,
    ) -> Result<HeadLoss, PluginError> {
        let access: Rc<dyn HeadAccess> = Rc::<Layers>::clone(&self.layers);
        let body = || self.head.forward(hidden, batch, access, pass);
        if pass.training() {
            tch::with_grad(body)
        } else {
            tch::no_grad(body)
        }
    }
}

impl Layers {
    fn new(layers: Vec<HeadLayer>, kind: Kind) -> Self {
        let weighed = layers.into_iter().map(|layer| {
            let (fan_in, fan_out) = (layer.fan_in as i64, layer.fan_out as i64);
            let weight = normal(&layer.name, &[fan_out, fan_in], kind) / (fan_in as f64).sqrt();
            let bias = normal(&format!("bias of {}", layer.name), &[fan_out], kind) * 0.1;
            let linear = Linear {
                weight: weight.set_requires_grad(true),
                bias: layer.bias.then(|| bias.set_requires_grad(true)),
            };
            (layer, linear)
        });
        Self {
            all: weighed.collect(),
            outputs: RefCell::default(),
        }
    }

    /// Weights and biases.
    pub fn parameters(&self) -> Vec<&Tensor> {
        let layers = self.all.iter();
        layers
            .flat_map(|(_, linear)| std::iter::once(&linear.weight).chain(&linear.bias))
            .collect()
    }

    pub fn forget(&self) {
        self.outputs.borrow_mut().clear();
    }

    /// All rows that the last layer gave; none where it was not asked.
    pub fn outputs(&self) -> Option<Tensor> {
        let outputs = self.outputs.borrow();
        (!outputs.is_empty()).then(|| Tensor::cat(&outputs, 0))
    }

    fn find(&self, name: &str) -> sdk::Result<&Linear> {
        let found = self.all.iter().find(|(layer, _)| layer.name == name);
        let found = found
            .ok_or_else(|| sdk::Error::new(format!("the model's head has no layer `{name}`")))?;
        Ok(&found.1)
    }
}

impl HeadAccess for Layers {
    fn layer(&self, name: &str, x: &Tensor) -> sdk::Result<Tensor> {
        let Linear { weight, bias } = self.find(name)?;
        let y = x.f_linear(weight, bias.as_ref()).map_err(refused)?;
        if self.all.last().is_some_and(|(layer, _)| layer.name == name) {
            self.outputs.borrow_mut().push(y.detach());
        }
        Ok(y)
    }

    fn dropout(&self, x: &Tensor, p: f64) -> sdk::Result<Tensor> {
        if !(0.0..1.0).contains(&p) {
            return Err(sdk::Error::new(format!(
                "dropout probability {p} is outside 0 <= p < 1"
            )));
        }
        // As in an evaluation: finite differences want one and the same function.
        Ok(x.shallow_clone())
    }

    fn parameters(&self, name: &str) -> sdk::Result<Vec<Tensor>> {
        let Linear { weight, bias } = self.find(name)?;
        Ok(std::iter::once(weight)
            .chain(bias)
            .map(Tensor::shallow_clone)
            .collect())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "that is what map_err gives")]
fn refused(error: tch::TchError) -> sdk::Error {
    let text = error.to_string();
    sdk::Error::new(text.lines().next().unwrap_or_default())
}

fn task(data: DataKind) -> Task {
    let labelled = matches!(data, DataKind::Classes | DataKind::Tags);
    Task {
        labels: LABELS
            .iter()
            .filter(|_| labelled)
            .map(|&label| label.to_owned())
            .collect(),
        vocab_size: VOCABULARY,
        mask_token: Some(SPECIAL[3]),
        special_tokens: SPECIAL.to_vec(),
    }
}

/// A head of this layout, as some model might have it.
fn described(layout: &str, outputs: usize) -> Result<HeadLayers, Stop> {
    let mut layouts = Architecture::all()
        .into_iter()
        .flat_map(|architecture| architecture.layouts);
    if !layouts.any(|known| known.name == layout) {
        return Err(failed(format!(
            "in plan: no model has a head of the layout `{layout}`"
        )));
    }
    if outputs == 0 {
        return Err(failed("in plan: it wants a head without outputs"));
    }
    let linear = |name: &str, fan_out, bias, activation| HeadLayer {
        name: name.to_owned(),
        kind: HeadLayerKind::Linear,
        fan_in: HIDDEN,
        fan_out,
        bias,
        input_dropout: 0.0,
        activation,
        dropout: 0.0,
        pretrained: false,
        tied: false,
    };
    let words = if matches!(layout, "vocabulary" | "causal") {
        VOCABULARY
    } else {
        outputs
    };
    let first = linear("classifier.dense", HIDDEN, true, Some(Activation::Tanh));
    let last = linear("classifier.out_proj", words, layout != "causal", None);
    Ok(HeadLayers {
        pooled: (layout == "pooled").then_some(Pooled::First),
        layers: if layout == "causal" {
            vec![last]
        } else {
            vec![first, last]
        },
    })
}

fn ints(values: &[i64]) -> Tensor {
    Tensor::from_slice(values)
}

/// The labels of a batch, if there is one for each token and some do not count.
pub fn masked(batch: &HeadBatch) -> Option<&Tensor> {
    let labels = batch.labels.as_ref()?;
    let by_token = labels.kind() == Kind::Int64 && labels.size() == batch.tokens.size();
    (by_token && labels.eq(IGNORED).any().int64_value(&[]) == 1).then_some(labels)
}

/// Column `column` of a matrix of numbers.
pub fn column(matrix: &Tensor, column: i64) -> Vec<f64> {
    let values = matrix.i((.., column)).to_kind(Kind::Double).contiguous();
    Vec::try_from(values).unwrap_or_default()
}
