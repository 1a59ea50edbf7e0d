//! `result.json`: how a run ended and what it measured.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{PluginCall, Provenance, RECORD_VERSION, figure};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    Completed,
    /// A loss became NaN or infinite, or the last validation loss lies above the untrained model's.
    Diverged,
    /// An error ended the run; it says nothing about the learning rate and is tried again by the next sweep.
    Failed,
}

/// What an executor measured in a run that came to its end, be it by divergence.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Measured {
    /// One an epoch: the mean of the losses of its batches, as in the original study.
    #[serde(deserialize_with = "figure::list")]
    pub train_losses: Vec<f64>,
    /// One an epoch: the loss on the whole validation split after it.
    #[serde(deserialize_with = "figure::list")]
    pub val_losses: Vec<f64>,
    /// Validation loss before the first step.
    pub untrained_val_loss: Option<f64>,
    /// Figures of the last epoch's model; absent without a test split, and after a loss that is not finite.
    pub test: Option<TestResult>,
    /// Name of the metric that stands for the task: `acc`, `ppl`.
    pub headline: Option<String>,
    /// Which way of that metric is up; absent in records made before it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub higher_is_better: Option<bool>,
    /// Steps that were made.
    pub steps: usize,
    pub trainable_parameters: u64,
    pub total_parameters: u64,
}

impl Measured {
    /// Smallest of the finite validation losses; NaN if there is none.
    #[must_use]
    pub fn best_val_loss(&self) -> f64 {
        self.val_losses
            .iter()
            .copied()
            .filter(|loss| loss.is_finite())
            .fold(f64::NAN, f64::min)
    }

    /// [`Status::Diverged`] or [`Status::Completed`].
    #[must_use]
    pub fn status(&self) -> Status {
        let losses = self.train_losses.iter().chain(&self.val_losses);
        let finite = losses
            .chain(self.test.iter().map(|test| &test.loss))
            .all(|l| l.is_finite());
        let above_untrained = match (self.val_losses.last(), self.untrained_val_loss) {
            (Some(last), Some(untrained)) => *last > untrained,
            _ => false,
        };
        if finite && !above_untrained {
            Status::Completed
        } else {
            Status::Diverged
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestResult {
    #[serde(deserialize_with = "figure::one")]
    pub loss: f64,
    #[serde(deserialize_with = "figure::by_name")]
    pub metrics: BTreeMap<String, f64>,
}

/// Why a run failed, and in which plugin call if it was one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    #[serde(flatten)]
    pub call: Option<Box<PluginCall>>,
    pub message: String,
    /// The cause may pass: a dead or silent process, memory, a disk. Other failures would be the same again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub transient: bool,
}

impl Failure {
    /// A failure outside any plugin.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            call: None,
            message: message.into(),
            transient: false,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.call {
            Some(call) => write!(f, "{call}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// The content of `result.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    pub version: u32,
    pub status: Status,
    /// See [`Measured::best_val_loss`].
    #[serde(deserialize_with = "figure::one")]
    pub best_val_loss: f64,
    #[serde(flatten)]
    pub measured: Measured,
    /// Present for [`Status::Failed`] alone.
    pub error: Option<Failure>,
    /// How often the run's process died or the run failed otherwise, and was tried again (`crashes.jsonl`).
    #[serde(default)]
    pub crashes: u32,
    /// How often the run went on from a checkpoint.
    #[serde(default)]
    pub resumes: u32,
    /// Wall-clock time in work, loading included; what was lost between the last checkpoint and a kill is not in it.
    pub seconds: f64,
    /// Largest resident memory of the worker during the run, where the system tells.
    pub peak_memory_bytes: Option<u64>,
    pub provenance: Provenance,
}

impl RunResult {
    /// The result of a run that came to its end or failed.
    #[must_use]
    pub fn new(
        outcome: Result<Measured, Failure>,
        seconds: f64,
        peak_memory_bytes: Option<u64>,
        provenance: Provenance,
    ) -> Self {
        let (status, measured, error) = match outcome {
            Ok(measured) => (measured.status(), measured, None),
            Err(failure) => (Status::Failed, Measured::default(), Some(failure)),
        };
        Self {
            version: RECORD_VERSION,
            status,
            best_val_loss: measured.best_val_loss(),
            measured,
            error,
            crashes: 0,
            resumes: 0,
            seconds,
            peak_memory_bytes,
            provenance,
        }
    }

    /// Name and test value of the metric that stands for the task.
    #[must_use]
    pub fn headline(&self) -> Option<(&str, f64)> {
        let name = self.measured.headline.as_deref()?;
        let value = self.measured.test.as_ref()?.metrics.get(name)?;
        Some((name, *value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(train: &[f64], val: &[f64]) -> Measured {
        Measured {
            train_losses: train.to_vec(),
            val_losses: val.to_vec(),
            untrained_val_loss: Some(1.4),
            ..Measured::default()
        }
    }

    #[test]
    fn a_run_diverges_by_nan_or_by_ending_above_the_untrained_loss() {
        assert_eq!(measured(&[1.0], &[0.5]).status(), Status::Completed);
        assert_eq!(
            measured(&[1.0, 2.0], &[1.5, 0.5]).status(),
            Status::Completed
        );
        assert_eq!(
            measured(&[1.0, 2.0], &[0.5, 1.5]).status(),
            Status::Diverged
        );
        assert_eq!(measured(&[f64::NAN], &[0.5]).status(), Status::Diverged);
        assert_eq!(
            measured(&[1.0], &[f64::INFINITY]).status(),
            Status::Diverged
        );
        assert_eq!(measured(&[], &[]).status(), Status::Completed);
    }

    #[test]
    fn the_best_validation_loss_is_the_smallest_finite_one() {
        let best = measured(&[], &[0.5, 0.4, f64::NAN]).best_val_loss();
        assert_eq!(Some(best), Some(0.4));
        assert!(measured(&[], &[f64::NAN]).best_val_loss().is_nan());
    }

    #[test]
    fn a_failure_stands_flat_in_the_file() {
        let call = PluginCall {
            plugin: "p.so".into(),
            component: "init wild".into(),
            phase: "init".into(),
            layer: None,
        };
        let failure = Failure {
            call: Some(Box::new(call)),
            message: "panicked".into(),
            transient: true,
        };
        let json = serde_json::to_value(&failure).unwrap();
        assert_eq!(json["plugin"], "p.so");
        assert_eq!(serde_json::from_value::<Failure>(json).unwrap(), failure);
        assert_eq!(failure.to_string(), "init of init wild in p.so: panicked");

        let plain = Failure::new("no memory");
        let json = serde_json::to_value(&plain).unwrap();
        assert_eq!(serde_json::from_value::<Failure>(json).unwrap(), plain);
    }
}
