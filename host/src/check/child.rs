//! The child's side: one component, some tests, a line of JSON for each.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::thread;
use std::time::Instant;

use signal_hook::low_level;
use thiserror::Error;

use super::case::Case;
use super::report::{Finding, Status};
use super::runner::FILE;
use super::subject::{Stop, Subject};
use crate::plugins::{PluginError, PluginFile};
use crate::sweep::take_channels;

/// Exit code of a child whose parent went away.
const ORPHANED: i32 = 1;

/// Why a child did not do what it was told.
#[derive(Debug, Error)]
pub enum ChildError {
    #[error("cannot talk to the parent process: {0}")]
    Parent(#[from] io::Error),
    #[error(transparent)]
    Plugin(#[from] PluginError),
    #[error("there is no test `{0}`")]
    Unknown(String),
}

/// Does these tests of `component`, `KIND/NAME` or `file`, and tells the parent of each on standard output, which
/// afterwards is where standard error is. Ends with the first test that is neither passed nor skipped: what it left
/// behind is no ground for another one.
///
/// # Errors
/// When the parent cannot be told, the file cannot be read, or there is no such test.
pub fn serve(file: &Path, component: &str, tests: &[String]) -> Result<(), ChildError> {
    let (input, mut output) = take_channels()?;
    follow(input);
    tch::set_num_threads(1);
    let manifest = PluginFile::read(file)?.manifest;
    let mut components = manifest.components.into_iter();
    let found = components.find(|found| format!("{}/{}", found.kind, found.name) == component);
    if found.is_none() && component != FILE {
        return Err(ChildError::Unknown(component.to_owned()));
    }
    let subject = Subject::new(file.to_owned(), found);
    for id in tests {
        let case = Case::named(id).ok_or_else(|| ChildError::Unknown(id.clone()))?;
        let start = Instant::now();
        let (status, message) = match (case.test)(&subject) {
            Ok(()) => (Status::Passed, None),
            Err(Stop::Failed(message)) => (Status::Failed, Some(message)),
            Err(Stop::Skipped(message)) => (Status::Skipped, Some(message)),
        };
        let finding = Finding {
            component: component.to_owned(),
            test: id.clone(),
            status,
            message,
            seconds: start.elapsed().as_secs_f64(),
        };
        let mut line = serde_json::to_vec(&finding).map_err(io::Error::from)?;
        line.push(b'\n');
        output.write_all(&line)?;
        if status == Status::Failed {
            break;
        }
    }
    Ok(())
}

/// Ends this process when the parent does, whatever a plugin is at.
fn follow(mut input: File) {
    thread::spawn(move || {
        let mut nothing = [0];
        while input.read(&mut nothing).is_ok_and(|count| count > 0) {}
        low_level::exit(ORPHANED);
    });
}
