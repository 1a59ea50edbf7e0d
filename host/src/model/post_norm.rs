//! The encoder that BERT and its kin share.

use tch::{TchError, Tensor};

use super::attention::Attention;
use super::layers::load_linear;
use super::{
    Activation, Embedding, Encoder, Loader, ModelError, Norm, PackedBatch, Part, activation,
};
use crate::adapter::{Linear, ModuleKind, Role};
use crate::dropout::{Dropout, Pass};
use crate::native;

/// Sizes and settings of a [`PostNormEncoder`].
#[derive(Debug, Clone)]
pub struct Shape {
    pub vocabulary: i64,
    /// Entries of the table of positions.
    pub positions: i64,
    /// The entry of a sequence's first token; those before it are not used.
    pub first_position: i64,
    /// Kinds of segment; 0 for a model without.
    pub segments: i64,
    pub layers: i64,
    pub heads: i64,
    pub hidden: i64,
    pub intermediate: i64,
    pub activation: Activation,
    pub norm_eps: f64,
    pub hidden_dropout: f64,
    pub attention_dropout: f64,
    pub padding: Option<i64>,
}

/// Module names below a block, in the order of computation, and of the blocks themselves.
#[derive(Debug, Clone, Copy)]
pub struct Names {
    /// With a dot at its end: `bert.`.
    pub prefix: &'static str,
    /// Of the blocks, below the prefix: `encoder.layer`.
    pub blocks: &'static str,
    pub query: &'static str,
    pub key: &'static str,
    pub value: &'static str,
    pub attention_output: &'static str,
    pub attention_norm: &'static str,
    pub up: &'static str,
    pub down: &'static str,
    pub output_norm: &'static str,
}

/// The encoder of BERT (arXiv 1810.04805) and its kin: learnt positions, bidirectional attention, normalisation after
/// each sum. Sequences are of segment 0.
#[derive(Debug)]
pub struct PostNormEncoder {
    shape: Shape,
    words: Embedding,
    positions: Embedding,
    segments: Option<Embedding>,
    norm: Norm,
    dropout: Dropout,
    blocks: Vec<Block>,
}

#[derive(Debug)]
struct Block {
    query: Linear,
    key: Linear,
    value: Linear,
    attention: Attention,
    attention_output: Linear,
    attention_dropout: Dropout,
    attention_norm: Norm,
    up: Linear,
    activation: Activation,
    down: Linear,
    output_dropout: Dropout,
    output_norm: Norm,
}

impl PostNormEncoder {
    /// Takes every parameter from `loader`.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn load(shape: Shape, names: &Names, loader: &mut Loader) -> Result<Self, ModelError> {
        let under = |name: &str| format!("{}embeddings.{name}", names.prefix);
        let mut table = |name: &str, entries, padding| {
            Embedding::load(loader, &under(name), [entries, shape.hidden], padding)
        };
        let words = table("word_embeddings", shape.vocabulary, shape.padding)?;
        let positions = table("position_embeddings", shape.positions, None)?;
        let segments = match shape.segments {
            0 => None,
            count => Some(table("token_type_embeddings", count, None)?),
        };
        let norm = Norm::load(
            loader,
            &under("LayerNorm"),
            shape.hidden,
            shape.norm_eps,
            Role::Norm,
        )?;
        let blocks = (0..shape.layers)
            .map(|index| Block::load(&shape, names, index, loader))
            .collect::<Result<_, _>>()?;
        let dropout = Dropout::new(&under("dropout"), shape.hidden_dropout);
        Ok(Self {
            shape,
            words,
            positions,
            segments,
            norm,
            dropout,
            blocks,
        })
    }
}

impl Encoder for PostNormEncoder {
    fn forward(&self, batch: &PackedBatch, pass: &Pass) -> Result<Tensor, ModelError> {
        self.through(&self.blocks, batch, pass)
    }

    fn forward_first(&self, batch: &PackedBatch, pass: &Pass) -> Result<Tensor, ModelError> {
        let Some((last, blocks)) = self.blocks.split_last() else {
            return Ok(batch.of_first(&self.forward(batch, pass)?)?);
        };
        let x = self.through(blocks, batch, pass)?;
        last.forward_first(&x, batch, pass)
    }

    fn parts(&self) -> Vec<Part<'_>> {
        let mut parts = vec![
            Part::Embedding(&self.words),
            Part::Embedding(&self.positions),
        ];
        parts.extend(self.segments.iter().map(Part::Embedding));
        parts.push(Part::Norm(&self.norm));
        for block in &self.blocks {
            parts.extend(
                [
                    &block.query,
                    &block.key,
                    &block.value,
                    &block.attention_output,
                ]
                .map(Part::Linear),
            );
            parts.push(Part::Norm(&block.attention_norm));
            parts.extend([&block.up, &block.down].map(Part::Linear));
            parts.push(Part::Norm(&block.output_norm));
        }
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
                    attention_output,
                    up,
                    down,
                    ..
                } = block;
                [query, key, value, attention_output, up, down]
            })
            .collect()
    }

    fn words(&self) -> &Embedding {
        &self.words
    }

    fn max_positions(&self) -> i64 {
        self.shape.positions - self.shape.first_position
    }
}

