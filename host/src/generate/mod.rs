//! Writing text with a decoder: a model's own, or one that a run has trained.
//!
//! [`Writer::open`] finds model, adapter and tokenizer; [`Writer::write`] gives one token after the other, the likeliest
//! or one drawn by [`Sampling`].

mod error;
mod open;
mod sampling;
mod tokens;

pub use error::GenerateError;
pub use open::Writer;
pub use sampling::Sampling;
pub use tokens::{Stop, Tokens};
