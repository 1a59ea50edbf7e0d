//! Everything that can be wrong with a plugin file or a call of one.

use std::path::PathBuf;

use thiserror::Error;

use crate::printable::printable;

/// Why a plugin file cannot be used, or why a call of its component failed.
#[derive(Debug, Clone, Error)]
pub enum PluginError {
    #[error("cannot read plugin file {}: {reason}", path.display())]
    Read { path: PathBuf, reason: String },

    #[error("{} is not a lorahost plugin: {reason}", path.display())]
    NotAPlugin { path: PathBuf, reason: String },

    #[error(
        "plugin {} was built for ABI {found}, this host takes ABI {expected}: build it against the plugin API of \
         this version",
        path.display()
    )]
    Abi {
        path: PathBuf,
        found: u64,
        expected: u32,
    },

    #[error("cannot open plugin {}: {reason}", path.display())]
    Open { path: PathBuf, reason: String },

    #[error(
        "cannot open plugin {}: its manifest in the file and the one that its code gives differ",
        path.display()
    )]
    Manifests { path: PathBuf },

    #[error(
        "plugin file {} is not the one that the plan was made with (sha256 {found}, expected {expected})",
        path.display()
    )]
    Changed {
        path: PathBuf,
        found: String,
        expected: String,
    },

    #[error(
        "{kind} `{name}` is in two plugin files, {} and {}: remove one, or name the one you want with --plugin",
        first.display(),
        second.display()
    )]
    Duplicate {
        kind: String,
        name: String,
        first: PathBuf,
        second: PathBuf,
    },

    #[error("plugin {} has no {kind} `{name}`", path.display())]
    NoComponent {
        path: PathBuf,
        kind: String,
        name: String,
    },

    #[error("{component} of plugin {} needs what this host does not have: {missing}", path.display())]
    Requires {
        path: PathBuf,
        component: String,
        missing: String,
    },

    /// The component refused, panicked, or answered what cannot be used.
    #[error("{}: {component} failed in {phase}{}: {message}", path.display(), at(place))]
    Call {
        path: PathBuf,
        component: String,
        phase: String,
        place: String,
        message: String,
    },
}

fn at(place: &str) -> String {
    if place.is_empty() {
        String::new()
    } else {
        format!(" at {place}")
    }
}

/// An error with what caused it: of a library that does not open, the loader's own words are the cause.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    one_line(&text)
}

/// A message of somebody else without its line breaks, and harmless to a terminal.
pub(super) fn one_line(text: &str) -> String {
    printable(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}
