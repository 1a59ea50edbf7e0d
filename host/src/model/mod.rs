//! The models: packed tokens in, hidden states out.
//!
//! A model comes from a folder in Hugging Face's layout. Sequences are packed one after another, without padding, and
//! every length is right as it is. An architecture is one file and one line in [`Architecture::all`].

pub mod activation;
mod architecture;
mod attention;
mod batch;
mod bert;
mod builtin;
mod cache;
mod config;
mod decoder_settings;
mod describe;
mod distilbert;
mod error;
mod files;
mod gpt2;
mod grouped_attention;
mod head;
mod inspect;
mod layers;
mod llama;
mod load_adapter;
mod loader;
mod open;
mod operations;
mod peft;
mod post_norm;
mod qwen2;
mod qwen3;
mod rms_decoder;
mod roberta;
mod rotary;
mod save;
mod shards;
mod tensors;
mod weights;

pub use activation::Activation;
pub use architecture::{Architecture, Encoder, Layout, LoadEncoder};
pub use batch::PackedBatch;
pub use builtin::Builtin;
pub use cache::Cache;
pub use config::Config;
pub use describe::Description;
pub(crate) use describe::grouped;
pub use error::ModelError;
pub(crate) use error::{listed, shown};
pub(crate) use files::{COMPANIONS, CONFIG, INDEX, WEIGHTS};
pub use files::{ModelFiles, NamedFile};
pub use head::{Head, HeadDescription, HeadLayer, HeadLayerKind, Pooled};
pub use inspect::{
    HeadLayerReport, HeadReport, Inspection, LayerReport, LoraCount, Operations, PartCounts,
};
pub use layers::{Embedding, Norm, Part, RmsNorm};
pub use loader::{Draw, Init, Loader};
pub use open::{Model, Options};
pub use operations::TokenCost;
pub use post_norm::{Names, PostNormEncoder, Shape};
pub use rms_decoder::{DecoderShape, RmsDecoder};
pub use save::{KeptHead, copy_model};
pub use shards::ShardIndex;
pub use tensors::{Precision, write_tensors};
pub use weights::{WeightFile, WeightSummary};

pub use crate::dropout::Pass;
