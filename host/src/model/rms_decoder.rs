//! The decoder that Llama and its kin share.

use tch::{TchError, Tensor};

use super::cache::Cache;
use super::grouped_attention::GroupedAttention;
use super::layers::{load_linear, load_unbiased_linear};
use super::rotary::{Rotary, Turns};
use super::{
    Activation, Config, Embedding, Encoder, Loader, ModelError, PackedBatch, Part, RmsNorm,
    activation,
};
use crate::adapter::{Linear, ModuleKind};
use crate::dropout::{Dropout, Pass};

/// What stands before the decoder's names in a model with a head.
pub(super) const PREFIX: &str = "model.";

/// Sizes and settings of an [`RmsDecoder`].
#[derive(Debug, Clone)]
pub struct DecoderShape {
    pub vocabulary: i64,
    pub max_positions: i64,
    pub layers: i64,
    pub heads: i64,
    /// Heads of keys and values, which divide `heads`.
    pub key_heads: i64,
    /// Width of a head, even.
    pub head_dim: i64,
    pub hidden: i64,
    pub intermediate: i64,
    pub activation: Activation,
    pub norm_eps: f64,
    pub attention_dropout: f64,
    pub padding: Option<i64>,
    /// Whether query, key and value have biases.
    pub input_bias: bool,
    pub output_bias: bool,
    pub mlp_bias: bool,
    /// Whether each head of queries and keys is normalised before it is turned.
    pub head_norms: bool,
}

/// The decoder of Llama (arXiv 2302.13971) and its kin: rotary positions, causal attention with shared keys and values,
/// gated linear layers (arXiv 2002.05202), normalisation before each sum's branch.
#[derive(Debug)]
pub struct RmsDecoder {
    max_positions: i64,
    words: Embedding,
    rotary: Rotary,
    blocks: Vec<Block>,
    norm: RmsNorm,
}

#[derive(Debug)]
struct Block {
    input_norm: RmsNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    head_norms: Option<HeadNorms>,
    head_dim: i64,
    attention: GroupedAttention,
    output: Linear,
    mlp_norm: RmsNorm,
    gate: Linear,
    up: Linear,
    activation: Activation,
    down: Linear,
}

/// Over the width of a head.
#[derive(Debug)]
struct HeadNorms {
    query: RmsNorm,
    key: RmsNorm,
}

impl RmsDecoder {
    /// Takes every parameter from `loader`, and what concerns positions from `config`.
    ///
    /// # Errors
    /// Settings that are not served; what libtorch reports.
    pub fn load(
        shape: &DecoderShape,
        config: &Config,
        loader: &mut Loader,
    ) -> Result<Self, ModelError> {
        let under = |name: &str| format!("{PREFIX}{name}");
        let table = [shape.vocabulary, shape.hidden];
        let words = Embedding::load(loader, &under("embed_tokens"), table, shape.padding)?;
        Ok(Self {
            max_positions: shape.max_positions,
            rotary: Rotary::new(config, shape.head_dim, words.weight().device())?,
            words,
            blocks: (0..shape.layers)
                .map(|index| Block::load(shape, index, loader))
                .collect::<Result<_, _>>()?,
            norm: RmsNorm::load(loader, &under("norm"), shape.hidden, shape.norm_eps)?,
        })
    }
}

impl Encoder for RmsDecoder {
    fn forward(&self, batch: &PackedBatch, pass: &Pass) -> Result<Tensor, ModelError> {
        let turns = self.rotary.turns(&batch.positions)?;
        let mut x = self.words.forward(&batch.ids)?;
        for block in &self.blocks {
            let attend = |heads: [&Tensor; 3]| block.attention.forward(heads, batch, pass);
            x = block.forward(&x, &turns, pass, attend)?;
        }
        Ok(self.norm.forward(&x)?)
    }

    fn step(&self, batch: &PackedBatch, cache: &mut Cache) -> Result<Tensor, ModelError> {
        let turns = self.rotary.turns(&batch.positions)?;
        let mut x = self.words.forward(&batch.ids)?;
        let layers = cache.layers(self.blocks.len());
        for (block, past) in self.blocks.iter().zip(layers) {
            let attend = |heads: [&Tensor; 3]| block.attention.step(heads, past);
            x = block.forward(&x, &turns, &Pass::evaluation(), attend)?;
        }
        Ok(self.norm.forward(&x)?)
    }

