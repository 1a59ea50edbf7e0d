//! What parent and worker say to each other.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{
    record::{Event, RECORD_VERSION, Revisions, SpecRecord},
    spec::{Device, RunSpec},
};

/// All that a worker needs for one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunJob {
    /// The run's identity: 16 hexadecimal digits.
    pub id: String,
    /// Where the run leaves its files.
    pub folder: PathBuf,
    /// Where processes that share the runs claim this one; a number is added.
    pub claim: PathBuf,
    /// What varies beside learning rate and seed, as a file name: `lora-r16`, `full`.
    pub cell: String,
    pub spec: RunSpec,
    pub revisions: Revisions,
    /// The tokenised data, shared by the runs of a sweep.
    pub tokens: PathBuf,
    /// The folder of what plugins keep for runs on the same model, data, head, batch size and seeds; it need not exist.
    pub cache: PathBuf,
    /// Where `spec.model` lies on this machine.
    pub model: String,
    pub device: Device,
    pub threads: usize,
}

impl RunJob {
    /// The content of the run's `spec.json`.
    #[must_use]
    pub fn record(&self) -> SpecRecord {
        SpecRecord {
            version: RECORD_VERSION,
            id: self.id.clone(),
            cell: self.cell.clone(),
            spec: self.spec.clone(),
        }
    }
}

/// A run for a worker, and how it is to be looked after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    pub job: RunJob,
    /// Seconds between checkpoints; none are made without.
    pub checkpoint_every: Option<f64>,
}

/// A line of a worker's standard input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "message", content = "content", rename_all = "kebab-case")]
pub enum ToWorker {
    Run(Box<Order>),
    /// The run in work is to be kept at the next step boundary, and left.
    Stop,
}

/// A line of a worker's standard output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "message", content = "content", rename_all = "kebab-case")]
pub enum FromWorker {
    /// The worker is up and waits for a run.
    Ready,
    /// Something happened in the run. Steps are thinned out; everything else is complete.
    Event(Event),
    /// The run's folder is complete.
    Finished {
        /// The worker ends now, because the run left it in doubt.
        retires: bool,
    },
    /// The run was left at a step boundary, with a checkpoint if one could be written; the worker ends now.
    Stopped,
}
