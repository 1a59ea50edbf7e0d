//! The exit codes of `lorahost`.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything that was asked for was done.
    Ok = 0,
    /// The machine or the program failed: a disk that is full, a worker that died, a bug. Or a plugin its check.
    Failure = 1,
    /// What the user gave is wrong: flags, experiment file, plugin, model or data. Nothing was run.
    Usage = 2,
    /// The experiment ended, and some of its runs failed; the others have results. A run that diverged did not fail.
    RunsFailed = 3,
    /// Stopped by Ctrl-C or a signal; finished runs are kept, and the same command goes on.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
