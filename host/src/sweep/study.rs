//! The study that an output folder holds: its plan, and whether another plan belongs to it.
//!
//! The runs of one folder stand side by side in one report, so they must be about the same thing. A plan belongs to the
//! study of a folder if it repeats one of its runs, or has a model, a data set and a task head in common with it; axes
//! may grow, shrink and move. A component of both plans must be the same plugin file.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::cost::Counter;
use super::{PrepareError, RunJob};
use crate::record::{PlanRecord, PlannedCell, RECORD_VERSION, Subject};
use crate::spec::NUMERICS;

/// Why a plan may not be carried out in a folder.
#[derive(Debug, Error)]
pub enum StudyError {
    #[error(
        "the output folder {} holds another study: its {what} {}, this plan's {}; name another folder with --output, or \
         add --yes to have both in it",
        path.display(), verb_and(earlier), verb_and(planned)
    )]
    Other {
        path: PathBuf,
        what: &'static str,
        earlier: BTreeSet<String>,
        planned: BTreeSet<String>,
    },

    #[error(
        "{component} has changed since the output folder {} was begun (sha256 {earlier:.12}, now {now:.12}): runs of both \
         would stand side by side; name another folder with --output, or add --accept-changed-plugins",
        path.display()
    )]
    ChangedPlugin {
        path: PathBuf,
        component: String,
        earlier: String,
        now: String,
    },
}

/// What the user has agreed to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Consent {
    /// Two studies in one folder.
    pub other_study: bool,
    pub changed_plugins: bool,
}

/// The record of a plan, whose steps and operations are counted from the tokenised data.
///
/// # Errors
/// When a model or a token file cannot be opened.
pub fn plan_record(
    jobs: &[RunJob],
    experiment: Option<&Path>,
    workers: usize,
) -> Result<PlanRecord, PrepareError> {
    let mut counter = Counter::default();
    let mut cells: Vec<PlannedCell> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut subject = Subject::default();
    let mut plugins = BTreeMap::new();
    for job in jobs {
        let place = *places.entry(&job.cell).or_insert(cells.len());
        if place == cells.len() {
            cells.push(PlannedCell {
                cell: job.cell.clone(),
                runs: Vec::new(),
            });
        }
        cells[place].runs.push(counter.run(job)?);
        subject.models.insert(name_of_model(job));
        subject.data.insert(name_of_data(job));
        subject.heads.insert(job.spec.head.name.clone());
        for (kind, selection) in job.spec.selections() {
            plugins.insert(
                format!("{kind} {}", selection.name),
                selection.sha256.clone(),
            );
        }
    }
    Ok(PlanRecord {
        version: RECORD_VERSION,
        host: env!("CARGO_PKG_VERSION").to_owned(),
        numerics: NUMERICS,
        experiment: experiment.map(Path::to_owned),
        subject,
        plugins,
        workers,
        cells,
    })
}

/// Whether `plan` may be carried out in the folder that was begun with `earlier`.
///
/// # Errors
/// [`StudyError`].
pub fn check_study(
    output: &Path,
    earlier: &PlanRecord,
    plan: &PlanRecord,
    consent: Consent,
) -> Result<(), StudyError> {
    if earlier.numerics != plan.numerics {
        tracing::warn!(
            "the output folder was begun by lorahost {}, whose numbers may differ from this one's ({}): its runs are made \
             anew",
            earlier.host,
            plan.host
        );
    }
    if !consent.changed_plugins {
        for (component, now) in &plan.plugins {
            if let Some(before) = earlier.plugins.get(component)
                && before != now
            {
                return Err(StudyError::ChangedPlugin {
                    path: output.to_owned(),
                    component: component.clone(),
                    earlier: before.clone(),
                    now: now.clone(),
                });
            }
        }
    }
    if consent.other_study || repeats(earlier, plan) {
        return Ok(());
    }
    let (one, other) = (&earlier.subject, &plan.subject);
    for (what, earlier, planned) in [
        ("model", &one.models, &other.models),
        ("data set", &one.data, &other.data),
        ("task head", &one.heads, &other.heads),
    ] {
        if earlier.is_disjoint(planned) {
            return Err(StudyError::Other {
                path: output.to_owned(),
                what,
                earlier: earlier.clone(),
                planned: planned.clone(),
            });
        }
    }
    Ok(())
}

fn repeats(earlier: &PlanRecord, plan: &PlanRecord) -> bool {
    let known: BTreeSet<&str> = earlier.runs().map(|run| run.id.as_str()).collect();
    plan.runs().any(|run| known.contains(run.id.as_str()))
}

/// `is a`, `are a, b`.
fn verb_and(names: &BTreeSet<String>) -> String {
    let verb = if names.len() == 1 { "is" } else { "are" };
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    format!("{verb} {}", names.join(", "))
}

/// A folder by its place, an id on the hub and a built-in model by their names.
fn name_of_model(job: &RunJob) -> String {
    match job.revisions.model {
        Some(_) => job.spec.model.path.clone(),
        None => job.model.clone(),
    }
}

fn name_of_data(job: &RunJob) -> String {
    let data = &job.spec.data;
    let named = data
        .train_file
        .as_deref()
        .or(data.path.as_deref().map(Path::new));
    let named = named.unwrap_or(Path::new(""));
    let place = named.canonicalize();
    place.as_deref().unwrap_or(named).display().to_string()
}
