//! Where log lines go: standard error, in the form and at the level that was asked for.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::args::{LogArgs, LogFormat};

/// Level and form of a worker's log, told by its parent.
pub const WORKER_LOG: &str = "LORAHOST_WORKER_LOG";

/// Starts logging. `RUST_LOG` goes before `-v` and `-q`; a worker does as its parent.
pub fn start(log: &LogArgs, worker: bool) {
    let told = std::env::var(WORKER_LOG).ok().filter(|_| worker);
    let level = match &told {
        Some(level) => level.parse().unwrap_or(LevelFilter::WARN),
        None => level(log),
    };
    let filter = EnvFilter::builder()
        .with_default_directive(level.into())
        .from_env_lossy();
    let lines = tracing_subscriber::fmt()
        // It would be said on standard error, and panic where that is what cannot be written to.
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal() && !worker)
        .with_writer(io::stderr);
    // A second subscriber cannot be set; the first one serves as well.
    let _ = match log.log_format {
        LogFormat::Json => lines.json().try_init(),
        LogFormat::Text => lines.without_time().try_init(),
    };
}

/// The level that the arguments mean.
pub fn level(log: &LogArgs) -> LevelFilter {
    match (log.quiet, log.verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) => LevelFilter::WARN,
        (false, 1) => LevelFilter::INFO,
        (false, _) => LevelFilter::DEBUG,
    }
}