impl PostNormEncoder {
    /// The embeddings through these blocks.
    fn through(
        &self,
        blocks: &[Block],
        batch: &PackedBatch,
        pass: &Pass,
    ) -> Result<Tensor, ModelError> {
        let mut x = self.words.forward(&batch.ids)?;
        if let Some(segments) = &self.segments {
            x = x.f_add(&segments.weight().f_select(0, 0)?)?;
        }
        x = x.f_add(&self.position_vectors(batch)?)?;
        x = self.dropout.forward(&self.norm.forward(&x)?, pass)?;
        for block in blocks {
            x = block.forward(&x, batch, pass)?;
        }
        Ok(x)
    }

    fn position_vectors(&self, batch: &PackedBatch) -> Result<Tensor, TchError> {
        match self.shape.first_position {
            0 => self.positions.forward(&batch.positions),
            first => self
                .positions
                .forward(&batch.positions.f_add_scalar(first)?),
        }
    }
}

impl Block {
    fn load(
        shape: &Shape,
        names: &Names,
        index: i64,
        loader: &mut Loader,
    ) -> Result<Self, ModelError> {
        let Shape {
            hidden,
            intermediate,
            ..
        } = *shape;
        let under = |name: &str| format!("{}{}.{index}.{name}", names.prefix, names.blocks);
        let dropout = |name: &str, p| Dropout::new(&format!("{}.dropout", under(name)), p);
        let mut attention = |name: &str| {
            load_linear(
                loader,
                &under(name),
                ModuleKind::Attention,
                [hidden, hidden],
            )
        };
        let query = attention(names.query)?;
        let key = attention(names.key)?;
        let value = attention(names.value)?;
        let attention_output = attention(names.attention_output)?;
        let mut mlp = |name: &str, size| load_linear(loader, &under(name), ModuleKind::Mlp, size);
        let up = mlp(names.up, [intermediate, hidden])?;
        let down = mlp(names.down, [hidden, intermediate])?;
        let mut norm =
            |name: &str| Norm::load(loader, &under(name), hidden, shape.norm_eps, Role::Norm);
        Ok(Self {
            attention: Attention::bidirectional(
                shape.heads,
                dropout("attention", shape.attention_dropout),
            ),
            attention_dropout: dropout(names.attention_output, shape.hidden_dropout),
            attention_norm: norm(names.attention_norm)?,
            activation: shape.activation,
            output_dropout: dropout(names.down, shape.hidden_dropout),
            output_norm: norm(names.output_norm)?,
            query,
            key,
            value,
            attention_output,
            up,
            down,
        })
    }

    fn forward(&self, x: &Tensor, batch: &PackedBatch, pass: &Pass) -> Result<Tensor, ModelError> {
        let packed = Linear::together(&[&self.query, &self.key, &self.value], x, pass)?;
        let attended = self.attention.forward([&packed], batch, pass)?;
        self.after_attention(&attended, x, pass)
    }

    /// What [`Block::forward`] gives for each sequence's first token: keys and values are those of all tokens, and nothing
    /// else is.
    fn forward_first(
        &self,
        x: &Tensor,
        batch: &PackedBatch,
        pass: &Pass,
    ) -> Result<Tensor, ModelError> {
        if !native::is_plain(x) || self.query.is_lowered() {
            return Ok(batch.of_first(&self.forward(x, batch, pass)?)?);
        }
        let first = batch.of_first(x)?;
        let of_first = pass.of_rows(batch.starts());
        let query = self.query.forward(&first, &of_first)?;
        let packed = Linear::together(&[&self.key, &self.value], x, pass)?;
        let parts = packed.f_chunk(2, 1)?;
        let attended = self
            .attention
            .of_first([&query, &parts[0], &parts[1]], batch, pass)?;
        self.after_attention(&attended, &first, &of_first)
    }

    /// The rest of a block, from what attention gave and the block's input.
    fn after_attention(
        &self,
        attended: &Tensor,
        x: &Tensor,
        pass: &Pass,
    ) -> Result<Tensor, ModelError> {
        let attended = self.attention_output.forward(attended, pass)?;
        let x = self
            .attention_norm
            .of_sum(&attended, &self.attention_dropout, x, pass)?;

        let inner = self.up.forward(&x, pass)?;
        let inner = activation::then(self.activation, &inner, &self.down, pass)?;
        Ok(self
            .output_norm
            .of_sum(&inner, &self.output_dropout, &x, pass)?)
    }
}
