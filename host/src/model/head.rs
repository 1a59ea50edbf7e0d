//! The layers of a model's head: their description and their weights.

use std::collections::BTreeSet;

use lorahost_plugin_api::protocol::{self, HeadLayers};
pub use lorahost_plugin_api::protocol::{HeadLayerKind, Pooled};
use tch::{Kind, Tensor};

use super::{Activation, Embedding, Init, Loader, ModelError, Norm, Part};
use crate::adapter::{Linear, ModuleKind, Role};
use crate::dropout::Pass;

/// Which layers the architecture has for a head, in order, and where it pools.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadDescription {
    /// `pooled`, `tokens`, `vocabulary` or `causal`.
    pub layout: String,
    /// Which token's hidden state stands for a sequence; none where the head sees every token.
    pub pooled: Option<Pooled>,
    /// Width of the hidden states.
    pub hidden: i64,
    /// Width of what the last layer gives.
    pub outputs: i64,
    pub layers: Vec<HeadLayer>,
}

/// One layer of a head: dropout, the layer itself, the activation, dropout again.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadLayer {
    /// Hugging Face's module path.
    pub name: String,
    pub kind: HeadLayerKind,
    pub fan_in: i64,
    pub fan_out: i64,
    pub bias: bool,
    /// Probability of the dropout before the layer.
    pub input_dropout: f64,
    pub activation: Option<Activation>,
    /// Probability of the dropout after the activation.
    pub dropout: f64,
    /// Whether the weights came with the model; else they are new.
    pub pretrained: bool,
    /// Whether the weight is the table of input tokens.
    pub tied: bool,
    /// Where the bias has not the module's own name.
    bias_name: Option<String>,
    /// Of a norm.
    eps: f64,
}

/// A head's weights, which belong to the host; what is computed with them is the task head's affair.
#[derive(Debug)]
pub struct Head {
    description: HeadDescription,
    modules: Vec<Module>,
}

#[derive(Debug)]
enum Module {
    Linear(Linear),
    Norm(Norm),
}

impl Module {
    fn part(&self) -> Part<'_> {
        match self {
            Self::Linear(linear) => Part::Linear(linear),
            Self::Norm(norm) => Part::Norm(norm),
        }
    }
}

impl HeadDescription {
    pub(super) fn new(
        layout: &str,
        pooled: Option<Pooled>,
        hidden: i64,
        outputs: i64,
        layers: Vec<HeadLayer>,
    ) -> Self {
        Self {
            layout: layout.to_owned(),
            pooled,
            hidden,
            outputs,
            layers,
        }
    }

    /// Whether the outputs are the task's own, classes or tags, and not the words of the vocabulary.
    #[must_use]
    pub fn has_labels(&self) -> bool {
        self.pooled.is_some() || self.layout == "tokens"
    }

    /// The first layer whose weights were drawn: the model's files lack them, and they are not among the parameters
    /// `learnt`. One that shares the words' table has its weights wherever that has them.
    #[must_use]
    pub fn untrained(&self, learnt: &BTreeSet<String>) -> Option<&HeadLayer> {
        let is_learnt = |layer: &HeadLayer| {
            let under = format!("{}.", layer.name);
            learnt.iter().any(|name| name.starts_with(&under))
        };
        self.layers
            .iter()
            .find(|layer| !layer.pretrained && !layer.tied && !is_learnt(layer))
    }

    /// The head as a plugin sees it.
    #[must_use]
    pub fn message(&self) -> HeadLayers {
        let layer = |layer: &HeadLayer| protocol::HeadLayer {
            name: layer.name.clone(),
            kind: layer.kind,
            fan_in: layer.fan_in as usize,
            fan_out: layer.fan_out as usize,
            bias: layer.bias,
            input_dropout: layer.input_dropout,
            activation: layer.activation,
            dropout: layer.dropout,
            pretrained: layer.pretrained,
            tied: layer.tied,
        };
        HeadLayers {
            layers: self.layers.iter().map(layer).collect(),
            pooled: self.pooled,
        }
    }
}

impl HeadLayer {
    pub(super) fn linear(name: &str, fan_in: i64, fan_out: i64) -> Self {
        Self {
            name: name.to_owned(),
            kind: HeadLayerKind::Linear,
            fan_in,
            fan_out,
            bias: true,
            input_dropout: 0.0,
            activation: None,
            dropout: 0.0,
            pretrained: false,
            tied: false,
            bias_name: None,
            eps: 0.0,
        }
    }

    pub(super) fn norm(name: &str, width: i64, eps: f64) -> Self {
        Self {
            kind: HeadLayerKind::Norm,
            eps,
            ..Self::linear(name, width, width)
        }
    }

