//! All runs of an output folder, for whoever looks at it while nobody or another process works in it.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::folder::{read_spec, state_and_metrics};
use super::output::{check_output, runs_folder};
use super::{
    History, PlanRecord, Provenance, RecordError, RunRecord, RunState, SpecRecord, Status,
};
use crate::spec::rename_cells;

/// The runs of an output folder, as they were when it was last looked at.
#[derive(Debug)]
pub struct StoredRuns {
    output: PathBuf,
    /// Runs that are done, LoRA before full fine-tuning, by rank, cell, learning rate and seed. Their cells have one name
    /// each, whatever the plans that they were made for called them.
    pub records: Vec<RunRecord>,
    /// What completed runs logged, by id.
    pub histories: HashMap<String, History>,
    /// Runs that were begun and are not done, in the same order.
    pub unfinished: Vec<SpecRecord>,
    /// Folders that do not say which run they are, and why.
    pub unreadable: Vec<(PathBuf, String)>,
    /// Runs of the plan that was begun last and have no folder.
    pub not_begun: usize,
}

/// What one folder holds.
enum Found {
    Done(Box<RunRecord>, Option<History>),
    Unfinished(Box<SpecRecord>),
    Unreadable(String),
    Nothing,
}

impl StoredRuns {
    /// Reads an output folder. It is not held, and nothing in it is changed.
    ///
    /// # Errors
    /// [`RecordError::NoOutput`] if it is no output folder; [`RecordError::Version`] if it, or a run in it, was made by a
    /// newer lorahost; [`RecordError::Io`].
    pub fn read(output: &Path) -> Result<Self, RecordError> {
        check_output(output)?;
        let mut runs = Self {
            output: output.to_owned(),
            records: Vec::new(),
            histories: HashMap::new(),
            unfinished: Vec::new(),
            unreadable: Vec::new(),
            not_begun: 0,
        };
        runs.refresh()?;
        Ok(runs)
    }

    /// Looks again, and tells whether anything has changed. Runs that have completed or diverged stay as they are, and are
    /// not read again.
    ///
    /// # Errors
    /// As [`StoredRuns::read`].
    pub fn refresh(&mut self) -> Result<bool, RecordError> {
        let before = self.state();
        let mut known: HashMap<String, RunRecord> = std::mem::take(&mut self.records)
            .into_iter()
            .filter(|record| record.result.status != Status::Failed)
            .map(|record| (record.spec.id.clone(), record))
            .collect();
        let (mut old, mut new) = (Vec::new(), Vec::new());
        for folder in folders(&runs_folder(&self.output))? {
            let name = folder.file_name().and_then(|name| name.to_str());
            match name.and_then(|name| known.remove(name)) {
                Some(record) => old.push(record),
                None => new.push(folder),
            }
        }
        self.records = old;
        self.unfinished.clear();
        self.unreadable.clear();
        for (folder, found) in new.iter().zip(read_all(&new)?) {
            match found {
                Found::Done(record, history) => {
                    if let Some(history) = history {
                        self.histories.insert(record.spec.id.clone(), history);
                    }
                    self.records.push(*record);
                }
                Found::Unfinished(spec) => self.unfinished.push(*spec),
                Found::Unreadable(why) => self.unreadable.push((folder.clone(), why)),
                Found::Nothing => {}
            }
        }
        let specs = self.records.iter_mut().map(|record| &mut record.spec);
        let specs = specs.chain(&mut self.unfinished);
        rename_cells(specs.map(|record| (&record.spec, &mut record.cell)));
        self.records
            .sort_by_cached_key(|record| order(&record.spec));
        self.unfinished.sort_by_cached_key(order);
        self.unreadable.sort();
        self.not_begun = self.count_not_begun()?;
        Ok(before != self.state())
    }

    fn count_not_begun(&self) -> Result<usize, RecordError> {
        let Some(plan) = PlanRecord::read(&self.output)? else {
            return Ok(0);
        };
        let absent = plan.runs().filter(|run| !self.folder(&run.id).exists());
        Ok(absent.count())
    }

    /// Where the runs that are done were made, and with what.
    pub fn origins(&self) -> impl Iterator<Item = &Provenance> {
        self.records.iter().map(|record| &record.result.provenance)
    }

    /// The folder of a run.
    #[must_use]
    pub fn folder(&self, id: &str) -> PathBuf {
        runs_folder(&self.output).join(id)
    }

    /// What tells one look from the next.
    fn state(&self) -> (Vec<(String, u64)>, Vec<String>, [usize; 2]) {
        let done = self.records.iter().map(|record| {
            let at = record.result.provenance.recorded_at;
            (record.spec.id.clone(), at)
        });
        let unfinished = self.unfinished.iter().map(|spec| spec.id.clone());
        let others = [self.unreadable.len(), self.not_begun];
        (done.collect(), unfinished.collect(), others)
    }
}

