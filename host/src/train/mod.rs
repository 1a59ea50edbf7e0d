//! One run: model, plugins and data of a spec brought together, trained, evaluated.
//!
//! [`Trainer`] is what a worker executes: `setup` builds everything that a run needs, `run` is the loop.

mod checkpoint;
mod device;
mod diagnostics;
mod error;
mod evaluate;
mod factors;
mod head;
mod probe;
mod run;
mod schedule;
mod setup;
mod trainer;

pub use device::{DeviceError, VISIBLE, gpus, resolve as resolve_device};
pub use error::TrainError;
pub(crate) use evaluate::{Evaluation, evaluate_with};
pub(crate) use head::HeadPass;
pub use schedule::learning_rate;
pub(crate) use setup::task_head;
pub(crate) use trainer::Watch;
pub use trainer::{ADAPTER_FILE, MODEL_FOLDER, Trainer};
