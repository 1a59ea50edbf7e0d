//! From records to results: the original study's `results.json`, a summary over all cells, tables and a plot as text.
//!
//! Nothing here asks a model or a plan: every number comes from records.

pub mod analysis;
mod curve;
mod files;
mod original;
pub mod page;
mod summary;
mod table;

pub use curve::curve;
pub use files::ResultFiles;
pub use original::results_json;
pub use summary::{
    Best, Bound, CellSummary, Edge, PointSummary, Ratio, RunSummary, Summary, summarise,
};
pub use table::{best_table, results_table};
