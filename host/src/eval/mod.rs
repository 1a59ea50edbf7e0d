//! What something trained makes of data: metrics, and on request the prediction for each row.

mod ask;
mod error;
mod files;
mod labels;
mod outputs;
mod predictions;

pub use ask::{Answer, Question, SplitName, answer};
pub use error::EvalError;
pub use files::{Form, write};
pub use predictions::{Confusion, Prediction};
