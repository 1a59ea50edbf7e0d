//! lorahost: at which learning rate is LoRA as good as full fine-tuning, and what moves that optimum?
//!
//! Data takes one way: [`spec`] -> [`data`] -> [`model`] + [`adapter`] -> [`train`] -> [`record`] -> [`report`].

pub mod adapter;
pub mod atomic;
pub mod check;
pub mod cli;
pub mod data;
pub mod digest;
pub mod dropout;
pub mod eval;
pub mod export;
mod front_matter;
pub mod generate;
pub mod hub;
pub mod import;
pub mod kit;
pub mod launch;
pub mod machine;
pub mod model;
#[expect(unsafe_code, reason = "calls into host/cpp")]
pub mod native;
pub mod nearest;
pub mod plugins;
mod printable;
pub mod random;
pub mod record;
pub mod report;
pub mod spec;
pub mod sweep;
pub mod train;
pub mod trained;
pub mod verify;
