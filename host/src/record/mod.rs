//! What a run leaves on disk, and reading it back.
//!
//! A run is its folder `OUT/runs/<id>/`:
//!
//! | file | content |
//! |---|---|
//! | `spec.json` | [`SpecRecord`]: the resolved spec, its id and its cell |
//! | `metrics.jsonl` | one [`Event`] a line: steps and evaluations, in the order in which they happened |
//! | `result.json` | [`RunResult`]: status, losses, metrics, and where they were measured |
//! | `done.json` | the completion record: size and sha256 of every other file of the folder |
//! | `crashes.jsonl` | one [`Failure`] a line: what ended the run before it was tried again; mostly absent |
//! | `checkpoint/` | while the run is being made, and after a failure that may pass: where it can go on, see [`Checkpoint`] |
//!
//! Beside the runs, `OUT/plan.json` ([`PlanRecord`]) says what the sweep is about that was begun last.
//!
//! `done.json` is written last, in one step (temporary file, `fsync`, rename). **A run is done when `done.json` is
//! there and fits the other files, and not before**: a run without it goes on from its checkpoint, or is begun anew.
//!
//! JSON knows neither NaN nor infinity. In these files such a number is `null`, and reads back as NaN.
//!
//! Every file carries a format version. A reader takes its own version and older ones; a newer one is an error, never a
//! reason to begin the run anew.

mod checkpoint;
mod diagnostics;
mod error;
mod event;
mod figure;
mod file;
mod folder;
mod glance;
mod history;
mod lock;
mod output;
mod plan;
mod provenance;
mod result;
mod stored;
#[cfg(test)]
mod tests;

pub use checkpoint::{Checkpoint, Found, Spent, discard as discard_checkpoint};
pub use diagnostics::{Diagnostics, LayerNorms, Norms};
pub use error::RecordError;
pub use event::{Event, PluginCall, Split};
pub use figure::python_float;
pub use file::{read_if_there, write_atomically};
pub(crate) use folder::parse_version;
pub use folder::{
    RunRecord, RunState, RunWriter, SpecRecord, is_run, note_crash, read_metrics, state,
};
pub use glance::{Glance, Took, glance, took};
pub use history::{DiagnosticsPoint, EvaluationPoint, History};
pub use lock::RunLock;
pub use output::{OutputFolder, check_output, is_output, run_claim, run_folder};
pub(crate) use output::{is_empty, runs_folder};
pub use plan::{PlanRecord, PlannedCell, RunPlan, Subject};
pub use provenance::{Platform, PluginFile, Provenance, Revisions};
pub use result::{Failure, Measured, RunResult, Status, TestResult};
pub use stored::StoredRuns;

/// Version of the files of a run's folder that this lorahost writes, and the newest that it reads.
pub const RECORD_VERSION: u32 = 1;
