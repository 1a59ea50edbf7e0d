//! What does a run, as the worker sees it.

use std::{io, path::Path};

use serde_json::Value;

use super::RunJob;
use crate::record::{Checkpoint, Event, Failure, Measured, Platform, RecordError};

/// Does what a run says: the training loop.
pub trait Executor {
    /// Device and libtorch that `job` uses.
    fn platform(&self, job: &RunJob) -> Platform;

    /// Trains and evaluates one run, from its beginning or from a checkpoint of it, telling the desk of every step,
    /// evaluation and plugin call. It may leave further files (weights) in `job.folder`; the records there are not its
    /// business.
    ///
    /// # Errors
    /// The [`Failure`] that ended the run. A loss that is not finite is no failure: the executor stops and gives what
    /// it measured, that loss included.
    fn execute(
        &mut self,
        job: &RunJob,
        resumed: Option<&Checkpoint>,
        desk: &mut dyn Desk,
    ) -> Result<Outcome, Failure>;
}

/// How an executor came back without a failure.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// The run came to its end.
    Measured(Measured),
    /// The desk wished so; the rest is for another time.
    Stopped,
    /// The checkpoint does not fit what the run is now, and why; nothing was told yet.
    Unfit(String),
}

/// Where an executor tells what happens and hears what is wished.
pub trait Desk {
    fn tell(&mut self, event: Event);

    /// To be asked at each step boundary.
    fn wish(&self) -> Wish;

    /// Keeps where the run is: `progress` beside a safetensors file that `tensors` writes.
    ///
    /// # Errors
    /// [`RecordError::Io`]; an older checkpoint is then still there, and the run can go on.
    fn keep(
        &mut self,
        progress: Value,
        tensors: &mut dyn FnMut(&Path) -> io::Result<()>,
    ) -> Result<(), RecordError>;
}

/// What is wished at a step boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    GoOn,
    /// A checkpoint is due.
    Keep,
    /// A last checkpoint, and an end.
    Stop,
}

/// Who only listens: nothing is wished, and nothing kept.
impl<F: FnMut(Event)> Desk for F {
    fn tell(&mut self, event: Event) {
        self(event);
    }

    fn wish(&self) -> Wish {
        Wish::GoOn
    }

    fn keep(
        &mut self,
        _: Value,
        _: &mut dyn FnMut(&Path) -> io::Result<()>,
    ) -> Result<(), RecordError> {
        Ok(())
    }
}
