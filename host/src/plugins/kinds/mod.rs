//! The four kinds of component as the host uses them: messages made, answers checked.

mod alpha;
mod head;
mod init;
mod optimizer;

pub use alpha::AlphaPolicy;
pub use head::{HeadBatch, HeadLoss, Pass, TaskHead};
pub use init::{InitScheme, LayerFactors};
pub use optimizer::{Optimizer, OptimizerGroup};
