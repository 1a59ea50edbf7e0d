//! Where a run can go on, should its process end: `checkpoint/` in the run's folder.
//!
//! | file | content |
//! |---|---|
//! | `NUMBER.safetensors` | the tensors |
//! | `checkpoint.jsonl` | a line with all else, and a line with the sha256 of that line |
//!
//! The first line names the file of tensors and the part of `metrics.jsonl` that belongs to it, each with size and
//! sha256. It takes its predecessor's place in one step, after everything that it names is on the disk; only then does
//! the older file of tensors go. So a process that is killed at any moment leaves one whole checkpoint or none, and a
//! byte that changed anywhere is noticed.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    RecordError,
    folder::{FileSeal, METRICS, ignore_absent, parse_version, seal},
    read_if_there, write_atomically,
};
use crate::{
    atomic,
    digest::{sha256, sha256_of},
};

/// Version of checkpoints that this lorahost writes, and the newest that it reads.
const VERSION: u32 = 1;

/// The folder within that of the run.
pub(super) const CHECKPOINT: &str = "checkpoint";
const MANIFEST: &str = "checkpoint.jsonl";

/// A whole checkpoint on the disk.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    folder: PathBuf,
    manifest: Manifest,
}

/// The first line of `checkpoint.jsonl`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Manifest {
    version: u32,
    /// The run's, and with it that of spec, weights, data, plugins and numerics.
    id: String,
    /// Counts the checkpoints of a run, and names the file of tensors.
    number: u64,
    spent: Spent,
    /// The beginning of `metrics.jsonl` that was written before.
    metrics: FileSeal,
    tensors: FileSeal,
    /// What the executor has to say.
    progress: Value,
}

/// What a run has cost before this process took it up, and where it was computed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    /// Wall-clock time in work.
    pub seconds: f64,
    /// How often it was taken up again.
    pub resumes: u32,
    /// CPU, device and threads in words: elsewhere the rest of the run is equal within rounding alone.
    pub machine: String,
}

/// What lies in a run's folder.
#[derive(Debug)]
pub enum Found {
    Nothing,
    Whole(Box<Checkpoint>),
    /// Why it cannot be used.
    Damaged(String),
}

impl Checkpoint {
    /// The checkpoint of the run `id`, with everything that it names checked against its sha256.
    ///
    /// # Errors
    /// [`RecordError::Version`] for the checkpoint of a newer lorahost; [`RecordError::Io`] if a file cannot be read.
    pub fn find(run_folder: &Path, id: &str) -> Result<Found, RecordError> {
        let folder = run_folder.join(CHECKPOINT);
        let manifest = match read_manifest(&folder)? {
            None => return Ok(Found::Nothing),
            Some(Err(why)) => return Ok(Found::Damaged(why)),
            Some(Ok(manifest)) => manifest,
        };
        if manifest.id != id {
            return Ok(Found::Damaged(format!("it is of the run {}", manifest.id)));
        }
        let checkpoint = Self { folder, manifest };
        let metrics = run_folder.join(METRICS);
        for (path, expected) in [
            (metrics, &checkpoint.manifest.metrics),
            (checkpoint.tensors(), &checkpoint.manifest.tensors),
        ] {
            let found = sealed_beginning(&path, expected.bytes);
            if found.map_err(RecordError::io("read", &path))?.as_ref() != Some(expected) {
                let why = format!("{} is not as it says", path.display());
                return Ok(Found::Damaged(why));
            }
        }
        Ok(Found::Whole(Box::new(checkpoint)))
    }

    /// Its file of tensors.
    #[must_use]
    pub fn tensors(&self) -> PathBuf {
        self.folder.join(tensor_file(self.manifest.number))
    }

    /// What the executor kept beside tensors.
    #[must_use]
    pub fn progress(&self) -> &Value {
        &self.manifest.progress
    }

    #[must_use]
    pub fn spent(&self) -> &Spent {
        &self.manifest.spent
    }

    pub(super) fn number(&self) -> u64 {
        self.manifest.number
    }

    /// Length of the beginning of `metrics.jsonl` that belongs to it, in bytes.
    pub(super) fn metrics(&self) -> u64 {
        self.manifest.metrics.bytes
    }
}

/// What is to be kept at a step boundary.
pub(super) struct Content<'a> {
    pub id: &'a str,
    pub number: u64,
    pub spent: Spent,
    /// `metrics.jsonl` as it is now, on the disk.
    pub metrics: FileSeal,
    pub progress: Value,
}

