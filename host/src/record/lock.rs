//! A run's folder, held by the process that works on it.

use std::{
    fs::{self, File, TryLockError},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::RecordError;

/// How often a held folder is looked at.
const TICK: Duration = Duration::from_millis(50);

/// Keeps other processes of this machine away from a run's folder; it ends with the process, however that ends.
#[derive(Debug)]
pub struct RunLock {
    _folder: Option<File>,
}

impl RunLock {
    /// Takes the folder, which need not exist; a process that holds it has `patience` to end.
    ///
    /// # Errors
    /// [`RecordError::RunBusy`] when it does not; [`RecordError::Io`].
    pub fn take(folder: &Path, patience: Duration) -> Result<Self, RecordError> {
        fs::create_dir_all(folder).map_err(RecordError::io("create the folder", folder))?;
        let file = File::open(folder).map_err(RecordError::io("open the folder", folder))?;
        let deadline = Instant::now() + patience;
        loop {
            match file.try_lock() {
                Ok(()) => {
                    return Ok(Self {
                        _folder: Some(file),
                    });
                }
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(TICK),
                Err(TryLockError::WouldBlock) => {
                    return Err(RecordError::RunBusy {
                        path: folder.to_owned(),
                    });
                }
                // Some network file systems lock no folders; there the sweep's own claims keep others away.
                Err(TryLockError::Error(error)) => {
                    tracing::debug!("{} cannot be locked: {error}", folder.display());
                    return Ok(Self { _folder: None });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_until_its_holder_is_gone() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("run");
        let first = RunLock::take(&folder, Duration::ZERO).unwrap();
        let error = RunLock::take(&folder, TICK).unwrap_err();
        assert!(matches!(error, RecordError::RunBusy { .. }), "{error}");
        drop(first);
        RunLock::take(&folder, Duration::ZERO).unwrap();
    }
}
