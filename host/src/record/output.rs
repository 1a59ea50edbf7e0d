//! The folder that holds a sweep's runs and results.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{RECORD_VERSION, RecordError, parse_version, read_if_there, write_atomically};
use crate::atomic::TEMPORARY_PREFIX;

/// Its presence says that the folder is ours.
const MARKER: &str = "lorahost.json";
const RUNS: &str = "runs";

/// An output folder. It may hold runs of many sweeps, and several processes may write to it.
#[derive(Debug)]
pub struct OutputFolder {
    path: PathBuf,
    /// What was not there before, and whether anything of ours was.
    made: Made,
}

#[derive(Serialize)]
struct Marker {
    format: String,
    version: u32,
}

/// What opening an output folder left on the disk.
#[derive(Debug)]
enum Made {
    /// Nothing: lorahost had been there before.
    Nothing,
    /// Our own files, and these folders, inner ones first.
    Anew(Vec<PathBuf>),
}

impl OutputFolder {
    /// Opens an output folder, or makes a new one of an absent or empty folder.
    ///
    /// # Errors
    /// [`RecordError::NotOurs`] if it holds something else, [`RecordError::Version`] if a newer lorahost made it, [`RecordError::Io`] otherwise.
    pub fn open(path: &Path) -> Result<Self, RecordError> {
        if path.exists() && !path.is_dir() {
            return Err(RecordError::NotAFolder {
                path: path.to_owned(),
            });
        }
        let absent = path.ancestors().take_while(|folder| !folder.exists());
        let absent: Vec<PathBuf> = absent
            .filter(|folder| !folder.as_os_str().is_empty())
            .map(Path::to_owned)
            .collect();
        fs::create_dir_all(path).map_err(RecordError::io("create the folder", path))?;
        let marker = path.join(MARKER);
        let made = if let Some(content) = read_if_there(&marker)? {
            if !is_whole(&marker, &content)? {
                write_marker(&marker)?;
            }
            Made::Nothing
        } else {
            // Where another process makes it just now, its marker is there as soon as anything else is.
            if !is_empty(path)? && read_if_there(&marker)?.is_none() {
                return Err(RecordError::NotOurs {
                    path: path.to_owned(),
                    marker: MARKER,
                });
            }
            write_marker(&marker)?;
            Made::Anew(absent)
        };
        let path = path
            .canonicalize()
            .map_err(RecordError::io("read the folder", path))?;
        let runs = path.join(RUNS);
        fs::create_dir_all(&runs).map_err(RecordError::io("create the folder", runs))?;
        Ok(Self { path, made })
    }

    /// Takes back what [`OutputFolder::open`] made and what was cached since: for the end of a sweep that could not
    /// begin. A folder that was there before stays; so does whatever else lies in it.
    pub fn undo(self) {
        let Made::Anew(folders) = &self.made else {
            return;
        };
        // Another process may have begun runs here meanwhile.
        if fs::remove_dir(self.path.join(RUNS)).is_err() {
            return;
        }
        // What cannot be removed does no harm: without runs and results it does not look like any.
        let _ = fs::remove_dir_all(self.cache());
        let _ = fs::remove_file(self.path.join(MARKER));
        for folder in folders {
            let _ = fs::remove_dir(folder);
        }
    }

    /// The folder of what is made once for all runs; it need not exist.
    #[must_use]
    pub fn cache(&self) -> PathBuf {
        self.path.join("cache")
    }

    /// Absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of the run with this id; it need not exist.
    #[must_use]
    pub fn run_folder(&self, id: &str) -> PathBuf {
        run_folder(&self.path, id)
    }
}

/// The folder of the run with this id in an output folder; neither need exist.
#[must_use]
pub fn run_folder(output: &Path, id: &str) -> PathBuf {
    output.join(RUNS).join(id)
}

/// Where processes that share an output folder claim the run with this id; nothing need exist.
#[must_use]
pub fn run_claim(output: &Path, id: &str) -> PathBuf {
    output.join("claims").join(id)
}

/// Whether a folder is an output folder.
#[must_use]
pub fn is_output(path: &Path) -> bool {
    path.join(MARKER).is_file()
}

/// Refuses what is no output folder of this or an older lorahost.
///
/// # Errors
/// [`RecordError::NoOutput`], [`RecordError::Version`], [`RecordError::Io`].
pub fn check_output(path: &Path) -> Result<(), RecordError> {
    let no_output = || RecordError::NoOutput {
        path: path.to_owned(),
        marker: MARKER,
    };
    let marker = path.join(MARKER);
    let content = read_if_there(&marker)?.ok_or_else(no_output)?;
    is_whole(&marker, &content).map(drop)
}

