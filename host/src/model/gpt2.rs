//! GPT-2 (Radford et al. 2019), DistilGPT2 too: a decoder with learnt positions and norms before each sum's branch.

use serde_json::json;
use tch::{TchError, Tensor};

use super::architecture::{Architecture, Encoder, Layout};
use super::attention::Attention;
use super::cache::KeysAndValues;
use super::grouped_attention::attend;
use super::layers::load_conv1d;
use super::{
    Activation, Cache, Config, Embedding, HeadDescription, HeadLayer, Init, Loader, ModelError,
    Norm, PackedBatch, Part, Pooled, activation,
};
use crate::adapter::{Linear, ModuleKind, Role};
use crate::dropout::{Dropout, Pass};

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_type: "gpt2",
    prefix: "transformer.",
    head_roots: &["lm_head.", "score.", "classifier.", "multiple_choice_head."],
    // The causal mask, which older files hold.
    harmless: &[
        "transformer.h.*.attn.bias",
        "transformer.h.*.attn.masked_bias",
    ],
    positions,
    encoder,
    layouts: &[
        Layout {
            name: "pooled",
            class: "GPT2ForSequenceClassification",
            describe: pooled,
        },
        Layout {
            name: "tokens",
            class: "GPT2ForTokenClassification",
            describe: tokens,
        },
        Layout {
            name: "causal",
            class: "GPT2LMHeadModel",
            describe: causal,
        },
    ],
};

#[derive(Debug)]
struct Gpt2 {
    words: Embedding,
    positions: Embedding,
    dropout: Dropout,
    blocks: Vec<Block>,
    norm: Norm,
}

#[derive(Debug)]
struct Block {
    attention_norm: Norm,
    /// Query, key and value in one layer.
    attention_input: Linear,
    attention: Attention,
    heads: i64,
    attention_output: Linear,
    attention_dropout: Dropout,
    mlp_norm: Norm,
    up: Linear,
    activation: Activation,
    down: Linear,
    mlp_dropout: Dropout,
}

/// The settings of a block.
struct Shape {
    layers: i64,
    heads: i64,
    hidden: i64,
    intermediate: i64,
    activation: Activation,
    norm_eps: f64,
    residual_dropout: f64,
    attention_dropout: f64,
}

fn encoder(config: &Config, loader: &mut Loader) -> Result<Box<dyn Encoder>, ModelError> {
    config.refuse_others(&[
        ("scale_attn_weights", json!(true)),
        ("scale_attn_by_inverse_layer_idx", json!(false)),
        ("reorder_and_upcast_attn", json!(false)),
        ("add_cross_attention", json!(false)),
        ("is_encoder_decoder", json!(false)),
        ("pruned_heads", json!({})),
        ("quantization_config", json!(null)),
    ])?;
    let (hidden, heads) = (config.size("n_embd")?, config.size("n_head")?);
    config.divides(hidden, "n_head", heads)?;
    let shape = Shape {
        layers: config.size("n_layer")?,
        heads,
        hidden,
        intermediate: config.optional_size("n_inner")?.unwrap_or(4 * hidden),
        activation: config.activation_or("activation_function", Activation::GeluTanh)?,
        norm_eps: config.positive("layer_norm_epsilon", 1e-5)?,
        residual_dropout: config.dropout("resid_pdrop", 0.1)?,
        attention_dropout: config.dropout("attn_pdrop", 0.1)?,
    };
    let under = |name: &str| format!("{}{name}", ARCHITECTURE.prefix);
    let mut table =
        |name: &str, entries| Embedding::load(loader, &under(name), [entries, hidden], None);
    Ok(Box::new(Gpt2 {
        words: table("wte", config.size("vocab_size")?)?,
        positions: table("wpe", positions(config)?)?,
        dropout: Dropout::new(&under("drop"), config.dropout("embd_pdrop", 0.1)?),
        blocks: (0..shape.layers)
            .map(|index| Block::load(&shape, index, loader))
            .collect::<Result<_, _>>()?,
        norm: Norm::load(loader, &under("ln_f"), hidden, shape.norm_eps, Role::Norm)?,
    }))
}

/// The score, without bias, of the row's last token, whose hidden state alone has seen the whole row.
fn pooled(config: &Config, outputs: i64) -> Result<HeadDescription, ModelError> {
    let hidden = config.size("n_embd")?;
    Ok(HeadDescription::new(
        "pooled",
        Some(Pooled::Last),
        hidden,
        outputs,
        vec![HeadLayer::linear("score", hidden, outputs).without_bias()],
    ))
}

/// Dropout, the classifier.
fn tokens(config: &Config, outputs: i64) -> Result<HeadDescription, ModelError> {
    let hidden = config.size("n_embd")?;
    // transformers asks for these two in this order, though GPT-2 has no setting of its own for it.
    let default = config.dropout("hidden_dropout", 0.1)?;
    let dropout = config.dropout("classifier_dropout", default)?;
    Ok(HeadDescription::new(
        "tokens",
        None,
        hidden,
        outputs,
        vec![HeadLayer::linear("classifier", hidden, outputs).input_dropout(dropout)],
    ))
}

/// A score of every token of the vocabulary as the next one.
fn causal(config: &Config, _: i64) -> Result<HeadDescription, ModelError> {
    config.refuse_others(&[("tie_word_embeddings", json!(true))])?;
    let (hidden, vocabulary) = (config.size("n_embd")?, config.size("vocab_size")?);
    Ok(HeadDescription::new(
        "causal",
        None,
        hidden,
        vocabulary,
        vec![
            HeadLayer::linear("lm_head", hidden, vocabulary)
                .without_bias()
                .tied(),
        ],
    ))
}

