//! The folder of one run: writing it, and telling whether the run is done.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use serde_json::Value;

use super::{
    Checkpoint, Event, Failure, RECORD_VERSION, RecordError, RunResult, Spent, Status,
    checkpoint::{self, CHECKPOINT},
    read_if_there, write_atomically,
};
use crate::{
    atomic::{TEMPORARY_PREFIX, sync_folder},
    digest::{sha256, sha256_of},
    spec::RunSpec,
};

pub(super) const SPEC: &str = "spec.json";
pub(super) const METRICS: &str = "metrics.jsonl";
pub(super) const RESULT: &str = "result.json";
pub(super) const DONE: &str = "done.json";
const CRASHES: &str = "crashes.jsonl";

/// The first version of every format, still read.
const OLDEST: u32 = 1;

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

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileSeal {
    pub bytes: u64,
    pub sha256: String,
}

/// Writes a run's folder, from its beginning to its completion record.
#[derive(Debug)]
pub struct RunWriter {
    folder: PathBuf,
    spec: SpecRecord,
    metrics: File,
    /// Number of the newest checkpoint.
    kept: u64,
}

impl RunWriter {
    /// Begins the run anew: whatever the folder held is removed, but for the crashes.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn begin(folder: &Path, spec: SpecRecord) -> Result<Self, RecordError> {
        clear(folder, &[CRASHES])?;
        Self::reopen(folder, spec)
    }

    /// Goes on from a checkpoint of this folder: `metrics.jsonl` is cut to where it was, and whatever else was left since
    /// is removed.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn resume(
        folder: &Path,
        spec: SpecRecord,
        checkpoint: &Checkpoint,
    ) -> Result<Self, RecordError> {
        clear(folder, &[CRASHES, CHECKPOINT, METRICS])?;
        let mut writer = Self::reopen(folder, spec)?;
        writer.kept = checkpoint.number();
        let cut = writer.metrics.set_len(checkpoint.metrics());
        cut.map_err(RecordError::io("write", folder.join(METRICS)))?;
        Ok(writer)
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
            kept: 0,
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

    /// Keeps where the run is, in place of an older checkpoint; `tensors` writes a safetensors file.
    ///
    /// # Errors
    /// [`RecordError::Io`]; an older checkpoint is then still there.
    pub fn keep(
        &mut self,
        spent: Spent,
        progress: Value,
        tensors: &mut dyn FnMut(&Path) -> std::io::Result<()>,
    ) -> Result<(), RecordError> {
        let content = checkpoint::Content {
            id: &self.spec.id,
            number: self.kept + 1,
            spent,
            metrics: seal(&self.folder.join(METRICS))?,
            progress,
        };
        checkpoint::write(&self.folder, content, tensors)?;
        self.kept += 1;
        Ok(())
    }

    /// Writes the result, and then the completion record over all files of the folder. The checkpoint goes, unless the
    /// run failed for a reason that may pass.
    ///
    /// # Errors
    /// [`RecordError::Io`]; the run is then not done.
    pub fn complete(self, mut result: RunResult) -> Result<RunRecord, RecordError> {
        result.crashes = crashes(&self.folder)?;
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
        let goes_on = result.error.as_ref().is_some_and(|error| error.transient);
        if !goes_on && let Err(error) = checkpoint::discard(&self.folder) {
            // The run is done all the same.
            tracing::warn!("{error}");
        }
        Ok(RunRecord {
            spec: self.spec,
            result,
        })
    }
}

/// Adds a failure after which the run is tried again to the run's `crashes.jsonl`.
///
/// # Errors
/// [`RecordError::Io`].
pub fn note_crash(folder: &Path, failure: &Failure) -> Result<(), RecordError> {
    let path = folder.join(CRASHES);
    let mut line = serde_json::to_vec(failure).map_err(RecordError::json(&path))?;
    line.push(b'\n');
    let file = OpenOptions::new().create(true).append(true).open(&path);
    file.and_then(|mut file| file.write_all(&line))
        .map_err(RecordError::io("write", path))
}

/// How often the run was tried again.
fn crashes(folder: &Path) -> Result<u32, RecordError> {
    let lines = read_if_there(&folder.join(CRASHES))?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&lines).lines().count() as u32)
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
/// [`RecordError::Version`] for a record or checkpoint of a version that this lorahost does not read; [`RecordError::Io`] if a file that is there
/// cannot be read.
pub fn state(folder: &Path) -> Result<RunState, RecordError> {
    state_and_metrics(folder).map(|(state, _)| state)
}