/// The folder of all runs of an output folder.
pub(crate) fn runs_folder(output: &Path) -> PathBuf {
    output.join(RUNS)
}

/// Whether the marker is as it was written; whatever it holds, it says whose folder this is. A newer one is refused.
fn is_whole(marker: &Path, content: &[u8]) -> Result<bool, RecordError> {
    match parse_version(marker, content, RECORD_VERSION) {
        Err(RecordError::Json { source, .. }) => {
            let path = marker.display();
            tracing::warn!("{path} is damaged ({source}); it marks the folder all the same");
            Ok(false)
        }
        checked => checked.map(|()| true),
    }
}

fn write_marker(path: &Path) -> Result<(), RecordError> {
    let marker = Marker {
        format: "lorahost output folder".to_owned(),
        version: RECORD_VERSION,
    };
    let json = serde_json::to_string(&marker).map_err(RecordError::json(path))?;
    write_atomically(path, format!("{json}\n").as_bytes())
}

/// Whether nothing lies in a folder but what is being written.
pub(crate) fn is_empty(folder: &Path) -> Result<bool, RecordError> {
    let entries = fs::read_dir(folder).map_err(RecordError::io("read the folder", folder))?;
    for entry in entries {
        let entry = entry.map_err(RecordError::io("read the folder", folder))?;
        let name = entry.file_name();
        if !name.to_string_lossy().starts_with(TEMPORARY_PREFIX) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_and_shared() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("deep/out");
        let first = OutputFolder::open(&path).unwrap();
        assert!(first.path().join("runs").is_dir());
        let second = OutputFolder::open(&path).unwrap();
        assert_eq!(first.path(), second.path());
    }

    #[test]
    fn many_may_make_it_at_once() {
        for _ in 0..50 {
            let parent = tempfile::tempdir().unwrap();
            let path = parent.path().join("deep/out");
            std::thread::scope(|scope| {
                let opens = (0..4).map(|_| scope.spawn(|| OutputFolder::open(&path)));
                for open in opens.collect::<Vec<_>>() {
                    open.join().unwrap().unwrap();
                }
            });
        }
    }

    #[test]
    fn what_others_began_meanwhile_is_not_taken_back() {
        let parent = tempfile::tempdir().unwrap();
        let folder = OutputFolder::open(parent.path()).unwrap();
        fs::create_dir(folder.run_folder("00000000000000aa")).unwrap();
        fs::create_dir(folder.cache()).unwrap();
        folder.undo();
        assert!(parent.path().join("cache").is_dir() && parent.path().join(MARKER).is_file());
    }

    #[test]
    fn what_was_made_can_be_taken_back() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("deep/out");
        let folder = OutputFolder::open(&path).unwrap();
        fs::create_dir(folder.cache()).unwrap();
        fs::write(folder.cache().join("tokens"), "").unwrap();
        folder.undo();
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);

        fs::create_dir_all(&path).unwrap();
        OutputFolder::open(&path).unwrap().undo();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0, "empty as before");

        drop(OutputFolder::open(&path).unwrap());
        OutputFolder::open(&path).unwrap().undo();
        assert!(path.join(MARKER).is_file(), "it was ours before");
    }

    #[test]
    fn other_content_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.tex"), "all my work").unwrap();
        let error = OutputFolder::open(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("is not empty and was not made by lorahost"),
            "{error}"
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

        let error = OutputFolder::open(&folder.path().join("thesis.tex"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("is not a folder"), "{error}");
    }

    #[test]
    fn a_marker_cut_at_any_byte_still_marks_the_folder_and_is_mended() {
        let folder = tempfile::tempdir().unwrap();
        drop(OutputFolder::open(folder.path()).unwrap());
        let marker = folder.path().join(MARKER);
        let whole = fs::read(&marker).unwrap();
        for length in 0..whole.len() {
            fs::write(&marker, &whole[..length]).unwrap();
            check_output(folder.path()).unwrap();
            drop(OutputFolder::open(folder.path()).unwrap());
            let found = fs::read(&marker).unwrap();
            assert!(found.starts_with(&whole[..whole.len() - 1]), "{length}");
        }
    }

    #[test]
    fn a_newer_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let marker = r#"{"format": "lorahost output folder", "version": 3, "more": true}"#;
        fs::write(folder.path().join(MARKER), marker).unwrap();
        let error = OutputFolder::open(folder.path()).unwrap_err().to_string();
        assert!(error.starts_with("record version 3 of "), "{error}");
        assert!(
            error.contains("is newer than this lorahost reads (1)"),
            "{error}"
        );
    }
}
