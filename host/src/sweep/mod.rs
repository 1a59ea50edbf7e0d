//! Many runs through worker processes.
//!
//! The parent ([`run_plan`]) hands out one run at a time, in plan order, to children of the same program
//! (`lorahost worker`, [`worker_main`]), which train it and write its folder. They speak JSON, one message a line:
//! [`RunJob`]s on the child's standard input, [`FromWorker`] messages on its standard output; its standard error holds
//! logs, which the parent passes on.
//!
//! - A worker that dies costs its run alone: the parent records that run as failed, with the plugin call that was in
//!   flight, and starts a fresh worker for the rest.
//! - A parent that dies ends its workers: their standard input ends.
//! - An interrupted sweep kills its workers; their runs stay without completion record and are begun anew next time.

mod job;
mod notice;
mod parent;
mod places;
mod prepare;
mod process;
mod progress;
mod search;
mod stop;
#[cfg(test)]
mod tests;
mod worker;

pub use job::{FromWorker, RunJob};
pub use notice::{Notice, Observer, Silent};
pub use parent::{SweepError, SweepSummary, WorkerSetup, run_plan};
pub use prepare::{PrepareError, prepare, tokenizer_of};
pub(crate) use process::{LastWords, SharedChild, describe, end, kill};
pub use progress::{PlainProgress, TerminalProgress};
pub use search::{Next, Stopped, decades, next, next_runs};
pub use stop::Stop;
pub(crate) use worker::take_channels;
pub use worker::{Executor, WorkerError, worker_main};
