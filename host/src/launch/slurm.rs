//! Slurm's commands.

use std::path::Path;
use std::process::{Command, Output};

use super::LaunchError;

/// Slurm as its commands on the PATH show it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Slurm;

impl Slurm {
    /// Submits a script, and returns the number of the job.
    ///
    /// # Errors
    /// [`LaunchError::NoSlurm`]; [`LaunchError::Refused`] with Slurm's own words.
    pub fn submit(self, script: &Path) -> Result<String, LaunchError> {
        let script = script.display().to_string();
        let printed = ask("sbatch", &["--parsable", &script])?;
        // `JOB`, or `JOB;CLUSTER`.
        let job = printed.trim().split(';').next().unwrap_or_default();
        if job.is_empty() || !job.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(LaunchError::NoJob { found: printed });
        }
        Ok(job.to_owned())
    }

    /// Whether tasks of a job wait, run, or are queued again.
    ///
    /// # Errors
    /// [`LaunchError::NoSlurm`]; [`LaunchError::Refused`] where Slurm does not answer.
    pub fn is_queued(self, job: &str) -> Result<bool, LaunchError> {
        match ask("squeue", &["--noheader", "--jobs", job, "--format", "%i"]) {
            Ok(printed) => Ok(!printed.trim().is_empty()),
            // A job that ended a while ago is forgotten.
            Err(LaunchError::Refused { reason, .. }) if reason.contains("Invalid job id") => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Ends a running job and puts it back into the queue.
    ///
    /// # Errors
    /// As [`Slurm::is_queued`].
    pub fn requeue(self, job: &str) -> Result<(), LaunchError> {
        ask("scontrol", &["requeue", job]).map(drop)
    }
}

fn ask(program: &'static str, arguments: &[&str]) -> Result<String, LaunchError> {
    let output = Command::new(program).args(arguments).output();
    let Output {
        status,
        stdout,
        stderr,
    } = output.map_err(|source| LaunchError::NoSlurm { program, source })?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&stderr);
    let lines: Vec<&str> = words.lines().map(str::trim).collect();
    let reason = if lines.is_empty() {
        status.to_string()
    } else {
        lines.join("; ")
    };
    Err(LaunchError::Refused { program, reason })
}