/// Writes a checkpoint and takes the older one away; `tensors` writes the safetensors file.
pub(super) fn write(
    run_folder: &Path,
    content: Content<'_>,
    tensors: &mut dyn FnMut(&Path) -> io::Result<()>,
) -> Result<(), RecordError> {
    let folder = run_folder.join(CHECKPOINT);
    fs::create_dir_all(&folder).map_err(RecordError::io("create the folder", &folder))?;
    let name = tensor_file(content.number);
    let path = folder.join(&name);
    atomic::write(&path, |file| tensors(file.path())).map_err(RecordError::io("write", &path))?;
    let manifest = Manifest {
        version: VERSION,
        id: content.id.to_owned(),
        number: content.number,
        spent: content.spent,
        metrics: content.metrics,
        tensors: seal(&path)?,
        progress: content.progress,
    };
    let place = folder.join(MANIFEST);
    let mut text = serde_json::to_string(&manifest).map_err(RecordError::json(&place))?;
    text.push('\n');
    text.push_str(&seal_line(&text));
    write_atomically(&place, text.as_bytes())?;
    // What is not named any more only takes room: no reason to complain.
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
        if entry.file_name() != MANIFEST && entry.file_name() != name.as_str() {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

/// Removes the checkpoint of a run, its first line first.
///
/// # Errors
/// [`RecordError::Io`].
pub fn discard(run_folder: &Path) -> Result<(), RecordError> {
    let folder = run_folder.join(CHECKPOINT);
    let manifest = folder.join(MANIFEST);
    ignore_absent(fs::remove_file(&manifest)).map_err(RecordError::io("remove", manifest))?;
    let removed = fs::remove_dir_all(&folder);
    ignore_absent(removed).map_err(RecordError::io("remove the folder", folder))
}

/// Whether this lorahost reads the checkpoint of a run, be it whole or not.
pub(super) fn check_version(run_folder: &Path) -> Result<(), RecordError> {
    read_manifest(&run_folder.join(CHECKPOINT)).map(|_| ())
}

/// The first line, if it fits the second; else why not.
fn read_manifest(folder: &Path) -> Result<Option<Result<Manifest, String>>, RecordError> {
    let path = folder.join(MANIFEST);
    let Some(bytes) = read_if_there(&path)? else {
        return Ok(None);
    };
    let damaged = |why: &str| Ok(Some(Err(format!("{} {why}", path.display()))));
    let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
        return damaged("is cut");
    };
    let (first, second) = bytes.split_at(end + 1);
    let first = String::from_utf8_lossy(first);
    if second != seal_line(&first).as_bytes() {
        return damaged("does not fit its sha256");
    }
    parse_version(&path, first.as_bytes(), VERSION)?;
    match serde_json::from_str(&first) {
        Ok(manifest) => Ok(Some(Ok(manifest))),
        Err(error) => damaged(&format!("cannot be read: {error}")),
    }
}

fn seal_line(first: &str) -> String {
    format!("{{\"sha256\":\"{}\"}}\n", sha256(first.as_bytes()))
}

fn tensor_file(number: u64) -> String {
    format!("{number}.safetensors")
}

/// Size and sha256 of the first `bytes` bytes of a file; none where it has fewer or is not there.
fn sealed_beginning(path: &Path, bytes: u64) -> io::Result<Option<FileSeal>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    if file.metadata()?.len() < bytes {
        return Ok(None);
    }
    let sha256 = sha256_of(file.take(bytes))?;
    Ok(Some(FileSeal { bytes, sha256 }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "00000000000000aa";

    fn keep(run: &Path, number: u64, tensors: &'static [u8]) -> Result<(), RecordError> {
        let metrics = run.join(METRICS);
        let content = Content {
            id: ID,
            number,
            spent: Spent {
                seconds: 1.5,
                resumes: 0,
                machine: "a CPU, 1 thread".to_owned(),
            },
            metrics: seal(&metrics)?,
            progress: json!({ "loss": 0.1 + 0.2 }),
        };
        write(run, content, &mut |path| fs::write(path, tensors))
    }

    fn run() -> tempfile::TempDir {
        let run = tempfile::tempdir().unwrap();
        fs::write(run.path().join(METRICS), "{\"event\":\"start\"}\n").unwrap();
        run
    }

    fn whole(run: &Path) -> Checkpoint {
        match Checkpoint::find(run, ID).unwrap() {
            Found::Whole(checkpoint) => *checkpoint,
            other => panic!("{other:?}"),
        }
    }

    fn names(run: &Path) -> Vec<String> {
        let entries = fs::read_dir(run.join(CHECKPOINT)).unwrap();
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<_> = entries
            .map(|entry| name(entry).into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_newest_is_found_and_the_older_ones_are_gone() {
        let run = run();
        let run = run.path();
        assert!(matches!(Checkpoint::find(run, ID).unwrap(), Found::Nothing));
        keep(run, 1, b"one").unwrap();
        keep(run, 2, b"two").unwrap();
        let found = whole(run);
        assert_eq!(fs::read(found.tensors()).unwrap(), b"two");
        let loss = found.progress()["loss"].as_f64().unwrap();
        assert_eq!(loss.to_bits(), (0.1_f64 + 0.2).to_bits());
        assert_eq!(names(run), ["2.safetensors", MANIFEST]);
        discard(run).unwrap();
        assert!(!run.join(CHECKPOINT).exists());
    }

    #[test]
    fn what_a_kill_leaves_of_the_next_one_harms_nothing() {
        let run = run();
        let run = run.path();
        keep(run, 1, b"one").unwrap();
        fs::write(run.join(CHECKPOINT).join("2.safetensors"), b"tw").unwrap();
        fs::write(run.join(CHECKPOINT).join(".writing-abc"), b"{").unwrap();
        assert_eq!(fs::read(whole(run).tensors()).unwrap(), b"one");
        let full = |_: &Path| Err(io::Error::other("no space"));
        let content = Content {
            id: ID,
            number: 2,
            spent: whole(run).spent().clone(),
            metrics: seal(&run.join(METRICS)).unwrap(),
            progress: Value::Null,
        };
        write(run, content, &mut { full }).unwrap_err();
        assert_eq!(fs::read(whole(run).tensors()).unwrap(), b"one");
        keep(run, 2, b"two").unwrap();
        assert_eq!(names(run), ["2.safetensors", MANIFEST]);
    }

    #[test]
    fn later_metrics_do_no_harm_and_lost_ones_do() {
        let run = run();
        let run = run.path();
        keep(run, 1, b"one").unwrap();
        let metrics = run.join(METRICS);
        let before = fs::read_to_string(&metrics).unwrap();
        fs::write(&metrics, format!("{before}{{\"event\"")).unwrap();
        assert_eq!(whole(run).metrics(), before.len() as u64);
        fs::write(&metrics, &before[1..]).unwrap();
        assert!(matches!(
            Checkpoint::find(run, ID).unwrap(),
            Found::Damaged(_)
        ));
    }

    #[test]
    fn a_flipped_byte_anywhere_is_noticed() {
        let run = run();
        let run = run.path();
        keep(run, 1, b"tensors").unwrap();
        let files = [
            run.join(METRICS),
            run.join(CHECKPOINT).join("1.safetensors"),
            run.join(CHECKPOINT).join(MANIFEST),
        ];
        for path in files {
            let sound = fs::read(&path).unwrap();
            for place in 0..sound.len() {
                for flip in [1, 0x20, 0x80] {
                    let mut bytes = sound.clone();
                    bytes[place] ^= flip;
                    fs::write(&path, bytes).unwrap();
                    let found = Checkpoint::find(run, ID).unwrap();
                    assert!(
                        matches!(found, Found::Damaged(_)),
                        "byte {place} of {}: {found:?}",
                        path.display()
                    );
                }
            }
            for length in 0..sound.len() {
                fs::write(&path, &sound[..length]).unwrap();
                let found = Checkpoint::find(run, ID).unwrap();
                assert!(matches!(found, Found::Damaged(_)), "{length}: {found:?}");
            }
            fs::write(&path, sound).unwrap();
        }
        whole(run);
        let other = Checkpoint::find(run, "00000000000000bb").unwrap();
        assert!(matches!(other, Found::Damaged(why) if why == format!("it is of the run {ID}")));
    }

    #[test]
    fn a_newer_one_is_an_error() {
        let run = run();
        let folder = run.path().join(CHECKPOINT);
        fs::create_dir(&folder).unwrap();
        let first = "{\"version\": 9, \"unknown\": true}\n";
        fs::write(
            folder.join(MANIFEST),
            format!("{first}{}", seal_line(first)),
        )
        .unwrap();
        let error = Checkpoint::find(run.path(), ID).unwrap_err().to_string();
        assert!(error.starts_with("record version 9 of "), "{error}");
        check_version(run.path()).unwrap_err();
    }
}
