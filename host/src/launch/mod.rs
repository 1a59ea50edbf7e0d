//! Sweeps on a cluster: an array job of Slurm whose tasks share the runs of one output folder.
//!
//! The launcher writes a script into the output folder, submits it, and waits or leaves. Each task runs the same command
//! again, as a [`Task`]; who makes which run the tasks settle by claims (`sweep`), so a task that is cancelled, requeued
//! or dies costs nothing but time.

mod error;
mod job;
mod script;
mod slurm;
mod task;

pub use error::LaunchError;
pub use job::{ArrayJob, submit_or_join};
pub use script::Script;
pub use slurm::Slurm;
pub use task::Task;
