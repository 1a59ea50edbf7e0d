//! The folder of one run: writing it, and telling whether the run is done.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    Event, RECORD_VERSION, RecordError, RunResult, Status, read_if_there, write_atomically,
};
use crate::{
    atomic::{TEMPORARY_PREFIX, sync_folder},
    digest::sha256_of,
    spec::RunSpec,
};

const SPEC: &str = "spec.json";
pub(super) const METRICS: &str = "metrics.jsonl";
const RESULT: &str = "result.json";
const DONE: &str = "done.json";

/// The content of `spec.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpecRecord {
    pub version: u32,
    /// The run's identity, and the name of its folder.
    pub id: String,
    /// The cell of the sweep that it was first made for: what varies beside learning rate and seed.
    pub cell: String,
    pub spec: RunSpec,
}

/// All of a run that is done, but its metrics (see [`read_metrics`]).
#[derive(Debug, Clone, PartialEq)]
pub struct RunRecord {
    pub spec: SpecRecord,
    pub result: RunResult,
}

/// The content of `done.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Completion {
    version: u32,
    id: String,
    status: Status,
    /// Every other file by its path within the folder.
    files: BTreeMap<String, FileSeal>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FileSeal {
    bytes: u64,
    sha256: String,
}

/// Writes a run's folder, from its beginning to its completion record.
#[derive(Debug)]
pub struct RunWriter {
    folder: PathBuf,
    spec: SpecRecord,
    metrics: File,
}

impl RunWriter {
    /// Begins the run anew: whatever the folder held is removed.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn begin(folder: &Path, spec: SpecRecord) -> Result<Self, RecordError> {
        clear(folder)?;
        Self::reopen(folder, spec)
    }

    /// Goes on with what a process left that died in the middle of a run, in order to complete it as failed.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn reopen(folder: &Path, spec: SpecRecord) -> Result<Self, RecordError> {
        fs::create_dir_all(folder).map_err(RecordError::io("create the folder", folder))?;
        write_json(&folder.join(SPEC), &spec)?;
        let path = folder.join(METRICS);
        let metrics = OpenOptions::new().create(true).append(true).open(&path);
        let metrics = metrics.map_err(RecordError::io("open", path))?;
        Ok(Self {
            folder: folder.to_owned(),
            spec,
            metrics,
        })
    }

    /// Adds a line to `metrics.jsonl`; it is there even if the process is killed at once.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn append(&mut self, event: &Event) -> Result<(), RecordError> {
        let path = || self.folder.join(METRICS);
        let mut line = serde_json::to_vec(event).map_err(RecordError::json(path()))?;
        line.push(b'\n');
        self.metrics
            .write_all(&line)
            .map_err(RecordError::io("write", path()))
    }

    /// Writes the result, and then the completion record over all files of the folder.
    ///
    /// # Errors
    /// [`RecordError::Io`]; the run is then not done.
    pub fn complete(self, result: RunResult) -> Result<RunRecord, RecordError> {
        let metrics = self.folder.join(METRICS);
        self.metrics
            .sync_all()
            .map_err(RecordError::io("write", metrics))?;
        write_json(&self.folder.join(RESULT), &result)?;
        let mut files = BTreeMap::new();
        for name in files_below(&self.folder)? {
            let seal = seal(&self.folder.join(&name))?;
            files.insert(name, seal);
        }
        let completion = Completion {
            version: RECORD_VERSION,
            id: self.spec.id.clone(),
            status: result.status,
            files,
        };
        write_json(&self.folder.join(DONE), &completion)?;
        Ok(RunRecord {
            spec: self.spec,
            result,
        })
    }
}

/// Whether `folder` is that of a run, done or not.
pub fn is_run(folder: &Path) -> bool {
    folder.join(SPEC).is_file()
}

/// What a run's folder says of the run.
#[derive(Debug, Clone, PartialEq)]
pub enum RunState {
    /// There is no such folder, or an empty one.
    Absent,
    /// The run was begun; why it is not done.
    Unfinished(String),
    Done(Box<RunRecord>),
}

/// Reads the folder of a run. Of `spec.json`, `metrics.jsonl` and `result.json` the sha256 is checked, of other files
/// (which may be large) the size.
///
/// # Errors
/// [`RecordError::Newer`] for the record of a newer lorahost; [`RecordError::Io`] if a file that is there cannot be read.
pub fn state(folder: &Path) -> Result<RunState, RecordError> {
    let Some(done) = read_if_there(&folder.join(DONE))? else {
        let empty = fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
        let why = || "it has no completion record".to_owned();
        return Ok(if empty {
            RunState::Absent
        } else {
            RunState::Unfinished(why())
        });
    };
    // The last byte of a whole record is a line end; without that rule a record cut there would pass.
    if done.last() != Some(&b'\n') {
        return Ok(RunState::Unfinished(
            "its completion record is cut".to_owned(),
        ));
    }
    let completion: Completion = match parse(&folder.join(DONE), &done) {
        Ok(completion) => completion,
        Err(RecordError::Json { source, .. }) => {
            let why = format!("its completion record cannot be read: {source}");
            return Ok(RunState::Unfinished(why));
        }
        Err(newer) => return Err(newer),
    };
    if let Some(why) = misfit(folder, &completion)? {
        return Ok(RunState::Unfinished(why));
    }
    let spec: SpecRecord = read_json(&folder.join(SPEC))?;
    let result: RunResult = read_json(&folder.join(RESULT))?;
    if folder
        .file_name()
        .is_none_or(|name| name != spec.id.as_str())
    {
        return Ok(RunState::Unfinished(format!(
            "it holds the run {}",
            spec.id
        )));
    }
    Ok(RunState::Done(Box::new(RunRecord { spec, result })))
}