    pub(super) fn without_bias(self) -> Self {
        Self {
            bias: false,
            ..self
        }
    }

    pub(super) fn input_dropout(self, input_dropout: f64) -> Self {
        Self {
            input_dropout,
            ..self
        }
    }

    pub(super) fn activation(self, activation: Activation) -> Self {
        Self {
            activation: Some(activation),
            ..self
        }
    }

    pub(super) fn dropout(self, dropout: f64) -> Self {
        Self { dropout, ..self }
    }

    pub(super) fn tied(self) -> Self {
        Self { tied: true, ..self }
    }

    pub(super) fn bias_named(self, name: &str) -> Self {
        Self {
            bias_name: Some(name.to_owned()),
            ..self
        }
    }

    /// Loads the layer, and notes whether the file had it.
    fn load(&mut self, loader: &mut Loader, words: &Embedding) -> Result<Module, ModelError> {
        let weight_name = format!("{}.weight", self.name);
        let bias_name = self
            .bias_name
            .clone()
            .unwrap_or_else(|| format!("{}.bias", self.name));
        self.pretrained = match (self.tied, self.bias) {
            (false, _) => loader.has(&weight_name),
            (true, true) => loader.has(&bias_name),
            (true, false) => loader.has(&words.weight_name()),
        };
        if self.kind == HeadLayerKind::Norm {
            return Norm::load(loader, &self.name, self.fan_out, self.eps, Role::Head)
                .map(Module::Norm);
        }
        let bias = if self.bias {
            Some(loader.take(&bias_name, &[self.fan_out], Init::Zeros)?)
        } else {
            None
        };
        let linear = if self.tied {
            Linear::tied(
                &self.name,
                ModuleKind::Head,
                words.weight().shallow_clone(),
                bias,
            )
        } else {
            let weight = loader.take(&weight_name, &[self.fan_out, self.fan_in], Init::Normal)?;
            Linear::new(&self.name, ModuleKind::Head, weight, bias)
        };
        Ok(Module::Linear(linear.with_bias_name(&bias_name)))
    }
}

impl Head {
    /// Loads the layers of `description`; those that the file lacks are drawn.
    pub(super) fn load(
        mut description: HeadDescription,
        loader: &mut Loader,
        words: &Embedding,
    ) -> Result<Self, ModelError> {
        let layers = description.layers.iter_mut();
        let modules = layers
            .map(|layer| layer.load(loader, words))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            description,
            modules,
        })
    }

    #[must_use]
    pub fn description(&self) -> &HeadDescription {
        &self.description
    }

    /// The layer `name` alone, without its activation and dropout: `[rows, fan_in]` to `[rows, fan_out]`.
    ///
    /// # Errors
    /// An unknown name; what libtorch reports.
    pub fn linear(&self, name: &str, x: &Tensor, pass: &Pass) -> Result<Tensor, ModelError> {
        Ok(match &self.modules[self.position(name)?] {
            Module::Linear(linear) => linear.forward(x, pass)?.f_to_kind(Kind::Float)?,
            Module::Norm(norm) => norm.forward(x)?,
        })
    }

    /// The tensors that learn behind the layer `name`: weight, bias, LoRA factors. A tied weight is the embedding's own.
    ///
    /// # Errors
    /// An unknown name.
    pub fn trainable(&self, name: &str) -> Result<Vec<Tensor>, ModelError> {
        let module = &self.modules[self.position(name)?];
        let mut tensors: Vec<Tensor> = module
            .part()
            .parameters(0)
            .into_iter()
            .map(|parameter| parameter.tensor)
            .collect();
        if let Module::Linear(linear) = module
            && linear.is_tied()
        {
            tensors.push(linear.weight().shallow_clone());
        }
        tensors.retain(Tensor::requires_grad);
        Ok(tensors)
    }

    /// Every module, always in the same order.
    #[must_use]
    pub fn parts(&self) -> Vec<Part<'_>> {
        self.modules.iter().map(Module::part).collect()
    }

    pub(super) fn linears_mut(&mut self) -> Vec<&mut Linear> {
        self.modules
            .iter_mut()
            .filter_map(|module| match module {
                Module::Linear(linear) => Some(linear),
                Module::Norm(_) => None,
            })
            .collect()
    }

    fn position(&self, name: &str) -> Result<usize, ModelError> {
        let layers = &self.description.layers;
        layers
            .iter()
            .position(|layer| layer.name == name)
            .ok_or_else(|| ModelError::UnknownHeadLayer {
                name: name.to_owned(),
                known: layers.iter().map(|layer| layer.name.clone()).collect(),
            })
    }
}
