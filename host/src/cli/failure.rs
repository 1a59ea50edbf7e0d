//! Everything that can end a command, and the exit code that it means.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::exit::Exit;
use crate::check::{CheckError, ChildError};
use crate::data::DataError;
use crate::eval::EvalError;
use crate::export::ExportError;
use crate::generate::GenerateError;
use crate::hub::HubError;
use crate::kit::KitError;
use crate::launch::LaunchError;
use crate::model::ModelError;
use crate::plugins::PluginError;
use crate::record::RecordError;
use crate::report::page::ReportError;
use crate::spec::SpecError;
use crate::sweep::{PrepareError, StudyError, SweepError, WorkerError};
use crate::train::DeviceError;
use crate::trained::TrainedError;
use crate::verify::VerifyError;

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
    Study(#[from] StudyError),
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
    Launch(#[from] LaunchError),
    #[error(transparent)]
    Worker(#[from] WorkerError),
    #[error(transparent)]
    Generate(#[from] GenerateError),
    #[error(transparent)]
    Eval(Box<EvalError>),
    #[error(transparent)]
    Export(#[from] ExportError),
    #[error(transparent)]
    Trained(#[from] TrainedError),
    #[error(transparent)]
    Check(#[from] CheckError),
    #[error(transparent)]
    Child(#[from] ChildError),
    #[error(transparent)]
    Verify(#[from] VerifyError),
    #[error("cannot read {}: {source}", path.display())]
    Input { path: PathBuf, source: io::Error },
    #[error("the output folder {} has no plan yet: no sweep has begun in it", path.display())]
    NoPlan { path: PathBuf },
    #[error(
        "a search looks at the results of all runs: leave out --shard (several processes share a folder without it), or \
         search.strategy=bracket"
    )]
    ShardedSearch,
    #[error("cannot make a temporary folder: {0}")]
    Scratch(io::Error),
    #[error("cannot write JSON: {0}")]
    Json(serde_json::Error),
    #[error("cannot listen for signals: {0}")]
    Signals(io::Error),
    #[error("cannot find this program's own file: {0}")]
    OwnFile(io::Error),
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
}

impl From<EvalError> for Failure {
    fn from(error: EvalError) -> Self {
        Self::Eval(Box::new(error))
    }
}

impl Failure {
    /// What the user gave wrong is [`Exit::Usage`], all else [`Exit::Failure`].
    pub fn exit(&self) -> Exit {
        match self {
            Self::Prepare(
                PrepareError::Record(_) | PrepareError::Data(DataError::Write { .. }),
            )
            | Self::Kit(KitError::Io { .. } | KitError::Check(_))
            | Self::Verify(VerifyError::Failed { .. }) => Exit::Failure,
            Self::Model(error) | Self::Prepare(PrepareError::Model(error))
                if error.is_failure() =>
            {
                Exit::Failure
            }
            Self::Launch(error) if !error.is_usage() => Exit::Failure,
            Self::Generate(error) if error.is_failure() => Exit::Failure,
            Self::Eval(error) if error.is_failure() => Exit::Failure,
            Self::Export(error) if error.is_failure() => Exit::Failure,
            Self::Trained(error) if error.is_failure() => Exit::Failure,
            Self::Hub(error) | Self::Prepare(PrepareError::Hub(error)) if error.is_failure() => {
                Exit::Failure
            }
            Self::Spec(_)
            | Self::Plugin(_)
            | Self::Kit(_)
            | Self::Hub(_)
            | Self::Model(_)
            | Self::Study(_)
            | Self::Device(_)
            | Self::Launch(_)
            | Self::Generate(_)
            | Self::Eval(_)
            | Self::Export(_)
            | Self::Trained(_)
            | Self::Input { .. }
            | Self::NoPlan { .. }
            | Self::ShardedSearch
            | Self::Verify(_)
            | Self::NoRuns { .. }
            | Self::Report(ReportError::NotOurs { .. })
            | Self::Check(CheckError::Filter { .. })
            | Self::Prepare(_)
            | Self::Record(
                RecordError::NotOurs { .. }
                | RecordError::NoOutput { .. }
                | RecordError::NotAFolder { .. }
                | RecordError::Version { .. },
            ) => Exit::Usage,
            _ => Exit::Failure,
        }
    }
}