fn positions(config: &Config) -> Result<i64, ModelError> {
    config.size("n_positions")
}

impl Encoder for Gpt2 {
    fn forward(&self, batch: &PackedBatch, pass: &Pass) -> Result<Tensor, ModelError> {
        let mut x = self.dropout.forward(&self.embed(batch)?, pass)?;
        for block in &self.blocks {
            let attend = |heads: [&Tensor; 3]| block.attention.forward(heads, batch, pass);
            x = block.forward(&x, pass, attend)?;
        }
        Ok(self.norm.forward(&x)?)
    }

    fn step(&self, batch: &PackedBatch, cache: &mut Cache) -> Result<Tensor, ModelError> {
        let mut x = self.embed(batch)?;
        let layers = cache.layers(self.blocks.len());
        for (block, past) in self.blocks.iter().zip(layers) {
            let attend = |heads: [&Tensor; 3]| block.step(heads, past);
            x = block.forward(&x, &Pass::evaluation(), attend)?;
        }
        Ok(self.norm.forward(&x)?)
    }

    fn parts(&self) -> Vec<Part<'_>> {
        let mut parts = vec![
            Part::Embedding(&self.words),
            Part::Embedding(&self.positions),
        ];
        for block in &self.blocks {
            parts.push(Part::Norm(&block.attention_norm));
            parts.extend([&block.attention_input, &block.attention_output].map(Part::Linear));
            parts.push(Part::Norm(&block.mlp_norm));
            parts.extend([&block.up, &block.down].map(Part::Linear));
        }
        parts.push(Part::Norm(&self.norm));
        parts
    }

    fn linears_mut(&mut self) -> Vec<&mut Linear> {
        self.blocks
            .iter_mut()
            .flat_map(|block| {
                let Block {
                    attention_input,
                    attention_output,
                    up,
                    down,
                    ..
                } = block;
                [attention_input, attention_output, up, down]
            })
            .collect()
    }

    fn words(&self) -> &Embedding {
        &self.words
    }

    fn max_positions(&self) -> i64 {
        self.positions.weight().size()[0]
    }
}

impl Gpt2 {
    fn embed(&self, batch: &PackedBatch) -> Result<Tensor, TchError> {
        let words = self.words.forward(&batch.ids)?;
        words.f_add(&self.positions.forward(&batch.positions)?)
    }
}

impl Block {
    fn load(shape: &Shape, index: i64, loader: &mut Loader) -> Result<Self, ModelError> {
        let Shape {
            hidden,
            intermediate,
            layers,
            ..
        } = *shape;
        let under = |name: &str| format!("{}h.{index}.{name}", ARCHITECTURE.prefix);
        let dropout = |name: &str, p| Dropout::new(&under(name), p);
        let mut linear =
            |name: &str, kind, size, init| load_conv1d(loader, &under(name), kind, size, init);
        let (attention, mlp) = (ModuleKind::Attention, ModuleKind::Mlp);
        let end = Init::Residual { layers };
        let attention_input = linear("attn.c_attn", attention, [3 * hidden, hidden], Init::Normal)?;
        let attention_output = linear("attn.c_proj", attention, [hidden, hidden], end)?;
        let up = linear("mlp.c_fc", mlp, [intermediate, hidden], Init::Normal)?;
        let down = linear("mlp.c_proj", mlp, [hidden, intermediate], end)?;
        let mut norm =
            |name: &str| Norm::load(loader, &under(name), hidden, shape.norm_eps, Role::Norm);
        Ok(Self {
            attention_norm: norm("ln_1")?,
            attention: Attention::causal(
                shape.heads,
                dropout("attn.attn_dropout", shape.attention_dropout),
            ),
            heads: shape.heads,
            attention_dropout: dropout("attn.resid_dropout", shape.residual_dropout),
            mlp_norm: norm("ln_2")?,
            activation: shape.activation,
            mlp_dropout: dropout("mlp.dropout", shape.residual_dropout),
            attention_input,
            attention_output,
            up,
            down,
        })
    }

    /// `attend` makes of queries, keys and values `[total, hidden]` what the tokens attend to.
    fn forward(
        &self,
        x: &Tensor,
        pass: &Pass,
        attend: impl FnOnce([&Tensor; 3]) -> Result<Tensor, TchError>,
    ) -> Result<Tensor, ModelError> {
        let input = self.attention_norm.forward(x)?;
        let all = self.attention_input.forward(&input, pass)?;
        let all = all.f_split(x.size()[1], 1)?;
        let attended = attend([&all[0], &all[1], &all[2]])?;
        let attended = self.attention_output.forward(&attended, pass)?;
        let x = self.attention_dropout.forward(&attended, pass)?.f_add(x)?;

        let inner = self.up.forward(&self.mlp_norm.forward(&x)?, pass)?;
        let inner = activation::apply(self.activation, &inner)?;
        let inner = self.down.forward(&inner, pass)?;
        Ok(self.mlp_dropout.forward(&inner, pass)?.f_add(&x)?)
    }

    /// Attention of tokens that go on with the one sequence that `past` holds.
    fn step(&self, heads: [&Tensor; 3], past: &mut KeysAndValues) -> Result<Tensor, TchError> {
        let [query, key, value] = heads.map(|x| x.f_unflatten(1, [self.heads, -1]));
        let (keys, values) = past.extend(&key?, &value?)?;
        attend(&query?, keys, values)
    }
}
