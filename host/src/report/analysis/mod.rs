//! What the records of a sweep say: the optimum learning rate of each cell and how sure it is, LoRA's ratio to full
//! fine-tuning, and what LoRA loses.
//!
//! Cells are fitted by validation loss. How well the intervals hold is measured on curves with known optima in
//! `coverage.rs`: see there for what they were, and where the intervals are too short.

mod analyse;
mod compare;
#[cfg(test)]
mod coverage;
mod curves;
mod fit;
mod losses;
mod optimum;
mod polynomial;
mod student;
mod types;

pub use analyse::{Sources, analyse};
pub use types::{
    Analysis, CellAnalysis, Counts, CurvePoint, Curves, Difference, Fit, Interval, NoInterval,
    Optimum, Point, RatioAnalysis, Regret, RunPoint, Source, Verdict,
};
