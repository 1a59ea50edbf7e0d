//! What a worker executes: a job in, what it measured out.

use std::io;
use std::path::Path;

use serde_json::Value;

use super::checkpoint;
use super::run::run;
use super::setup::setup;
use super::{TrainError, resolve_device};
use crate::plugins::{PluginError, live_handles};
use crate::record::{Checkpoint, Event, Failure, Platform, PluginCall, RecordError};
use crate::spec::{Save, Selection};
use crate::sweep::{Desk, Executor, Outcome, RunJob, Wish};

/// File of the adapter in a run's folder.
pub const ADAPTER_FILE: &str = "adapter.safetensors";
/// Folder of the whole model in a run's folder.
pub const MODEL_FOLDER: &str = "model";

/// Trains the runs of a worker, one after the other.
#[derive(Debug, Default)]
pub struct Trainer {
    _private: (),
}

impl Executor for Trainer {
    fn platform(&self, job: &RunJob) -> Platform {
        Platform {
            device: job.device.to_string(),
            libtorch: Some(LIBTORCH.to_owned()),
        }
    }

    fn execute(
        &mut self,
        job: &RunJob,
        resumed: Option<&Checkpoint>,
        desk: &mut dyn Desk,
    ) -> Result<Outcome, Failure> {
        let before = live_handles();
        let outcome = train(job, resumed, &mut Watch::new(desk));
        // Everything of the run is gone, and with it what its plugins kept.
        let left = live_handles().saturating_sub(before);
        if left > 0 {
            tracing::warn!("{left} tensor handles of run {} were not dropped", job.id);
        }
        outcome.map_err(failure)
    }
}

/// The version of libtorch that the bindings are made for; another one does not link.
const LIBTORCH: &str = "2.11.0";

fn train(
    job: &RunJob,
    resumed: Option<&Checkpoint>,
    watch: &mut Watch<'_>,
) -> Result<Outcome, TrainError> {
    tch::set_num_threads(i32::try_from(job.threads).unwrap_or(1));
    let device = resolve_device(job.device)?;
    let setup = setup(job, device, watch)?;
    let progress = match resumed.map(|found| checkpoint::load(found, &job.spec, &setup, watch)) {
        Some(Err(why)) => return Ok(Outcome::Unfit(why)),
        Some(Ok(progress)) => Some(progress),
        None => None,
    };
    let Some(measured) = run(&job.spec, &setup, progress, watch)? else {
        return Ok(Outcome::Stopped);
    };
    match job.spec.train.save {
        Save::None => {}
        Save::Adapter => setup
            .model
            .save_adapter(&job.folder.join(ADAPTER_FILE), &setup.tokens.label_names)?,
        Save::Full => setup
            .model
            .save_full(&job.folder.join(MODEL_FOLDER), &setup.tokens.label_names)?,
    }
    Ok(Outcome::Measured(measured))
}

/// A call of a plugin that failed, taken apart for the record; other errors as they read.
fn failure(error: TrainError) -> Failure {
    let transient = error.may_pass();
    let TrainError::Plugin(PluginError::Call {
        path,
        component,
        phase,
        place,
        message,
    }) = error
    else {
        return Failure {
            transient,
            ..Failure::new(error.to_string())
        };
    };
    let layer = place.strip_prefix("layer ").map(str::to_owned);
    let message = if layer.is_some() || place.is_empty() {
        message
    } else {
        format!("at {place}: {message}")
    };
    let call = PluginCall {
        plugin: path.display().to_string(),
        component: component.replacen('/', " ", 1),
        phase,
        layer,
    };
    Failure {
        call: Some(Box::new(call)),
        message,
        transient,
    }
}

/// Tells the desk what happens, plugin calls before they are made.
pub struct Watch<'a> {
    desk: &'a mut dyn Desk,
}

impl<'a> Watch<'a> {
    pub fn new(desk: &'a mut dyn Desk) -> Self {
        Self { desk }
    }

    pub fn tell(&mut self, event: Event) {
        self.desk.tell(event);
    }

    /// See [`Desk::wish`].
    pub fn wish(&self) -> Wish {
        self.desk.wish()
    }

    /// See [`Desk::keep`].
    pub fn keep(
        &mut self,
        progress: Value,
        tensors: &mut dyn FnMut(&Path) -> io::Result<()>,
    ) -> Result<(), RecordError> {
        self.desk.keep(progress, tensors)
    }

    /// Announces a call of a plugin, to be made by [`Announced::of`].
    pub fn call(
        &mut self,
        kind: &str,
        selection: &Selection,
        phase: &str,
        layer: Option<&str>,
    ) -> Announced<'_> {
        let call = PluginCall {
            plugin: selection.file.display().to_string(),
            component: format!("{kind} {}", selection.name),
            phase: phase.to_owned(),
            layer: layer.map(str::to_owned),
        };
        self.desk.tell(Event::Calling(call));
        Announced {
            desk: &mut *self.desk,
        }
    }
}

/// A call that the parent knows of.
pub struct Announced<'a> {
    desk: &'a mut dyn Desk,
}

impl Announced<'_> {
    /// Makes the call and tells that the plugin came back.
    pub fn of<T>(self, body: impl FnOnce() -> Result<T, PluginError>) -> Result<T, PluginError> {
        let result = body();
        self.desk.tell(Event::Returned);
        result
    }
}
