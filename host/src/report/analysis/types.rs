//! What an analysis says. All of it is data: whoever shows it computes nothing.
//!
//! Learning rates are plain numbers here; all fitting is done in their decimal logarithm. Figures that do not exist are
//! `null`, never NaN.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::summary::{Bound, Edge};
use crate::record::{Norms, Status};
use crate::spec::Method;

/// All cells of a folder of runs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Analysis {
    pub version: u32,
    /// How often an interval holds the true value: 0.9.
    pub level: f64,
    /// Over all cells.
    pub counts: Counts,
    /// In the order in which they first occur in the records.
    pub cells: Vec<CellAnalysis>,
}

/// How runs ended. Only completed ones have a part in any figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    pub completed: usize,
    pub diverged: usize,
    pub failed: usize,
    /// Begun or planned, and not done.
    pub unfinished: usize,
    /// Planned, and nothing of them is there: what they are is not known, so that no cell counts them.
    #[serde(default)]
    pub not_begun: usize,
}

/// Runs that differ in learning rate and seed alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellAnalysis {
    /// The name of the cell: `lora-r16`, `full`.
    pub cell: String,
    pub method: Method,
    pub rank: Option<usize>,
    /// Everything else that a run of the cell is, by dotted key, as text: `train.batch_size`, `lora.targets`, `init`,
    /// `init.std_a`. Without learning rate, seeds and hashes.
    pub settings: BTreeMap<String, String>,
    /// By name, in ascending order of numbers.
    pub seeds: Vec<String>,
    /// Name of the task's metric: `acc`, `ppl`.
    pub headline: Option<String>,
    pub counts: Counts,
    /// By ascending learning rate.
    pub points: Vec<Point>,
    pub optimum: Optimum,
    /// The optimum over that of full fine-tuning: for LoRA, where there is one cell of full fine-tuning that agrees in
    /// all else.
    pub ratio_to_full: Option<RatioAnalysis>,
    /// The cell at its best learning rate against that cell at its own.
    pub regret: Option<Regret>,
    pub curves: Curves,
    /// Norms of the last evaluation at the best learning rate tried, means over seeds.
    pub norms: Option<Norms>,
}

/// One learning rate of a cell, over seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    pub lr: f64,
    /// Mean of the best validation losses over those seeds that completed at most learning rates of the cell. Absent where
    /// a run diverged, or one of these seeds has not completed.
    pub val_loss: Option<f64>,
    /// Of that mean, by Student's t of these seeds. Absent with one seed.
    pub interval: Option<Interval>,
    /// Mean over these seeds of the task's metric on the test split.
    pub metric: Option<f64>,
    pub counts: Counts,
    /// All of them, by seed.
    pub runs: Vec<RunPoint>,
    /// Means over these seeds at their last evaluation.
    pub norms: Option<Norms>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunPoint {
    /// Name of the run's folder.
    pub id: String,
    pub seed: String,
    /// Absent while it is unfinished.
    pub status: Option<Status>,
    /// The smallest over its evaluations.
    pub val_loss: Option<f64>,
    pub test_loss: Option<f64>,
    pub metric: Option<f64>,
    pub seconds: Option<f64>,
    /// Why it failed.
    pub error: Option<String>,
}

/// A range that holds the true value with probability [`Analysis::level`]. An end that is absent is unbounded.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Interval {
    pub low: Option<f64>,
    pub high: Option<f64>,
}

/// The learning rate with the lowest validation loss.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Optimum {
    pub source: Source,
    /// As [`Optimum::source`] says; absent where that is `none`.
    pub lr: Option<f64>,
    /// The best of the learning rates that were tried.
    pub best_tried: Option<f64>,
    /// Mean validation loss at the best learning rate tried.
    pub val_loss: Option<f64>,
    /// Set where `best_tried` is the smallest or largest that was tried: it is a bound then, and there is no fit.
    pub edge: Option<Edge>,
    pub interval: Option<Interval>,
    /// Why there is no interval.
    pub no_interval: Option<NoInterval>,
    /// The fit behind it.
    pub fit: Option<Fit>,
}

/// Where an optimum comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// There is none: no learning rate, or a single one, at which all runs completed.
    #[default]
    None,
    /// The best one that was tried.
    Tried,
    /// The minimum of a parabola in log lr.
    Fit,
}

/// Why an optimum has no interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoInterval {
    /// No learning rate has completed runs alone.
    NoResult,
    /// No optimum either.
    OneLearningRate,
    /// The best one tried is the smallest or largest.
    Edge,
    /// Noise cannot be told from the curve.
    OneSeed,
    /// The neighbours of the best one did not complete, or are too few for a parabola.
    TooFewPoints,
}

/// A parabola through the points near the minimum: loss = c0 + c1 u + c2 u^2, u = log10(lr / centre).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    pub centre: f64,
    pub coefficients: [f64; 3],
    /// The learning rates that it goes through.
    pub lrs: Vec<f64>,
    /// Where a cubic through the same points and one more (if there is one) has its minimum.
    pub cubic_lr: Option<f64>,
    /// Standard deviation of one run's loss, seed effects removed, and its degrees of freedom.
    pub noise: Option<f64>,
    pub degrees: usize,
}

/// A cell's optimum over that of full fine-tuning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RatioAnalysis {
    /// The cell of full fine-tuning.
    pub full: String,
    /// Of the two optima; a bound where [`RatioAnalysis::bound`] says so, and absent where it says nothing.
    pub value: Option<f64>,
    /// Only where both optima have one.
    pub interval: Option<Interval>,
    pub bound: Bound,
    /// Whether the interval leaves out 1. Absent without an interval.
    pub verdict: Option<Verdict>,
}

/// What LoRA loses, or wins, against full fine-tuning, each at its best learning rate tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Regret {
    /// The cell of full fine-tuning.
    pub full: String,
    /// Test loss, or validation loss where there is no test split.
    pub loss: Option<Difference>,
    /// The task's metric on the test split; whether more of it is better the task says.
    pub metric: Option<Difference>,
    /// Whether one of the two learning rates lies on an edge: a better one may not have been tried.
    pub edge: bool,
}

/// Cell less full fine-tuning, paired by seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// `test loss`, `validation loss`, `acc`.
    pub of: String,
    /// Means over the seeds that both have.
    pub cell: f64,
    pub full: f64,
    pub value: f64,
    pub interval: Option<Interval>,
    /// Student's t of the pairs, and how likely one as large is where there is no difference (two-sided).
    pub t: Option<f64>,
    pub p: Option<f64>,
    /// Seeds that both have.
    pub seeds: usize,
    pub verdict: Verdict,
}

/// A value against what it is compared with, and the interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Larger,
    Smaller,
    /// Noise exceeds the gap, or there is one seed and nobody knows.
    Unresolved,
}

/// Validation loss while training goes on, means over seeds of completed runs. Empty where the runs' metrics were not
/// read.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Curves {
    /// At the best learning rate tried.
    pub best: Vec<CurvePoint>,
    /// The lowest over all learning rates, step by step.
    pub lowest: Vec<CurvePoint>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Optimizer steps that were made.
    pub step: usize,
    /// Tokens that were trained on, and multiply-adds of the linear layers for them; means over seeds.
    pub tokens: Option<f64>,
    pub multiply_adds: Option<f64>,
    pub val_loss: f64,
    /// The learning rate that has it.
    pub lr: f64,
}
