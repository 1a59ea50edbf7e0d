//! What an architecture gives: its names in files and configurations, its encoder, its heads.

use std::fmt::Debug;

use tch::Tensor;

use super::{
    Cache, Config, Embedding, HeadDescription, Loader, ModelError, PackedBatch, Part, bert,
    distilbert, gpt2, llama, qwen2, qwen3, roberta,
};
use crate::adapter::Linear;
use crate::dropout::Pass;

/// What turns packed tokens into hidden states.
pub trait Encoder: Debug + Send {
    /// Hidden states of every token, `[total, hidden]`.
    ///
    /// # Errors
    /// What libtorch reports.
    fn forward(&self, batch: &PackedBatch, pass: &Pass) -> Result<Tensor, ModelError>;

    /// Hidden states of each sequence's first token, `[rows, hidden]`: those of [`Encoder::forward`], but for the masks of
    /// dropout in the last block where less is computed for them.
    ///
    /// # Errors
    /// What libtorch reports.
    fn forward_first(&self, batch: &PackedBatch, pass: &Pass) -> Result<Tensor, ModelError> {
        Ok(batch.of_first(&self.forward(batch, pass)?)?)
    }

    /// Hidden states `[new, hidden]` of the tokens of `batch`, which go on with the one sequence in `cache`, without
    /// gradients or dropout. One that keeps nothing of a sequence computes it anew.
    ///
    /// # Errors
    /// What libtorch reports.
    fn step(&self, batch: &PackedBatch, cache: &mut Cache) -> Result<Tensor, ModelError> {
        let past = Tensor::f_from_slice(cache.ids())?.f_to_device(batch.ids.device())?;
        let ids = Tensor::f_cat(&[&past, &batch.ids], 0)?;
        let total = ids.size()[0];
        let vocabulary = self.words().weight().size()[0];
        let whole = PackedBatch::new(&ids, &[0, total], vocabulary, self.max_positions())?;
        let hidden = self.forward(&whole, &Pass::evaluation())?;
        Ok(hidden.f_narrow(0, cache.length(), total - cache.length())?)
    }

    /// Every module that has parameters, always in the same order.
    fn parts(&self) -> Vec<Part<'_>>;

    /// The linear layers in the order in which [`Encoder::parts`] has them.
    fn linears_mut(&mut self) -> Vec<&mut Linear>;

    /// The table of input tokens.
    fn words(&self) -> &Embedding;

    /// The longest sequence that the model takes, in tokens.
    fn max_positions(&self) -> i64;
}

/// Makes an encoder of its settings and parameters.
pub type LoadEncoder = fn(&Config, &mut Loader) -> Result<Box<dyn Encoder>, ModelError>;

/// One kind of model: what its `model_type` means here.
pub struct Architecture {
    /// `model_type` of `config.json`.
    pub model_type: &'static str,
    /// What stands before the encoder's names in a model with a head, with its dot: `bert.`. Files may leave it out.
    pub prefix: &'static str,
    /// Starts of the names that stand beside the encoder, not in it.
    pub head_roots: &'static [&'static str],
    /// Full names that a file may have though nobody takes them: their starts, or start and end with a `*` between.
    pub harmless: &'static [&'static str],
    /// The longest sequence in tokens, as the settings have it.
    pub positions: fn(&Config) -> Result<i64, ModelError>,
    pub encoder: LoadEncoder,
    pub layouts: &'static [Layout],
}

/// A head that an architecture has.
pub struct Layout {
    /// How a task head asks for it: `pooled`, `tokens`, `vocabulary`, `causal`.
    pub name: &'static str,
    /// The class of transformers that has this head.
    pub class: &'static str,
    /// The head for a number of outputs; layouts with a number of their own take no notice of it.
    pub describe: fn(&Config, i64) -> Result<HeadDescription, ModelError>,
}

impl Architecture {
    /// Every architecture that is served.
    #[must_use]
    pub fn all() -> [&'static Self; 9] {
        [
            &bert::ARCHITECTURE,
            &distilbert::ARCHITECTURE,
            &roberta::ARCHITECTURE,
            &roberta::XLM_ROBERTA,
            &roberta::CAMEMBERT,
            &gpt2::ARCHITECTURE,
            &llama::ARCHITECTURE,
            &qwen2::ARCHITECTURE,
            &qwen3::ARCHITECTURE,
        ]
    }

    /// The architecture that `config` names.
    ///
    /// # Errors
    /// Where `model_type` is absent or unknown.
    pub fn of(config: &Config) -> Result<&'static Self, ModelError> {
        let found = config.text("model_type")?;
        let all = Self::all();
        all.into_iter()
            .find(|known| known.model_type == found)
            .ok_or_else(|| ModelError::UnknownArchitecture {
                origin: config.origin().to_owned(),
                found: found.to_owned(),
                known: all
                    .iter()
                    .map(|known| known.model_type.to_owned())
                    .collect(),
            })
    }

    /// The full path of a name in a file: with the prefix where the file left it out, and with today's names of a
    /// norm's parameters.
    #[must_use]
    pub fn canonical(&self, name: &str) -> String {
        let name = match name.rsplit_once('.') {
            Some((module, "gamma")) => format!("{module}.weight"),
            Some((module, "beta")) => format!("{module}.bias"),
            _ => name.to_owned(),
        };
        let beside = self.head_roots.iter().any(|root| name.starts_with(root));
        if beside || name.starts_with(self.prefix) {
            name
        } else {
            format!("{}{name}", self.prefix)
        }
    }

    /// Whether a file may have the full path `name` that nobody takes.
    #[must_use]
    pub fn is_harmless(&self, name: &str) -> bool {
        let fits = |pattern: &&str| match pattern.split_once('*') {
            Some((start, end)) => name.starts_with(start) && name.ends_with(end),
            None => name.starts_with(pattern),
        };
        self.harmless.iter().chain(self.head_roots).any(fits)
    }

    /// The head of layout `name`.
    ///
    /// # Errors
    /// Where the architecture has none of this name.
    pub fn layout(&self, name: &str) -> Result<&'static Layout, ModelError> {
        self.layouts
            .iter()
            .find(|layout| layout.name == name)
            .ok_or_else(|| ModelError::UnknownLayout {
                architecture: self.model_type.to_owned(),
                layout: name.to_owned(),
                known: self
                    .layouts
                    .iter()
                    .map(|layout| layout.name.to_owned())
                    .collect(),
            })
    }
}

impl Debug for Architecture {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("Architecture")
            .field(&self.model_type)
            .finish()
    }
}
