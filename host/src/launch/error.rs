//! What can go wrong with jobs on a cluster.

use std::io;

use crate::record::RecordError;

/// Why a sweep could not be launched, or a job not be spoken to.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error(
        "cannot start {program}: {source}; `--launcher slurm` needs Slurm's commands on the PATH of this machine"
    )]
    NoSlurm {
        program: &'static str,
        source: io::Error,
    },

    #[error("{program} refuses ({reason})")]
    Refused {
        program: &'static str,
        /// What it wrote, on one line.
        reason: String,
    },

    #[error("sbatch names no job: it wrote {found:?}")]
    NoJob { found: String },

    #[error(
        "cannot be written into a job script, because it holds a line end or a quotation mark: {text:?}"
    )]
    Text { text: String },

    #[error(transparent)]
    Record(#[from] RecordError),

    #[error(
        "job {job} is over, and {left} of {runs} runs are not done; what its tasks wrote is in {logs}; the same command goes on"
    )]
    Unfinished {
        job: String,
        left: usize,
        runs: usize,
        logs: String,
    },
}

impl LaunchError {
    /// Whether the user can mend it by other arguments.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Text { .. }
                | Self::Refused {
                    program: "sbatch",
                    ..
                }
        )
    }
}
