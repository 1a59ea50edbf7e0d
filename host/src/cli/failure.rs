//! Everything that can end a command, and the exit code that it means.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::exit::Exit;
use crate::check::{CheckError, ChildError};
use crate::data::DataError;
use crate::generate::GenerateError;
use crate::hub::HubError;
use crate::kit::KitError;
use crate::model::ModelError;
use crate::plugins::PluginError;
use crate::record::RecordError;
use crate::report::page::ReportError;
use crate::spec::SpecError;
use crate::sweep::{PrepareError, SweepError, WorkerError};
use crate::train::DeviceError;

/// An error that ended a command.
#[derive(Debug, Error)]
pub enum Failure {
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    Plugin(#[from] PluginError),
    #[error(transparent)]
    Kit(#[from] KitError),
    #[error(transparent)]
    Hub(#[from] HubError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Report(#[from] ReportError),
    #[error(
        "{} holds no runs yet; --watch waits for them",
        path.display()
    )]
    NoRuns { path: PathBuf },
    #[error(transparent)]
    Sweep(#[from] SweepError),
    #[error(transparent)]
    Worker(#[from] WorkerError),
    #[error(transparent)]
    Generate(#[from] GenerateError),
    #[error(transparent)]
    Check(#[from] CheckError),
    #[error(transparent)]
    Child(#[from] ChildError),
    #[error("cannot read {}: {source}", path.display())]
    Input { path: PathBuf, source: io::Error },
    #[error("cannot listen for signals: {0}")]
    Signals(io::Error),
    #[error("cannot find this program's own file: {0}")]
    OwnFile(io::Error),
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
}

impl Failure {
    /// What the user gave wrong is [`Exit::Usage`], all else [`Exit::Failure`].
    pub fn exit(&self) -> Exit {
        match self {
            Self::Prepare(
                PrepareError::Record(_)
                | PrepareError::Data(DataError::Write { .. })
                | PrepareError::Model(ModelError::Torch(_)),
            )
            | Self::Kit(KitError::Io { .. } | KitError::Check(_))
            | Self::Model(ModelError::Torch(_)) => Exit::Failure,
            Self::Generate(error) if error.is_failure() => Exit::Failure,
            Self::Hub(error) | Self::Prepare(PrepareError::Hub(error)) if error.is_failure() => {
                Exit::Failure
            }
            Self::Spec(_)
            | Self::Plugin(_)
            | Self::Kit(_)
            | Self::Hub(_)
            | Self::Model(_)
            | Self::Device(_)
            | Self::Generate(_)
            | Self::Input { .. }
            | Self::NoRuns { .. }
            | Self::Report(ReportError::NotOurs { .. })
            | Self::Check(CheckError::Filter { .. })
            | Self::Prepare(_)
            | Self::Record(
                RecordError::NotOurs { .. }
                | RecordError::NoOutput { .. }
                | RecordError::NotAFolder { .. }
                | RecordError::Busy { .. }
                | RecordError::Newer { .. },
            ) => Exit::Usage,
            _ => Exit::Failure,
        }
    }
}
