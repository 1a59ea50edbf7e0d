//! `lorahost.lock`: the plugin files that may be opened.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::KitError;
use crate::atomic;
use crate::plugins::PluginFile;
use crate::spec::Plan;

const HEADER: &str =
    "# Plugin files that `lorahost --locked` opens; `lorahost plugin lock` writes this file.\n\n";

/// The files that were locked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Of the file's format.
    version: u32,
    #[serde(default)]
    plugin: Vec<LockedFile>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedFile {
    /// Name of its crate.
    pub name: String,
    pub version: String,
    /// Of the file, in hexadecimal: what decides.
    pub sha256: String,
    /// What it holds, such as `init/gaussian`.
    pub components: Vec<String>,
}

impl Lock {
    /// Name of the file in the working folder.
    pub const FILE: &str = "lorahost.lock";

    /// The version of the format that this program writes and the newest that it reads.
    const VERSION: u32 = 1;

    /// A lock of these files, in the order of their names; the same content counts once.
    pub fn of<'a>(files: impl Iterator<Item = &'a PluginFile>) -> Self {
        let locked = files.map(|file| LockedFile {
            name: file.manifest.package.clone(),
            version: file.manifest.version.clone(),
            sha256: file.sha256.clone(),
            components: (file.manifest.components.iter())
                .map(|component| format!("{}/{}", component.kind, component.name))
                .collect(),
        });
        Self {
            version: Self::VERSION,
            plugin: locked.collect::<BTreeSet<_>>().into_iter().collect(),
        }
    }

    /// Reads the file.
    ///
    /// # Errors
    /// When it is not there, malformed, or of a newer version.
    pub fn read(path: &Path) -> Result<Self, KitError> {
        let bad = |reason: String| KitError::BadLock {
            path: path.to_owned(),
            reason,
        };
        let text = fs::read_to_string(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => KitError::NoLock {
                path: path.to_owned(),
            },
            _ => bad(source.to_string()),
        })?;
        let lock: Self = toml::from_str(&text).map_err(|error| bad(error.message().to_owned()))?;
        if lock.version != Self::VERSION {
            return Err(bad(format!(
                "its format is of version {}, this program knows {}",
                lock.version,
                Self::VERSION
            )));
        }
        Ok(lock)
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), KitError> {
        let text = toml::to_string_pretty(self).map_err(|error| KitError::BadLock {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        let text = HEADER.to_owned() + &text;
        atomic::write(path, |file| file.write_all(text.as_bytes()))
            .map_err(KitError::io("write", path))
    }

    fn allows(&self, sha256: &str) -> bool {
        self.plugin.iter().any(|file| file.sha256 == sha256)
    }

    /// Whether all files that the runs of a plan would open are in the lock at `path`.
    ///
    /// # Errors
    /// [`KitError::NotLocked`] of the first that is not.
    pub fn check(&self, plan: &Plan, path: &Path) -> Result<(), KitError> {
        let mut selections = plan.runs.iter().flat_map(|run| run.spec.selections());
        match selections.find(|(_, selection)| !self.allows(&selection.sha256)) {
            None => Ok(()),
            Some((_, selection)) => Err(KitError::NotLocked {
                file: selection.file.clone(),
                sha256: selection.sha256.clone(),
                lock: path.to_owned(),
            }),
        }
    }

    #[must_use]
    pub fn files(&self) -> &[LockedFile] {
        &self.plugin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock() -> Lock {
        Lock {
            version: Lock::VERSION,
            plugin: vec![LockedFile {
                name: "gaussian_init".to_owned(),
                version: "0.1.0".to_owned(),
                sha256: "ab".repeat(32),
                components: vec!["init/gaussian".to_owned()],
            }],
        }
    }

    #[test]
    fn a_lock_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(Lock::FILE);
        assert!(matches!(Lock::read(&path), Err(KitError::NoLock { .. })));
        lock().write(&path).unwrap();
        let read = Lock::read(&path).unwrap();
        assert_eq!(read, lock());
        assert!(read.allows(&"ab".repeat(32)) && !read.allows(&"cd".repeat(32)));
    }

    #[test]
    fn a_lock_of_another_form_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(Lock::FILE);
        for text in ["version = 2", "version = 1\nplugins = 3", "not toml", ""] {
            fs::write(&path, text).unwrap();
            assert!(
                matches!(Lock::read(&path), Err(KitError::BadLock { .. })),
                "{text}"
            );
        }
    }
}
