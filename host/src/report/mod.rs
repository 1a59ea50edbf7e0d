//! From records to results: the original study's `results.json`, a summary over all cells, tables and a plot as text.
//!
//! Nothing here asks a model or a plan: every number comes from records.

pub mod analysis;
mod curve;
mod files;
mod original;
pub mod page;
mod sparkline;
mod summary;
mod table;
pub mod tensorboard;

pub use curve::curve;
pub use files::ResultFiles;
pub use original::results_json;
pub use sparkline::sparklines;
pub use summary::{
    Best, Bound, CellSummary, Edge, PointSummary, Ratio, RunSummary, Summary, summarise,
};
pub use table::{best_table, results_table};

#[cfg(test)]
pub(crate) use summary::tests as test_support;