/// Learning rates and seeds as numbers; a positive number's bits are in its order.
fn order(spec: &SpecRecord) -> (bool, usize, String, u64, u64) {
    let run = &spec.spec;
    let rank = run.lora.as_ref().map(|lora| lora.rank);
    (
        rank.is_none(),
        rank.unwrap_or(0),
        spec.cell.clone(),
        run.train.lr.to_bits(),
        run.seeds.init,
    )
}

fn folders(runs: &Path) -> Result<Vec<PathBuf>, RecordError> {
    let entries = match fs::read_dir(runs) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(RecordError::io("read the folder", runs)(error)),
    };
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry.map_err(RecordError::io("read the folder", runs))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            folders.push(entry.path());
        }
    }
    folders.sort();
    Ok(folders)
}

/// Reads folders on all cores.
fn read_all(folders: &[PathBuf]) -> Result<Vec<Found>, RecordError> {
    const AT_ONCE: usize = 32;
    let next = AtomicUsize::new(0);
    let work = || {
        let mut found = Vec::new();
        loop {
            let first = next.fetch_add(AT_ONCE, Ordering::Relaxed);
            let Some(rest) = folders.get(first..) else {
                return Ok(found);
            };
            for (place, folder) in rest.iter().take(AT_ONCE).enumerate() {
                found.push((first + place, look(folder)?));
            }
        }
    };
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let parts: Result<Vec<Vec<(usize, Found)>>, RecordError> = thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let joined = workers.into_iter().map(|worker| {
            let ended = worker.join();
            ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        joined.collect()
    });
    let mut found: Vec<(usize, Found)> = parts?.into_iter().flatten().collect();
    found.sort_by_key(|(place, _)| *place);
    Ok(found.into_iter().map(|(_, found)| found).collect())
}

/// A sweep may begin a run anew at any moment: what goes away meanwhile is not there.
fn look(folder: &Path) -> Result<Found, RecordError> {
    let found = try_look(folder);
    match found {
        Err(RecordError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            Ok(Found::Nothing)
        }
        found => found,
    }
}

