//! How far a sweep is: its plan against the folders of its runs.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::record::{
    Event, Glance, PlanRecord, PlannedCell, RecordError, RunPlan, Status, glance, read_metrics,
    run_folder, runs_folder, took,
};

/// A run whose metrics were last written longer ago is not running any more.
const SILENCE: Duration = Duration::from_mins(2);

/// Finished runs that the pace is measured on, at most: the records of thousands would take seconds to read.
const SAMPLE: usize = 256;

/// How far the sweep of an output folder is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Standing {
    pub total: Counts,
    /// In the order of the plan.
    pub cells: Vec<CellStanding>,
    /// Runs of the folder that its plan does not have: those of earlier plans.
    pub others: usize,
    /// Steps and multiply-adds of the runs that are not done.
    pub steps_left: u64,
    pub multiply_adds_left: u64,
    pub pace: Option<Pace>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CellStanding {
    pub cell: String,
    #[serde(flatten)]
    pub counts: Counts,
}

/// Runs by their state; all but `planned` add up to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub planned: usize,
    pub completed: usize,
    pub diverged: usize,
    /// They are tried again by the next sweep.
    pub failed: usize,
    /// Their metrics were written to a short time ago.
    pub running: usize,
    /// Begun and left.
    pub interrupted: usize,
    pub not_begun: usize,
}

/// How fast runs of this plan were made, one worker's share.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Pace {
    pub multiply_adds_per_second: f64,
    /// Finished runs that it is measured on.
    pub runs: usize,
}

impl Standing {
    /// Looks at the folder of every run of the plan.
    ///
    /// # Errors
    /// [`RecordError`]; an output folder without runs is no error.
    pub fn of(plan: &PlanRecord, output: &Path) -> Result<Self, RecordError> {
        let look = Look {
            output: output.to_owned(),
            there: run_folders(output)?,
            now: SystemTime::now(),
        };
        let mut standing = Self {
            total: Counts::default(),
            cells: Vec::with_capacity(plan.cells.len()),
            others: 0,
            steps_left: 0,
            multiply_adds_left: 0,
            pace: None,
        };
        let mut finished: Vec<&RunPlan> = Vec::new();
        for cell in &plan.cells {
            let counts = standing.add_cell(cell, &look, &mut finished)?;
            standing.total.add(counts);
            standing.cells.push(CellStanding {
                cell: cell.cell.clone(),
                counts,
            });
        }
        let known: HashSet<&str> = plan.runs().map(|run| run.id.as_str()).collect();
        let others = look.there.iter().filter(|id| !known.contains(id.as_str()));
        standing.others = others.count();
        standing.pace = look.pace(&finished);
        Ok(standing)
    }

    /// Counts the runs of a cell, and adds up what they leave to do.
    fn add_cell<'a>(
        &mut self,
        cell: &'a PlannedCell,
        look: &Look,
        finished: &mut Vec<&'a RunPlan>,
    ) -> Result<Counts, RecordError> {
        let mut counts = Counts::default();
        for run in &cell.runs {
            counts.planned += 1;
            let mut left = 1.0;
            match look.at(run)? {
                Glance::Done(status) => {
                    match status {
                        Status::Completed => counts.completed += 1,
                        Status::Diverged => counts.diverged += 1,
                        Status::Failed => counts.failed += 1,
                    }
                    if status != Status::Failed {
                        finished.push(run);
                        left = 0.0;
                    }
                }
                Glance::Begun { written } if look.is_fresh(written) => {
                    counts.running += 1;
                    left -= look.share_done(run);
                }
                Glance::Begun { .. } => counts.interrupted += 1,
                Glance::Absent => counts.not_begun += 1,
            }
            self.steps_left += (run.steps as f64 * left) as u64;
            self.multiply_adds_left += (run.multiply_adds as f64 * left) as u64;
        }
        Ok(counts)
    }

    /// Seconds that the rest takes on so many workers, at the pace of the runs that are done.
    #[must_use]
    pub fn seconds_left(&self, workers: usize) -> Option<f64> {
        let to_do = self.total.to_do();
        if to_do == 0 {
            return Some(0.0);
        }
        let pace = self.pace?.multiply_adds_per_second;
        Some(self.multiply_adds_left as f64 / pace / workers.clamp(1, to_do) as f64)
    }
}

impl Counts {
    /// Runs that need not be made.
    #[must_use]
    pub fn done(&self) -> usize {
        self.completed + self.diverged
    }

    #[must_use]
    pub fn to_do(&self) -> usize {
        self.planned - self.done()
    }

    fn add(&mut self, other: Self) {
        self.planned += other.planned;
        self.completed += other.completed;
        self.diverged += other.diverged;
        self.failed += other.failed;
        self.running += other.running;
        self.interrupted += other.interrupted;
        self.not_begun += other.not_begun;
    }
}

/// The folders of an output folder's runs, by their names.
///
/// # Errors
/// [`RecordError::Io`].
fn run_folders(output: &Path) -> Result<HashSet<String>, RecordError> {
    let runs = runs_folder(output);
    let entries = match fs::read_dir(&runs) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(HashSet::new()),
        entries => entries.map_err(RecordError::io("read the folder", &runs))?,
    };
    entries
        .map(|entry| {
            let entry = entry.map_err(RecordError::io("read the folder", &runs))?;
            Ok(entry.file_name().to_string_lossy().into_owned())
        })
        .collect()
}

/// The runs' folders at one moment.
struct Look {
    output: PathBuf,
    there: HashSet<String>,
    now: SystemTime,
}

impl Look {
    fn at(&self, run: &RunPlan) -> Result<Glance, RecordError> {
        if self.there.contains(&run.id) {
            glance(&run_folder(&self.output, &run.id))
        } else {
            Ok(Glance::Absent)
        }
    }

    fn is_fresh(&self, written: Option<SystemTime>) -> bool {
        // A time to come, by a clock that was put back, is fresh.
        written.is_some_and(|written| {
            let age = self.now.duration_since(written);
            age.unwrap_or_default() < SILENCE
        })
    }

    /// How much of its steps a run has made.
    fn share_done(&self, run: &RunPlan) -> f64 {
        let events = read_metrics(&run_folder(&self.output, &run.id)).unwrap_or_default();
        let last = events.iter().rev().find_map(|event| match event {
            Event::Step { step, .. } => Some(*step),
            _ => None,
        });
        (last.unwrap_or(0) as f64 / run.steps.max(1) as f64).min(1.0)
    }

    /// The pace of some of the runs that are done, from all parts of the plan.
    fn pace(&self, finished: &[&RunPlan]) -> Option<Pace> {
        let stride = finished.len().div_ceil(SAMPLE).max(1);
        let timed = finished.iter().step_by(stride).filter_map(|run| {
            let took =
                took(&run_folder(&self.output, &run.id)).filter(|took| took.seconds > 0.0)?;
            // A run that diverged may have ended before its last step.
            let share = took.steps as f64 / run.steps.max(1) as f64;
            Some((run.multiply_adds as f64 * share, took.seconds))
        });
        let (mut operations, mut time, mut runs) = (0.0, 0.0, 0);
        for (of_run, seconds) in timed {
            operations += of_run;
            time += seconds;
            runs += 1;
        }
        (runs > 0 && operations > 0.0).then(|| Pace {
            multiply_adds_per_second: operations / time,
            runs,
        })
    }
}
