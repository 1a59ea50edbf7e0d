//! `plan.json` of an output folder: what its sweep is about, written when the sweep begins.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::folder::parse;
use super::{RecordError, read_if_there, write_atomically};

const PLAN: &str = "plan.json";

/// The content of `plan.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanRecord {
    pub version: u32,
    /// Version of the program, and of its arithmetic.
    pub host: String,
    pub numerics: u32,
    /// The experiment file, as it was named.
    pub experiment: Option<PathBuf>,
    pub subject: Subject,
    /// sha256 of the plugin file of each component, such as `init gaussian`.
    pub plugins: BTreeMap<String, String>,
    /// Runs at a time.
    pub workers: usize,
    /// In the order of the plan.
    pub cells: Vec<PlannedCell>,
}

/// What a study is about: the models, data sets and task heads of its runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    pub models: BTreeSet<String>,
    pub data: BTreeSet<String>,
    pub heads: BTreeSet<String>,
}

/// Runs that differ in learning rate and seed alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedCell {
    pub cell: String,
    pub runs: Vec<RunPlan>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunPlan {
    /// The run's identity, and the name of its folder.
    pub id: String,
    pub steps: usize,
    /// Of the encoder's linear layers over the whole run, evaluations included.
    pub multiply_adds: u64,
}

impl PlanRecord {
    /// The plan of an output folder; none where no sweep has begun there.
    ///
    /// # Errors
    /// [`RecordError::Io`], [`RecordError::Json`], [`RecordError::Version`].
    pub fn read(output: &Path) -> Result<Option<Self>, RecordError> {
        let path = output.join(PLAN);
        let content = read_if_there(&path)?;
        content.map(|json| parse(&path, &json)).transpose()
    }

    /// Writes it into an output folder, in place of an earlier one.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn write(&self, output: &Path) -> Result<(), RecordError> {
        let path = output.join(PLAN);
        let mut json = serde_json::to_vec(self).map_err(RecordError::json(&path))?;
        json.push(b'\n');
        write_atomically(&path, &json)
    }

    /// All runs, cell by cell.
    pub fn runs(&self) -> impl Iterator<Item = &RunPlan> {
        self.cells.iter().flat_map(|cell| &cell.runs)
    }
}
