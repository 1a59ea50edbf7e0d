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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_is_what_was_evaluated() {
        let lines = [
            r#"{"event":"start","steps":2}"#,
            r#"{"event":"evaluation","split":"validation","step":0,"epoch":0,"loss":2.0,"metrics":{"acc":0.5}}"#,
            r#"{"event":"step","step":1,"epoch":1,"loss":null,"lr":0.1}"#,
            r#"{"event":"evaluation","split":"validation","step":1,"epoch":1,"loss":null,"metrics":{}}"#,
            r#"{"event":"evaluation","split":"validation","step":1,"epoch":1,"loss":0.5,"metrics":{}}"#,
            r#"{"event":"diagnostics","step":1,"epoch":1,"tokens":3,"multiply_adds":4,"total":{"change":0.1},"layers":[{"name":"a"}]}"#,
            r#"{"step":1,"event":"evaluation","split":"test","loss":0.1,"metrics":{}}"#,
            r#"{"event":"a newer one","step":"two"}"#,
            r#"{"event":"evaluation","spl"#,
        ];
        let history = History::parse(Path::new("run"), lines.join("\n").as_bytes()).unwrap();
        let expected = [(0, 2.0), (1, 0.5)].map(|(step, loss)| EvaluationPoint { step, loss });
        assert_eq!(history.evaluations, expected);
        let [logged] = history.diagnostics.as_slice() else {
            panic!("{history:?}");
        };
        assert_eq!(
            (logged.step, logged.tokens, logged.multiply_adds),
            (1, 3, 4)
        );
        assert_eq!(logged.total.change, Some(0.1));
    }

    #[test]
    fn what_is_no_event_is_an_error() {
        for line in ["{", r#"{"step":1}"#, r#"{"event":"diagnostics"}"#] {
            let error = History::parse(Path::new("run"), format!("{line}\n").as_bytes());
            assert!(error.is_err(), "{line}");
        }
        assert!(History::parse(Path::new("run"), b"\xff\n").is_err());
    }
}