/// As [`state`], with the content of `metrics.jsonl` where the run is done.
pub(super) fn state_and_metrics(folder: &Path) -> Result<(RunState, Vec<u8>), RecordError> {
    let unfinished = |why: String| Ok((RunState::Unfinished(why), Vec::new()));
    let Some(done) = read_if_there(&folder.join(DONE))? else {
        checkpoint::check_version(folder)?;
        let empty = fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
        return if empty {
            Ok((RunState::Absent, Vec::new()))
        } else {
            unfinished("it has no completion record".to_owned())
        };
    };
    // The last byte of a whole record is a line end; without that rule a record cut there would pass.
    if done.last() != Some(&b'\n') {
        return unfinished("its completion record is cut".to_owned());
    }
    let completion: Completion = match parse(&folder.join(DONE), &done) {
        Ok(completion) => completion,
        Err(RecordError::Json { source, .. }) => {
            return unfinished(format!("its completion record cannot be read: {source}"));
        }
        Err(other) => return Err(other),
    };
    let [spec, metrics, result] = match sealed(folder, &completion)? {
        Ok(contents) => contents,
        Err(why) => return unfinished(why),
    };
    let spec: SpecRecord = parse(&folder.join(SPEC), &spec)?;
    let result: RunResult = parse(&folder.join(RESULT), &result)?;
    if folder
        .file_name()
        .is_none_or(|name| name != spec.id.as_str())
    {
        return unfinished(format!("it holds the run {}", spec.id));
    }
    let record = Box::new(RunRecord { spec, result });
    Ok((RunState::Done(record), metrics))
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
/// [`RecordError::Io`], [`RecordError::Json`], [`RecordError::Version`].
pub(super) fn read_spec(folder: &Path) -> Result<SpecRecord, RecordError> {
    read_json(&folder.join(SPEC))
}

/// The contents of [`SPEC`], [`METRICS`] and [`RESULT`]; or why the files do not fit the completion record.
fn sealed(
    folder: &Path,
    completion: &Completion,
) -> Result<Result<[Vec<u8>; 3], String>, RecordError> {
    let mut contents = [SPEC, METRICS, RESULT].map(|name| (name, Vec::new()));
    for (name, content) in &mut contents {
        let Some(expected) = completion.files.get(*name) else {
            return Ok(Err(format!("its completion record does not know {name}")));
        };
        let Some(found) = read_if_there(&folder.join(*name))? else {
            return Ok(Err(format!("{name} is missing")));
        };
        if found.len() as u64 != expected.bytes || sha256(&found) != expected.sha256 {
            return Ok(Err(format!("{name} is not as the completion record says")));
        }
        *content = found;
    }
    let checked = |name: &str| contents.iter().any(|(one, _)| *one == name);
    for (name, expected) in completion.files.iter().filter(|(name, _)| !checked(name)) {
        let Ok(found) = fs::metadata(folder.join(name)) else {
            return Ok(Err(format!("{name} is missing")));
        };
        if found.len() != expected.bytes {
            return Ok(Err(format!("{name} is not as the completion record says")));
        }
    }
    Ok(Ok(contents.map(|(_, content)| content)))
}

/// Empties the folder but for what is `kept`, its completion record first, so that no half-removed run looks done. The
/// folder itself stays: whoever is at the run holds it.
fn clear(folder: &Path, kept: &[&str]) -> Result<(), RecordError> {
    let done = folder.join(DONE);
    ignore_absent(fs::remove_file(&done)).map_err(RecordError::io("remove", done))?;
    if !kept.contains(&CHECKPOINT) {
        checkpoint::discard(folder)?;
    }
    let read_error = || RecordError::io("read the folder", folder);
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(read_error())?,
    };
    for entry in entries {
        let entry = entry.map_err(read_error())?;
        let path = entry.path();
        if kept.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        let kind = entry.file_type().map_err(read_error())?;
        let removed = if kind.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        ignore_absent(removed).map_err(RecordError::io("remove", path))?;
    }
    Ok(())
}

pub(super) fn ignore_absent(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Paths of all files below `folder`, relative to it, but the completion record, what belongs to a run in work and
/// unfinished temporary files.
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
                if name != CHECKPOINT {
                    to_visit.push(path);
                }
            } else if !temporary && name != DONE {
                found.push(name);
            }
        }
        sync_folder(&here).map_err(RecordError::io("write the folder", &here))?;
    }
    Ok(found)
}