/// The events of a run's `metrics.jsonl`. A last line without its end, as a killed process leaves it, is left out.
///
/// # Errors
/// [`RecordError::Io`], [`RecordError::Json`].
pub fn read_metrics(folder: &Path) -> Result<Vec<Event>, RecordError> {
    let path = folder.join(METRICS);
    let text = fs::read_to_string(&path).map_err(RecordError::io("read", &path))?;
    let whole_lines = text.rfind('\n').map_or("", |end| &text[..end]);
    let events = whole_lines
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>();
    events.map_err(RecordError::json(path))
}

/// The content of `spec.json`, of a run that need not be done.
///
/// # Errors
/// [`RecordError::Io`], [`RecordError::Json`], [`RecordError::Newer`].
pub(super) fn read_spec(folder: &Path) -> Result<SpecRecord, RecordError> {
    read_json(&folder.join(SPEC))
}

/// Why the files do not fit the completion record, if they do not.
fn misfit(folder: &Path, completion: &Completion) -> Result<Option<String>, RecordError> {
    for name in [SPEC, METRICS, RESULT] {
        if !completion.files.contains_key(name) {
            return Ok(Some(format!("its completion record does not know {name}")));
        }
    }
    for (name, expected) in &completion.files {
        let path = folder.join(name);
        let Ok(found) = fs::metadata(&path) else {
            return Ok(Some(format!("{name} is missing")));
        };
        let checked = [SPEC, METRICS, RESULT].contains(&name.as_str());
        if found.len() != expected.bytes || (checked && seal(&path)? != *expected) {
            return Ok(Some(format!("{name} is not as the completion record says")));
        }
    }
    Ok(None)
}

/// Removes the folder, its completion record first, so that no half-removed run looks done.
fn clear(folder: &Path) -> Result<(), RecordError> {
    let done = folder.join(DONE);
    let removed = fs::remove_file(&done);
    ignore_absent(removed).map_err(RecordError::io("remove", done))?;
    ignore_absent(fs::remove_dir_all(folder)).map_err(RecordError::io("remove the folder", folder))
}

