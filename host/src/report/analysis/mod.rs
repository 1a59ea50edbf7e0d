//! What the records of a sweep say: the optimum learning rate of each cell and how sure it is, LoRA's ratio to full
//! fine-tuning, and what LoRA loses.

mod types;

pub use types::{
    Analysis, CellAnalysis, Counts, CurvePoint, Curves, Difference, Fit, Interval, NoInterval,
    Optimum, Point, RatioAnalysis, Regret, RunPoint, Source, Verdict,
};
