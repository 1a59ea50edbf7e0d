//! What a run's `metrics.jsonl` says of the validation split and of norms, without the steps: they are most of the file, and
//! whoever looks at thousands of runs has no use for them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::{fs, io, str};

use serde::Deserialize;

use super::folder::METRICS;
use super::{Norms, RecordError, RunRecord, Split, Status, figure};

/// The evaluations of a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct History {
    /// Of the validation split, by step.
    pub evaluations: Vec<EvaluationPoint>,
    pub diagnostics: Vec<DiagnosticsPoint>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EvaluationPoint {
    /// Steps that were made before it.
    pub step: usize,
    pub loss: f64,
}

/// [`Diagnostics`](super::Diagnostics) without those of each layer.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct DiagnosticsPoint {
    pub step: usize,
    pub tokens: u64,
    pub multiply_adds: u64,
    pub total: Norms,
}

/// How a line begins, as [`super::RunWriter::append`] writes it.
const START: &str = "{\"event\":\"";

/// What is taken of [`Event::Evaluation`](super::Event::Evaluation).
#[derive(Deserialize)]
struct Evaluation {
    split: Split,
    step: usize,
    #[serde(deserialize_with = "figure::one")]
    loss: f64,
}

impl History {
    /// Reads the history of the run in `folder`; a last line without its end, as a killed process leaves it, is left out.
    ///
    /// # Errors
    /// [`RecordError::Io`], [`RecordError::Json`].
    pub fn read(folder: &Path) -> Result<Self, RecordError> {
        let path = folder.join(METRICS);
        let metrics = fs::read(&path).map_err(RecordError::io("read", &path))?;
        Self::parse(folder, &metrics)
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

    /// The history that the `metrics.jsonl` of the run in `folder` tells.
    pub(super) fn parse(folder: &Path, metrics: &[u8]) -> Result<Self, RecordError> {
        let path = || folder.join(METRICS);
        let text = str::from_utf8(metrics)
            .map_err(io::Error::other)
            .map_err(RecordError::io("read", path()))?;
        let mut history = Self::default();
        let whole = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        for line in whole {
            history.take(line).map_err(RecordError::json(path()))?;
        }
        Ok(history)
    }

    fn take(&mut self, line: &str) -> Result<(), serde_json::Error> {
        match event(line)? {
            "evaluation" => {
                let Evaluation { split, step, loss } = serde_json::from_str(line)?;
                if split != Split::Validation {
                    return Ok(());
                }
                // An evaluation that is due at the end of an epoch stands there twice.
                self.evaluations.pop_if(|last| last.step == step);
                self.evaluations.push(EvaluationPoint { step, loss });
            }
            "diagnostics" => self.diagnostics.push(serde_json::from_str(line)?),
            _ => {}
        }
        Ok(())
    }
}

/// The event that a line is about.
fn event(line: &str) -> Result<&str, serde_json::Error> {
    #[derive(Deserialize)]
    struct Tag<'a> {
        event: &'a str,
    }
    match line
        .strip_prefix(START)
        .and_then(|rest| rest.split_once('"'))
    {
        Some((event, _)) => Ok(event),
        None => serde_json::from_str(line).map(|Tag { event }| event),
    }
}
