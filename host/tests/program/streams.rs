//! Standard output and standard error: a full disk, a reader that went away, a log that is JSON.

use std::fs::File;
use std::process::{Command, Stdio};

use crate::sandbox::{Sandbox, small};

fn keys() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lorahost"));
    command.arg("keys").stderr(Stdio::piped());
    command
}

#[test]
fn a_full_standard_output_is_an_error() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let outcome = keys().stdout(full).output().unwrap();
    assert_eq!(outcome.status.code(), Some(1));
    let error = String::from_utf8(outcome.stderr).unwrap();
    assert!(
        error.starts_with("lorahost: cannot write to standard output: "),
        "{error}"
    );
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[test]
fn a_reader_that_went_away_is_none() {
    let mut child = keys().stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let outcome = child.wait_with_output().unwrap();
    assert_eq!(outcome.status.code(), Some(0));
    assert!(outcome.stderr.is_empty());
}

#[test]
fn a_json_log_is_json_throughout() {
    let sandbox = Sandbox::new();
    let outcome = sandbox.lorahost(&small("--log-format json -v"));
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    // The sandbox has masked what differs from run to run, so the lines cannot be parsed any more.
    let objects = outcome
        .err
        .lines()
        .all(|line| line.starts_with("{\"timestamp\":") && line.ends_with('}'));
    assert!(objects, "{}", outcome.err);
    let done = outcome.err.contains("\"message\":\"run done\"");
    assert!(done, "{}", outcome.err);
}