fn ignore_absent(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Paths of all files below `folder`, relative to it, but the completion record and unfinished temporary files.
fn files_below(folder: &Path) -> Result<Vec<String>, RecordError> {
    let mut found = Vec::new();
    let mut to_visit = vec![PathBuf::new()];
    while let Some(relative) = to_visit.pop() {
        let here = folder.join(&relative);
        let read_error = || RecordError::io("read the folder", &here);
        for entry in fs::read_dir(&here).map_err(read_error())? {
            let entry = entry.map_err(read_error())?;
            let kind = entry.file_type().map_err(read_error())?;
            let path = relative.join(entry.file_name());
            let name = path.to_string_lossy().into_owned();
            let temporary = entry
                .file_name()
                .to_string_lossy()
                .starts_with(TEMPORARY_PREFIX);
            if kind.is_dir() {
                to_visit.push(path);
            } else if !temporary && name != DONE {
                found.push(name);
            }
        }
        sync_folder(&here).map_err(RecordError::io("write the folder", &here))?;
    }
    Ok(found)
}

/// Size and sha256 of a file, which is brought to the disk before.
fn seal(path: &Path) -> Result<FileSeal, RecordError> {
    let sealed = || {
        let file = File::open(path)?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        let sha256 = sha256_of(file)?;
        Ok(FileSeal { bytes, sha256 })
    };
    sealed().map_err(RecordError::io("read", path))
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), RecordError> {
    let mut json = serde_json::to_vec_pretty(value).map_err(RecordError::json(path))?;
    json.push(b'\n');
    write_atomically(path, &json)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, RecordError> {
    let json = fs::read(path).map_err(RecordError::io("read", path))?;
    parse(path, &json)
}

/// Reads a versioned JSON file; the version comes first, since a newer one may look otherwise.
fn parse<T: DeserializeOwned>(path: &Path, json: &[u8]) -> Result<T, RecordError> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let Version { version } = serde_json::from_slice(json).map_err(RecordError::json(path))?;
    if version > RECORD_VERSION {
        let (found, known) = (version, RECORD_VERSION);
        return Err(RecordError::Newer {
            path: path.to_owned(),
            found,
            known,
        });
    }
    serde_json::from_slice(json).map_err(RecordError::json(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Measured, Platform, Provenance, Split};
    use crate::spec::test_support::run_spec;

    fn spec_record() -> SpecRecord {
        let id = "00000000000000aa".to_owned();
        let cell = "lora-r16".to_owned();
        SpecRecord {
            version: RECORD_VERSION,
            id,
            cell,
            spec: run_spec(Some(16), 1e-3, 42),
        }
    }

    fn result() -> RunResult {
        let measured = Measured {
            val_losses: vec![0.1 + 0.2, f64::NAN],
            steps: 2,
            ..Measured::default()
        };
        let platform = Platform {
            device: "cpu".into(),
            libtorch: None,
        };
        let provenance = Provenance::collect(&spec_record().spec, platform, 1);
        RunResult::new(Ok(measured), 1.5, Some(1 << 20), provenance)
    }

    fn done_run(parent: &Path) -> PathBuf {
        let folder = parent.join(spec_record().id);
        let mut writer = RunWriter::begin(&folder, spec_record()).unwrap();
        let step = Event::Step {
            step: 1,
            epoch: 1,
            loss: Some(0.25),
            lr: 1e-3,
        };
        writer.append(&step).unwrap();
        fs::create_dir(folder.join("adapter")).unwrap();
        fs::write(folder.join("adapter/weights"), "0123").unwrap();
        writer.complete(result()).unwrap();
        folder
    }

    fn why_not_done(folder: &Path) -> String {
        match state(folder).unwrap() {
            RunState::Unfinished(why) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_done_run_reads_back_as_it_was() {
        let parent = tempfile::tempdir().unwrap();
        assert_eq!(
            state(&parent.path().join("absent")).unwrap(),
            RunState::Absent
        );
        let folder = done_run(parent.path());
        let RunState::Done(record) = state(&folder).unwrap() else {
            panic!("not done")
        };
        assert_eq!(record.spec, spec_record());
        assert_eq!(record.result.status, Status::Diverged);
        let best = record.result.best_val_loss;
        assert_eq!(best.to_bits(), (0.1_f64 + 0.2).to_bits());
        assert!(record.result.measured.val_losses[1].is_nan());
        assert_eq!(read_metrics(&folder).unwrap().len(), 1);
    }

    #[test]
    fn a_completion_record_cut_at_any_byte_is_not_done() {
        let parent = tempfile::tempdir().unwrap();
        let folder = done_run(parent.path());
        let whole = fs::read(folder.join(DONE)).unwrap();
        for length in 0..whole.len() {
            fs::write(folder.join(DONE), &whole[..length]).unwrap();
            why_not_done(&folder);
        }
        fs::write(folder.join(DONE), &whole).unwrap();
        assert!(matches!(state(&folder).unwrap(), RunState::Done(_)));
    }

    #[test]
    fn a_run_whose_files_changed_or_went_is_not_done() {
        let parent = tempfile::tempdir().unwrap();
        let folder = done_run(parent.path());
        let changed = fs::read_to_string(folder.join(RESULT))
            .unwrap()
            .replace("1.5", "1.6");
        fs::write(folder.join(RESULT), changed).unwrap();
        assert_eq!(
            why_not_done(&folder),
            "result.json is not as the completion record says"
        );

        let folder = done_run(parent.path());
        fs::remove_file(folder.join("adapter/weights")).unwrap();
        assert_eq!(why_not_done(&folder), "adapter/weights is missing");

        let folder = done_run(parent.path());
        let elsewhere = parent.path().join("00000000000000bb");
        fs::rename(folder, &elsewhere).unwrap();
        assert_eq!(
            why_not_done(&elsewhere),
            "it holds the run 00000000000000aa"
        );
    }

    #[test]
    fn a_run_begun_anew_holds_nothing_of_the_old_one() {
        let parent = tempfile::tempdir().unwrap();
        let folder = done_run(parent.path());
        RunWriter::begin(&folder, spec_record()).unwrap();
        assert_eq!(why_not_done(&folder), "it has no completion record");
        assert!(!folder.join("adapter").exists());
        assert_eq!(read_metrics(&folder).unwrap(), []);
    }

    #[test]
    fn a_newer_record_is_an_error_not_an_unfinished_run() {
        let parent = tempfile::tempdir().unwrap();
        let folder = done_run(parent.path());
        fs::write(folder.join(DONE), "{\"version\": 3, \"files\": []}\n").unwrap();
        let error = state(&folder).unwrap_err().to_string();
        assert!(error.starts_with("record version 3 of "), "{error}");
    }

    #[test]
    fn metrics_of_a_killed_process_read_up_to_the_last_whole_line() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("run");
        let mut writer = RunWriter::begin(&folder, spec_record()).unwrap();
        let evaluation = Event::Evaluation {
            split: Split::Validation,
            step: 0,
            epoch: 0,
            loss: 1.0,
            metrics: BTreeMap::new(),
        };
        writer.append(&evaluation).unwrap();
        writer.metrics.write_all(b"{\"event\":\"st").unwrap();
        assert_eq!(read_metrics(&folder).unwrap(), [evaluation]);
    }
}
