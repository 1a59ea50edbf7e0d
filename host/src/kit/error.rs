//! Everything that can go wrong with a new crate, an installation or a lock.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::check::CheckError;
use crate::plugins::PluginError;

/// Why a crate was not made, a plugin not installed, a lock not written or not kept to.
#[derive(Debug, Error)]
pub enum KitError {
    #[error("`{name}` is no name for a crate: small letters, digits and _, a letter first")]
    Name { name: String },

    #[error("{} is there already: choose another name, or --path for another place", path.display())]
    Exists { path: PathBuf },

    #[error("{} holds no plugin API: there is no Cargo.toml of `lorahost-plugin-api` in it", path.display())]
    NoApi { path: PathBuf },

    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },

    #[error(
        "cargo cannot be started: {source}; a plugin is built with Rust, see https://rustup.rs"
    )]
    NoCargo { source: io::Error },

    #[error("`{command}` failed: {reason}")]
    Cargo { command: String, reason: String },

    #[error("{} is no crate of a plugin: {reason}", manifest.display())]
    NotAPlugin { manifest: PathBuf, reason: String },

    #[error("there is no folder for installed plugins: set XDG_DATA_HOME or HOME")]
    NoDataFolder,

    #[error(
        "{} is there already and comes from package `{installed}`, not `{package}`: remove it first",
        path.display()
    )]
    Occupied {
        path: PathBuf,
        installed: String,
        package: String,
    },

    #[error(transparent)]
    Plugin(#[from] PluginError),

    #[error(transparent)]
    Check(#[from] CheckError),

    #[error(
        "{package} does not pass `lorahost plugin check`, --no-check installs it all the same: {findings}"
    )]
    Unsound { package: String, findings: String },

    #[error("{} is not there: `lorahost plugin lock` writes it", path.display())]
    NoLock { path: PathBuf },

    #[error("{} cannot be read: {reason}", path.display())]
    BadLock { path: PathBuf, reason: String },

    #[error(
        "plugin file {} is not in {}: its sha256 is {sha256}; `lorahost plugin lock` takes it in",
        file.display(),
        lock.display()
    )]
    NotLocked {
        file: PathBuf,
        sha256: String,
        lock: PathBuf,
    },
}

impl KitError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
