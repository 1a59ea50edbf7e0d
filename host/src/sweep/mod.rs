//! Many runs through worker processes.
//!
//! The parent ([`run_plan`]) hands out one run at a time, in plan order, to children of the same program
//! (`lorahost worker`, [`worker_main`]), which train it and write its folder. They speak JSON, one message a line:
//! [`ToWorker`] messages on the child's standard input, [`FromWorker`] messages on its standard output; its standard
//! error holds logs, which the parent passes on.
//!
//! - A worker keeps a checkpoint of its run from time to time, at a step boundary. Whoever takes the run up next goes on
//!   there, and measures what an undisturbed run would have, bit for bit.
//! - A worker that dies, or gives no sign of life for long, costs its run alone: the parent tries that run again from its
//!   checkpoint, and after so many times records it as failed, with the plugin call that was in flight.
//! - A signal to the parent stops its workers at their next step boundary, each with a checkpoint; so does the parent's
//!   death, for their standard input ends. A second signal ends them at once.
//! - Several processes, also on several machines, may make the runs of one output folder: each claims a run before it
//!   makes it (`claim.rs`).

mod attempt;
mod calibrate;
mod claim;
mod cost;
mod executor;
mod follow;
mod holder;
mod job;
mod keeper;
mod notice;
mod parent;
mod places;
mod prepare;
mod process;
mod progress;
mod queue;
mod search;
mod shard;
mod standing;
mod stop;
mod study;
#[cfg(test)]
mod tests;
mod worker;

pub use calibrate::products_per_second;
pub use executor::{Desk, Executor, Outcome, Wish};
pub use follow::{catch_up, follow};
pub use job::{FromWorker, Order, RunJob, ToWorker};
pub use notice::{Notice, Observer, Silent};
pub use parent::{Care, SweepError, SweepSummary, WorkerSetup, run_plan};
pub use prepare::{PrepareError, fitting_tokenizer, prepare, prepare_in, tokenizer_of};
pub(crate) use process::{LastWords, SharedChild, describe, end, kill};
pub use progress::{PlainProgress, TerminalProgress};
pub use queue::{LEASE, Part, Sharing};
pub use search::{Next as NextRates, Stopped, decades, next, next_runs};
pub use shard::{Shard, ShardError};
pub use standing::{CellStanding, Counts, Pace, Standing};
pub use stop::Stop;
pub use study::{Consent, StudyError, check_study, plan_record};
pub(crate) use worker::take_channels;
pub use worker::{WorkerError, worker_main};
