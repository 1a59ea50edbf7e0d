//! Runs that several processes make: shards, waiting, and the array job of a cluster.

use std::io::{self, Write as _};
use std::num::NonZeroUsize;
use std::time::Duration;
use std::{env, iter};

use clap::{Args, ValueEnum};

use super::args::seconds;
use super::failure::Failure;
use crate::launch::{ArrayJob, Script, Slurm, Task, submit_or_join};
use crate::record::OutputFolder;
use crate::spec::Execution;
use crate::sweep::{
    LEASE, Observer, Part, RunJob, Shard, Sharing, Silent, Stop, SweepSummary, follow,
};

/// Tasks of an array job where nothing is said.
const TASKS: NonZeroUsize = NonZeroUsize::new(4).expect("not zero");

/// How often Slurm is asked for a job, and its runs are looked at.
const ASK: Duration = Duration::from_secs(5);

/// How the runs are shared with other processes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Several machines")]
pub struct ShareArgs {
    /// Make only the I-th of N parts of the runs, from 1/N to N/N
    #[arg(long, value_name = "I/N")]
    pub shard: Option<Shard>,
    /// End where all runs that are left are made by other processes, or once the job is submitted
    #[arg(long)]
    pub no_wait: bool,
    /// Without a sign of life for so long, a process of another machine counts as gone
    #[arg(long, value_name = "SECONDS", default_value_t = LEASE.as_secs_f64(), value_parser = seconds)]
    pub lease: f64,
    /// Have the runs made by an array job of a cluster, and wait for it
    #[arg(long, value_name = "NAME", conflicts_with = "shard")]
    pub launcher: Option<Launcher>,
    /// Tasks of the array job, which share the runs
    #[arg(long, value_name = "N", default_value_t = TASKS, requires = "launcher")]
    pub tasks: NonZeroUsize,
    /// Option of sbatch, such as --slurm-option=--partition=long; once for each
    #[arg(
        long,
        value_name = "OPTION",
        requires = "launcher",
        allow_hyphen_values = true
    )]
    pub slurm_option: Vec<String>,
    /// Put a task that reaches its time limit back into the queue, until all runs are done
    #[arg(long, requires = "launcher")]
    pub requeue: bool,
}

impl Default for ShareArgs {
    fn default() -> Self {
        Self {
            shard: None,
            no_wait: false,
            lease: LEASE.as_secs_f64(),
            launcher: None,
            tasks: TASKS,
            slurm_option: Vec::new(),
            requeue: false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Launcher {
    Slurm,
}

impl ShareArgs {
    /// How this process, which may be a task of an array job, shares the runs.
    pub fn sharing(&self, task: Option<&Task>) -> Sharing {
        let place = || Shard::of_slurm_array(|name| env::var(name).ok());
        let part = match (self.shard, place()) {
            (Some(shard), _) => Part::Only(shard),
            (None, Some(shard)) => {
                tracing::info!(
                    "a task of an array job of Slurm: begins with shard {shard} of the runs"
                );
                Part::First(shard)
            }
            (None, None) => Part::All,
        };
        Sharing {
            lease: Duration::from_secs_f64(self.lease),
            part,
            // A task that has nothing to do gives its machine back.
            wait: !self.no_wait && task.is_none(),
        }
    }

    /// Whether this process is to launch a job, and not a task of one.
    pub fn launches(&self, task: Option<&Task>) -> bool {
        self.launcher.is_some() && task.is_none()
    }

    /// Has the array job make the runs, and waits for its end unless it is not to.
    ///
    /// # Errors
    /// [`LaunchError`]; a record that cannot be read.
    pub fn launch(
        &self,
        jobs: &[RunJob],
        execution: &Execution,
        output: &OutputFolder,
        stop: &Stop,
        observer: &mut dyn Observer,
    ) -> Result<Launched, Failure> {
        let before = follow(jobs, ASK, &mut || false, &Stop::new(), &mut Silent)?;
        if before.left() == 0 {
            return Ok(Launched::Over(before, None));
        }
        let script = self.script(before.left(), execution)?;
        let job = submit_or_join(output.path(), Slurm, &script)?;
        let _ = writeln!(io::stderr(), "lorahost: {job}");
        if self.no_wait {
            return Ok(Launched::Left);
        }
        let mut alive = || {
            Slurm.is_queued(&job.id).unwrap_or_else(|error| {
                // A job does not end because its controller is restarted.
                tracing::warn!("{error}");
                true
            })
        };
        let summary = follow(jobs, ASK, &mut alive, stop, observer)?;
        if summary.interrupted {
            tracing::warn!(
                "job {0} goes on; the same command waits for it again, `scancel {0}` ends it",
                job.id
            );
        }
        Ok(Launched::Over(summary, Some(job)))
    }

    /// A script whose tasks do what this process was asked to.
    fn script(&self, runs: usize, execution: &Execution) -> Result<Script, Failure> {
        let own = env::current_exe().map_err(Failure::OwnFile)?;
        let folder = env::current_dir().map_err(|source| Failure::Input {
            path: ".".into(),
            source,
        })?;
        let arguments = env::args().skip(1);
        Ok(Script {
            command: iter::once(own.display().to_string())
                .chain(arguments)
                .collect(),
            folder,
            tasks: self.tasks.get().min(runs),
            cpus_per_task: execution.threads * execution.workers.unwrap_or(1),
            requeue: self.requeue,
            options: self.slurm_option.clone(),
        })
    }
}

/// What came of a launch.
pub enum Launched {
    /// All runs are done, or the job has ended, or this process was interrupted.
    Over(SweepSummary, Option<ArrayJob>),
    /// The job goes on without this process.
    Left,
}