/// Size and sha256 of a file, which is brought to the disk before.
pub(super) fn seal(path: &Path) -> Result<FileSeal, RecordError> {
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

/// Reads a versioned JSON file; the version comes first, since another one may look otherwise.
pub(super) fn parse<T: DeserializeOwned>(path: &Path, json: &[u8]) -> Result<T, RecordError> {
    parse_version(path, json, RECORD_VERSION)?;
    serde_json::from_slice(json).map_err(RecordError::json(path))
}

/// Refuses a version of JSON that is newer than the `known` one, or that there never was.
pub(crate) fn parse_version(path: &Path, json: &[u8], known: u32) -> Result<(), RecordError> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let Version { version } = serde_json::from_slice(json).map_err(RecordError::json(path))?;
    if !(OLDEST..=known).contains(&version) {
        return Err(RecordError::Version {
            path: path.to_owned(),
            found: version,
            known,
        });
    }
    Ok(())
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
    fn a_done_run_with_a_file_cut_at_any_byte_is_not_done_and_says_which() {
        let parent = tempfile::tempdir().unwrap();
        let folder = done_run(parent.path());
        for name in [SPEC, METRICS, RESULT, "adapter/weights"] {
            let whole = fs::read(folder.join(name)).unwrap();
            for length in 0..whole.len() {
                fs::write(folder.join(name), &whole[..length]).unwrap();
                let told = format!("{name} is not as the completion record says");
                assert_eq!(why_not_done(&folder), told, "{length}");
            }
            fs::write(folder.join(name), &whole).unwrap();
        }
        assert!(matches!(state(&folder).unwrap(), RunState::Done(_)));
    }

    #[test]
    fn a_run_in_work_with_a_file_cut_at_any_byte_is_unfinished_and_begun_anew() {
        let parent = tempfile::tempdir().unwrap();
        let folder = killed_run(parent.path());
        for name in [SPEC, METRICS, CRASHES] {
            let whole = fs::read(folder.join(name)).unwrap();
            for length in 0..whole.len() {
                fs::write(folder.join(name), &whole[..length]).unwrap();
                assert_eq!(why_not_done(&folder), "it has no completion record");
                // A line that is cut is left out, and no other.
                let kept = read_metrics(&folder).unwrap();
                let lines = whole[..length].iter().filter(|&&byte| byte == b'\n');
                assert!(name != METRICS || kept.len() == lines.count(), "{length}");
                if name == SPEC && length < whole.len() - 1 {
                    read_spec(&folder).unwrap_err();
                }
            }
            fs::write(folder.join(name), &whole).unwrap();
        }
        fs::write(folder.join(SPEC), "{").unwrap();
        let writer = RunWriter::resume(&folder, spec_record(), &found(&folder)).unwrap();
        writer.complete(result()).unwrap();
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

    fn step(step: usize) -> Event {
        Event::Step {
            step,
            epoch: 1,
            loss: Some(0.25),
            lr: 1e-3,
        }
    }

    /// A folder in which step 1 was kept, and step 2, a crash and a file of weights came after it.
    fn killed_run(parent: &Path) -> PathBuf {
        let folder = parent.join(spec_record().id);
        let mut writer = RunWriter::begin(&folder, spec_record()).unwrap();
        writer.append(&step(1)).unwrap();
        let spent = Spent {
            seconds: 2.0,
            resumes: 0,
            machine: "here".into(),
        };
        let tensors = |path: &Path| fs::write(path, "tensors");
        writer.keep(spent, Value::Null, &mut { tensors }).unwrap();
        writer.append(&step(2)).unwrap();
        fs::write(folder.join("adapter.safetensors"), "half").unwrap();
        note_crash(&folder, &Failure::new("killed")).unwrap();
        folder
    }

    fn found(folder: &Path) -> Checkpoint {
        match Checkpoint::find(folder, &spec_record().id).unwrap() {
            checkpoint::Found::Whole(checkpoint) => *checkpoint,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_resumed_run_stands_where_it_was_kept() {
        let parent = tempfile::tempdir().unwrap();
        let folder = killed_run(parent.path());
        let mut writer = RunWriter::resume(&folder, spec_record(), &found(&folder)).unwrap();
        assert_eq!(read_metrics(&folder).unwrap(), [step(1)]);
        assert!(!folder.join("adapter.safetensors").exists());
        writer.append(&step(2)).unwrap();
        assert_eq!(read_metrics(&folder).unwrap(), [step(1), step(2)]);
        let record = writer.complete(result()).unwrap();
        assert_eq!(record.result.crashes, 1);
        assert!(!folder.join(CHECKPOINT).exists());
        assert!(matches!(state(&folder).unwrap(), RunState::Done(_)));
    }

    #[test]
    fn a_failure_that_may_pass_keeps_the_checkpoint() {
        let parent = tempfile::tempdir().unwrap();
        for transient in [true, false] {
            let folder = killed_run(parent.path());
            let failure = Failure {
                transient,
                ..Failure::new("no memory")
            };
            let result = RunResult::new(Err(failure), 1.0, None, result().provenance);
            let writer = RunWriter::reopen(&folder, spec_record()).unwrap();
            writer.complete(result).unwrap();
            assert!(matches!(state(&folder).unwrap(), RunState::Done(_)));
            assert_eq!(folder.join(CHECKPOINT).exists(), transient);
            RunWriter::begin(&folder, spec_record()).unwrap();
            assert!(!folder.join(CHECKPOINT).exists());
        }
    }

    #[test]
    fn a_record_of_another_version_is_an_error_not_an_unfinished_run() {
        let parent = tempfile::tempdir().unwrap();
        let folder = done_run(parent.path());
        for (version, told) in [(3, "newer"), (0, "older")] {
            let done = format!("{{\"version\": {version}, \"files\": []}}\n");
            fs::write(folder.join(DONE), done).unwrap();
            let error = state(&folder).unwrap_err().to_string();
            let expected = format!(
                "record version {version} of {} is {told} than this lorahost reads (1); ",
                folder.join(DONE).display()
            );
            assert!(error.starts_with(&expected), "{error}");
        }
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
