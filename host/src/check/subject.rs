//! What a test gets, and what it answers.

use std::path::PathBuf;

use lorahost_plugin_api::protocol::{ComponentManifest, Parameter};
use serde_json::{Map, Value};
use tch::TchError;

use crate::plugins::{Component, Library, PluginError, PluginFile, live_handles};
use crate::spec::{Selection, default_of};

/// A component under test, or the file as a whole.
pub struct Subject {
    path: PathBuf,
    component: Option<ComponentManifest>,
}

/// How a test ended that came to its end.
pub type Verdict = Result<(), Stop>;

/// Why a test did not pass.
#[derive(Debug, PartialEq)]
pub enum Stop {
    Failed(String),
    /// It does not apply.
    Skipped(String),
}

impl Subject {
    pub fn new(path: PathBuf, component: Option<ComponentManifest>) -> Self {
        Self { path, component }
    }

    pub fn file(&self) -> Result<PluginFile, PluginError> {
        PluginFile::read(&self.path)
    }

    /// What the file says of the component.
    ///
    /// # Errors
    /// For the file as a whole.
    pub fn manifest(&self) -> Result<&ComponentManifest, Stop> {
        let component = self.component.as_ref();
        component.ok_or_else(|| failed("this test is for a component"))
    }

    /// Every parameter with its default.
    pub fn defaults(&self) -> Result<Map<String, Value>, Stop> {
        let parameters = self.manifest()?.parameters.iter();
        let with_default = |parameter: &Parameter| (parameter.name.clone(), default_of(parameter));
        Ok(parameters.map(with_default).collect())
    }

    /// A new component with these parameters.
    pub fn create_with(&self, parameters: &Map<String, Value>) -> Result<Component, Stop> {
        let ComponentManifest { kind, name, .. } = self.manifest()?;
        let library = Library::open(self.file()?)?;
        Ok(Component::create(library, kind, name, parameters)?)
    }

    /// A new component with its defaults.
    pub fn create(&self) -> Result<Component, Stop> {
        self.create_with(&self.defaults()?)
    }

    /// The component as a run's spec names it.
    pub fn selection(&self) -> Result<Selection, Stop> {
        let file = self.file()?;
        Ok(Selection {
            name: self.manifest()?.name.clone(),
            parameters: self.defaults()?,
            sha256: file.sha256,
            file: file.path,
        })
    }
}

pub fn failed(message: impl Into<String>) -> Stop {
    Stop::Failed(message.into())
}

pub fn skipped(message: impl Into<String>) -> Stop {
    Stop::Skipped(message.into())
}

/// Fails with a message unless `holds`.
pub fn ensure(holds: bool, message: impl FnOnce() -> String) -> Verdict {
    if holds {
        Ok(())
    } else {
        Err(failed(message()))
    }
}

/// Whether all of what `exercise` takes is given back.
pub fn leaves_nothing(exercise: impl FnOnce() -> Verdict) -> Verdict {
    let before = live_handles();
    exercise()?;
    let left = live_handles().saturating_sub(before);
    ensure(left == 0, || {
        format!("{left} tensor handles were not dropped with the component")
    })
}

/// An error without what every finding of the component has in common: file and component.
pub fn words(error: &PluginError) -> String {
    match error {
        PluginError::Call {
            phase,
            place,
            message,
            ..
        } if place.is_empty() => format!("in {phase}: {message}"),
        PluginError::Call {
            phase,
            place,
            message,
            ..
        } => format!("in {phase} at {place}: {message}"),
        other => other.to_string(),
    }
}

/// Whether the component answered an error of its own making, which is its right, and did not panic.
pub fn is_refusal(error: &PluginError) -> bool {
    matches!(error, PluginError::Call { message, .. } if !message.starts_with("panicked"))
}

impl From<PluginError> for Stop {
    fn from(error: PluginError) -> Self {
        Self::Failed(words(&error))
    }
}

impl From<TchError> for Stop {
    fn from(error: TchError) -> Self {
        let text = error.to_string();
        Self::Failed(text.lines().next().unwrap_or_default().to_owned())
    }
}