fn try_look(folder: &Path) -> Result<Found, RecordError> {
    match state_and_metrics(folder) {
        Ok((RunState::Done(record), metrics)) => {
            let completed = record.result.status == Status::Completed;
            let history = completed.then(|| History::parse(folder, &metrics));
            Ok(Found::Done(record, history.transpose()?))
        }
        Ok((RunState::Absent, _)) => Ok(Found::Nothing),
        Ok((RunState::Unfinished(_), _)) => match read_spec(folder) {
            Ok(spec) => Ok(Found::Unfinished(Box::new(spec))),
            Err(RecordError::Json { source, .. }) => Ok(Found::Unreadable(source.to_string())),
            Err(error) => Err(error),
        },
        // What is sealed and cannot be read was written by another program.
        Err(RecordError::Json { source, .. }) => Ok(Found::Unreadable(source.to_string())),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{
        Event, Failure, Measured, OutputFolder, PlannedCell, RunPlan, RunWriter, Split, Subject,
    };
    use crate::report::test_support::{record, with_status};

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let parent = tempfile::tempdir().unwrap();
        let output = parent.path().join("out");
        drop(OutputFolder::open(&output).unwrap());
        (parent, output)
    }

    fn begin(output: &Path, record: &RunRecord) -> RunWriter {
        let folder = output.join("runs").join(&record.spec.id);
        RunWriter::begin(&folder, record.spec.clone()).unwrap()
    }

    fn finish(output: &Path, record: RunRecord) {
        let mut writer = begin(output, &record);
        let evaluation = Event::Evaluation {
            split: Split::Validation,
            step: 1,
            epoch: 1,
            loss: 0.5,
            metrics: [].into(),
        };
        writer.append(&evaluation).unwrap();
        writer.complete(record.result).unwrap();
    }

    #[test]
    fn runs_are_found_in_order_and_told_apart() {
        let (_parent, output) = folder();
        finish(&output, record("full", None, 1e-3, 1, 0.5));
        finish(&output, record("lora-r16", Some(16), 1e-3, 1, 0.5));
        finish(&output, record("lora-r4", Some(4), 1e-3, 1, 0.5));
        let failed = with_status(record("lora-r4", Some(4), 1e-2, 1, 0.5), Status::Failed);
        finish(&output, failed);
        drop(begin(&output, &record("full", None, 1e-2, 1, 0.5)));
        fs::create_dir(output.join("runs/strange")).unwrap();
        fs::write(output.join("runs/strange/spec.json"), "{").unwrap();
        fs::create_dir(output.join("runs/empty")).unwrap();

        let runs = StoredRuns::read(&output).unwrap();
        let ids: Vec<&str> = runs
            .records
            .iter()
            .map(|run| run.spec.id.as_str())
            .collect();
        let expected = [
            "lora-r4-0.001-1",
            "lora-r4-0.01-1",
            "lora-r16-0.001-1",
            "full-0.001-1",
        ];
        assert_eq!(ids, expected);
        assert_eq!(runs.unfinished[0].id, "full-0.01-1");
        assert!(runs.unreadable[0].0.ends_with("strange"));
        assert_eq!(runs.histories.len(), 3, "of completed runs");
        assert_eq!(runs.histories["full-0.001-1"].evaluations[0].loss, 0.5);
    }

    #[test]
    fn cells_are_told_by_what_they_are() {
        let (_parent, output) = folder();
        let batch = |cell: &str, size: usize, lr: f64| {
            let mut record = record(cell, Some(4), lr, 1, 0.5);
            record.spec.spec.train.batch_size = size;
            record.spec.id = format!("{cell}-{size}-{lr}");
            record
        };
        // One plan over batch sizes, and one for each of two of them.
        finish(&output, batch("lora-r4-batch-size=8", 8, 1e-3));
        finish(&output, batch("lora-r4", 8, 1e-2));
        drop(begin(&output, &batch("lora-r4", 8, 1e-1)));
        finish(&output, batch("lora-r4", 64, 1e-3));
        finish(&output, batch("lora-r4", 128, 1e-3));
        let runs = StoredRuns::read(&output).unwrap();
        let specs = runs.records.iter().map(|run| &run.spec);
        let mut cells: Vec<_> = specs
            .chain(&runs.unfinished)
            .map(|run| (run.spec.train.batch_size, run.cell.as_str()))
            .collect();
        cells.sort_unstable();
        assert_eq!(cells[..3], [(8, "lora-r4-batch-size=8"); 3]);
        let [(64, one), (128, other)] = cells[3..] else {
            panic!("{cells:?}");
        };
        assert!(one.starts_with("lora-r4-") && other.starts_with("lora-r4-"));
        assert_ne!(one, other);
    }

    #[test]
    fn what_was_planned_and_never_begun_is_counted() {
        let (_parent, output) = folder();
        finish(&output, record("full", None, 1e-3, 1, 0.5));
        let mut runs = StoredRuns::read(&output).unwrap();
        assert_eq!(runs.not_begun, 0, "there is no plan");
        let run = |id: &str| RunPlan {
            id: id.to_owned(),
            steps: 1,
            multiply_adds: 1,
        };
        let cell = PlannedCell {
            cell: "full".to_owned(),
            runs: ["full-0.001-1", "full-0.01-1", "full-0.1-1"]
                .map(run)
                .into(),
        };
        let plan = PlanRecord {
            version: 1,
            host: String::new(),
            numerics: 1,
            experiment: None,
            subject: Subject::default(),
            plugins: [].into(),
            workers: 1,
            cells: vec![cell],
        };
        plan.write(&output).unwrap();
        assert!(runs.refresh().unwrap());
        assert_eq!(runs.not_begun, 2);
    }

    #[test]
    fn a_second_look_tells_what_changed() {
        let (_parent, output) = folder();
        finish(&output, record("full", None, 1e-3, 1, 0.5));
        let mut runs = StoredRuns::read(&output).unwrap();
        assert!(!runs.refresh().unwrap());
        let begun = record("full", None, 1e-2, 1, 0.25);
        drop(begin(&output, &begun));
        assert!(runs.refresh().unwrap());
        assert_eq!((runs.records.len(), runs.unfinished.len()), (1, 1));
        finish(&output, begun);
        assert!(runs.refresh().unwrap());
        assert_eq!((runs.records.len(), runs.unfinished.len()), (2, 0));
        assert_eq!(runs.histories.len(), 2);
    }

    #[test]
    fn what_failed_is_looked_at_again() {
        let (_parent, output) = folder();
        let failed = with_status(record("full", None, 1e-3, 1, 0.5), Status::Failed);
        finish(&output, failed.clone());
        let mut runs = StoredRuns::read(&output).unwrap();
        drop(begin(&output, &failed));
        assert!(runs.refresh().unwrap());
        assert_eq!((runs.records.len(), runs.unfinished.len()), (0, 1));
    }

    #[test]
    fn other_folders_and_newer_records_are_refused() {
        let (parent, output) = folder();
        let error = StoredRuns::read(parent.path()).unwrap_err().to_string();
        assert!(error.contains("is no output folder of lorahost"), "{error}");
        let error = StoredRuns::read(&parent.path().join("absent"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("is no output folder of lorahost"), "{error}");

        finish(&output, record("full", None, 1e-3, 1, 0.5));
        let done = output.join("runs/full-0.001-1/done.json");
        fs::write(&done, "{\"version\": 2}\n").unwrap();
        let error = StoredRuns::read(&output).unwrap_err().to_string();
        assert!(
            error.contains("is newer than this lorahost reads (1)"),
            "{error}"
        );
    }

    #[test]
    fn a_failure_has_its_words() {
        let (_parent, output) = folder();
        let mut failed = with_status(record("full", None, 1e-3, 1, 0.5), Status::Failed);
        failed.result.error = Some(Failure::new("no memory"));
        failed.result.measured = Measured::default();
        finish(&output, failed);
        let runs = StoredRuns::read(&output).unwrap();
        assert!(runs.records[0].result.error.is_some());
    }
}