    fn parts(&self) -> Vec<Part<'_>> {
        let mut parts = vec![Part::Embedding(&self.words)];
        for block in &self.blocks {
            parts.push(Part::RmsNorm(&block.input_norm));
            parts.extend([&block.query, &block.key, &block.value].map(Part::Linear));
            if let Some(HeadNorms { query, key }) = &block.head_norms {
                parts.extend([query, key].map(Part::RmsNorm));
            }
            parts.push(Part::Linear(&block.output));
            parts.push(Part::RmsNorm(&block.mlp_norm));
            parts.extend([&block.gate, &block.up, &block.down].map(Part::Linear));
        }
        parts.push(Part::RmsNorm(&self.norm));
        parts
    }

    fn linears_mut(&mut self) -> Vec<&mut Linear> {
        self.blocks
            .iter_mut()
            .flat_map(|block| {
                let Block {
                    query,
                    key,
                    value,
                    output,
                    gate,
                    up,
                    down,
                    ..
                } = block;
                [query, key, value, output, gate, up, down]
            })
            .collect()
    }

    fn words(&self) -> &Embedding {
        &self.words
    }

    fn max_positions(&self) -> i64 {
        self.max_positions
    }
}

impl Block {
    fn load(shape: &DecoderShape, index: i64, loader: &mut Loader) -> Result<Self, ModelError> {
        let DecoderShape {
            hidden,
            intermediate,
            head_dim,
            norm_eps,
            ..
        } = *shape;
        let under = |name: &str| format!("{PREFIX}layers.{index}.{name}");
        let (inner, narrow) = (shape.heads * head_dim, shape.key_heads * head_dim);
        let (attention, mlp) = (ModuleKind::Attention, ModuleKind::Mlp);
        let mut linear = |name: &str, kind, size, bias| {
            let load = if bias {
                load_linear
            } else {
                load_unbiased_linear
            };
            load(loader, &under(name), kind, size)
        };
        let bias = shape.input_bias;
        let query = linear("self_attn.q_proj", attention, [inner, hidden], bias)?;
        let key = linear("self_attn.k_proj", attention, [narrow, hidden], bias)?;
        let value = linear("self_attn.v_proj", attention, [narrow, hidden], bias)?;
        let bias = shape.output_bias;
        let output = linear("self_attn.o_proj", attention, [hidden, inner], bias)?;
        let bias = shape.mlp_bias;
        let gate = linear("mlp.gate_proj", mlp, [intermediate, hidden], bias)?;
        let up = linear("mlp.up_proj", mlp, [intermediate, hidden], bias)?;
        let down = linear("mlp.down_proj", mlp, [hidden, intermediate], bias)?;
        let mut norm = |name: &str, width| RmsNorm::load(loader, &under(name), width, norm_eps);
        let head_norms = if shape.head_norms {
            Some(HeadNorms {
                query: norm("self_attn.q_norm", head_dim)?,
                key: norm("self_attn.k_norm", head_dim)?,
            })
        } else {
            None
        };
        let dropout = Dropout::new(&under("self_attn.dropout"), shape.attention_dropout);
        Ok(Self {
            input_norm: norm("input_layernorm", hidden)?,
            mlp_norm: norm("post_attention_layernorm", hidden)?,
            attention: GroupedAttention::new(shape.heads, shape.key_heads, dropout),
            activation: shape.activation,
            query,
            key,
            value,
            head_norms,
            head_dim,
            output,
            gate,
            up,
            down,
        })
    }

    /// `attend` makes of queries, keys and values `[total, heads, head_dim]` what the tokens attend to,
    /// `[total, heads * head_dim]`.
    fn forward(
        &self,
        x: &Tensor,
        turns: &Turns,
        pass: &Pass,
        attend: impl FnOnce([&Tensor; 3]) -> Result<Tensor, TchError>,
    ) -> Result<Tensor, ModelError> {
        let input = self.input_norm.forward(x)?;
        let [query, key, value] = self.heads(&input, turns, pass)?;
        let attended = attend([&query, &key, &value])?;
        let x = self.output.forward(&attended, pass)?.f_add(x)?;

        let input = self.mlp_norm.forward(&x)?;
        let gate = activation::apply(self.activation, &self.gate.forward(&input, pass)?)?;
        let inner = gate.f_mul(&self.up.forward(&input, pass)?)?;
        Ok(self.down.forward(&inner, pass)?.f_add(&x)?)
    }

    /// Queries and keys, turned, and values: `[total, heads, head_dim]`.
    fn heads(&self, x: &Tensor, turns: &Turns, pass: &Pass) -> Result<[Tensor; 3], TchError> {
        let split = |linear: &Linear| {
            linear
                .forward(x, pass)?
                .f_view([x.size()[0], -1, self.head_dim])
        };
        let (mut query, mut key) = (split(&self.query)?, split(&self.key)?);
        if let Some(norms) = &self.head_norms {
            query = norms.query.forward(&query)?;
            key = norms.key.forward(&key)?;
        }
        Ok([
            turns.apply(&query)?,
            turns.apply(&key)?,
            split(&self.value)?,
        ])
    }
}
