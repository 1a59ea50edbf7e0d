//! What a run's `metrics.jsonl` says of the validation split and of norms, without the steps: they are most of the file, and
//! whoever looks at thousands of runs has no use for them.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::folder::METRICS;
use super::{Diagnostics, Event, RecordError, RunRecord, Split, Status};

/// The evaluations of a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct History {
    /// Of the validation split, by step.
    pub evaluations: Vec<EvaluationPoint>,
    pub diagnostics: Vec<Diagnostics>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EvaluationPoint {
    /// Steps that were made before it.
    pub step: usize,
    pub loss: f64,
}

/// How the lines of steps begin, as [`super::RunWriter::append`] writes them.
const STEP: &str = "{\"event\":\"step\"";

impl History {
    /// Reads the history of the run in `folder`; a last line without its end, as a killed process leaves it, is left out.
    ///
    /// # Errors
    /// [`RecordError::Io`], [`RecordError::Json`].
    pub fn read(folder: &Path) -> Result<Self, RecordError> {
        let path = folder.join(METRICS);
        let mut reader = BufReader::new(File::open(&path).map_err(RecordError::io("read", &path))?);
        let mut history = Self::default();
        let mut line = String::new();
        loop {
            line.clear();
            let read = reader.read_line(&mut line);
            read.map_err(RecordError::io("read", &path))?;
            if !line.ends_with('\n') {
                return Ok(history);
            }
            if !line.starts_with(STEP) {
                let event = serde_json::from_str(&line).map_err(RecordError::json(&path))?;
                history.take(event);
            }
        }
    }

    /// The histories of completed runs, by id; `folder` tells where a run lies.
    ///
    /// # Errors
    /// As [`History::read`].
    pub fn read_all(
        records: &[RunRecord],
        folder: impl Fn(&str) -> PathBuf,
    ) -> Result<HashMap<String, Self>, RecordError> {
        let completed = records
            .iter()
            .filter(|record| record.result.status == Status::Completed);
        let ids = completed.map(|record| &record.spec.id);
        ids.map(|id| Ok((id.clone(), Self::read(&folder(id))?)))
            .collect()
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Evaluation {
                split: Split::Validation,
                step,
                loss,
                ..
            } => {
                // An evaluation that is due at the end of an epoch stands there twice.
                if self
                    .evaluations
                    .last()
                    .is_some_and(|last| last.step == step)
                {
                    self.evaluations.pop();
                }
                self.evaluations.push(EvaluationPoint { step, loss });
            }
            Event::Diagnostics(diagnostics) => self.diagnostics.push(diagnostics),
            _ => {}
        }
    }
}
