//! Experiment file and flags to a validated plan of runs. Every default of the host is here and nowhere else.

mod cell;
mod error;
mod exclusion;
mod file;
mod grid;
mod identity;
mod kind;
mod layer;
mod plan;
mod run;
pub mod schema;
mod search;
mod select;
mod series;
mod settings;
mod steps;
#[cfg(test)]
pub(crate) mod test_support;
mod value;

pub(crate) use cell::{path_safe, rename as rename_cells, shown};
pub use error::SpecError;
pub use grid::Axis;
pub(crate) use identity::portable;
pub use identity::{NUMERICS, RunId};
pub use kind::Device;
pub use layer::Layer;
pub use plan::{Execution, MAX_RUNS, Plan, PlannedRun, RawSpec, data_kind};
pub use run::{
    DataSpec, HeadMode, LoraSpec, Method, ModelSpec, Precision, RunSpec, Save, Schedule, Seeds,
    Selection, TrainSpec, Weights,
};
pub use search::Search;
pub(crate) use select::default_of;
pub use select::{Catalogue, ComponentEntry, check_parameter};
pub use value::{Origin, Value};
