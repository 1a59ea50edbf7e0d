//! What a path names that something was trained to be: a model, a run that kept its weights, a PEFT adapter.

mod error;
mod find;

pub use error::TrainedError;
pub use find::{AdapterOnBase, Kept, KeptRun, Trained};
