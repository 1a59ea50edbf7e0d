//! What can go wrong with records.

use std::{io, path::PathBuf};

/// Why a record could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },

    #[error(
        "{} is not what lorahost wrote there: {source}; remove it, and the next sweep makes it anew",
        path.display()
    )]
    Json {
        path: PathBuf,
        source: serde_json::Error,
    },

    #[error(
        "record version {found} of {} is {} than this lorahost reads ({known}); use the lorahost that wrote it, or \
         another output folder",
        path.display(),
        if found > known { "newer" } else { "older" }
    )]
    Version {
        path: PathBuf,
        found: u32,
        known: u32,
    },

    #[error(
        "the output folder {} is not empty and was not made by lorahost (it holds no {marker}); name a new or empty \
         folder",
        path.display()
    )]
    NotOurs { path: PathBuf, marker: &'static str },

    #[error(
        "{} is no output folder of lorahost (it holds no {marker}); name the folder that a sweep was given as --output",
        path.display()
    )]
    NoOutput { path: PathBuf, marker: &'static str },

    #[error("the output path {} is not a folder; name a new or empty folder", path.display())]
    NotAFolder { path: PathBuf },

    #[error("another process is still at the run in {}; wait for it to end", path.display())]
    RunBusy { path: PathBuf },
}

impl RecordError {
    /// Adds what was tried, and on which path, to an input/output error.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// Adds the path to a JSON error.
    pub(crate) fn json(path: impl Into<PathBuf>) -> impl FnOnce(serde_json::Error) -> Self {
        let path = path.into();
        move |source| Self::Json { path, source }
    }
}
