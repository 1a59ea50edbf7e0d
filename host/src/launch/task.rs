//! This process as a task of an array job.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::{consts::SIGUSR1, flag};

use super::{LaunchError, Slurm};

/// A task that a launched script started.
#[derive(Debug)]
pub struct Task {
    /// What Slurm calls it: `ARRAY_TASK`.
    id: String,
    /// Raised some time before the time limit.
    limit: Arc<AtomicBool>,
}

impl Task {
    /// Set by the script.
    pub const VARIABLE: &'static str = "LORAHOST_SLURM_TASK";

    /// This process's task, if it is one; from now on SIGUSR1 means that its time is up.
    ///
    /// # Errors
    /// When the system refuses to register a handler.
    pub fn of_this_process() -> io::Result<Option<Self>> {
        let variable = |name: &str| std::env::var(name).ok();
        if variable(Self::VARIABLE).is_none() {
            return Ok(None);
        }
        let Some(id) = id(variable) else {
            return Ok(None);
        };
        let limit = Arc::new(AtomicBool::new(false));
        flag::register(SIGUSR1, Arc::clone(&limit))?;
        Ok(Some(Self { id, limit }))
    }

    /// Processor cores of the task.
    #[must_use]
    pub fn cores(&self) -> Option<usize> {
        std::env::var("SLURM_CPUS_PER_TASK").ok()?.parse().ok()
    }

    /// Whether the time limit is near.
    #[must_use]
    pub fn time_is_up(&self) -> bool {
        self.limit.load(Ordering::SeqCst)
    }

    /// Has Slurm end the task and start it again later.
    ///
    /// # Errors
    /// [`LaunchError`].
    pub fn requeue(&self) -> Result<(), LaunchError> {
        Slurm.requeue(&self.id)
    }
}

fn id(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let of_array = || {
        let (array, task) = (
            variable("SLURM_ARRAY_JOB_ID")?,
            variable("SLURM_ARRAY_TASK_ID")?,
        );
        Some(format!("{array}_{task}"))
    };
    of_array().or_else(|| variable("SLURM_JOB_ID"))
}

#[cfg(test)]
mod tests {
    use super::id;

    #[test]
    fn a_task_is_called_by_its_array_or_by_its_job() {
        let of = |variables: &[(&str, &str)]| {
            id(|name| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        let job = ("SLURM_JOB_ID", "13");
        let array = ("SLURM_ARRAY_JOB_ID", "12");
        let task = ("SLURM_ARRAY_TASK_ID", "1");
        assert_eq!(of(&[job, array, task]).unwrap(), "12_1");
        assert_eq!(of(&[job]).unwrap(), "13");
        assert_eq!(of(&[]), None);
    }
}
