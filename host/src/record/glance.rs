//! A quick look at the folder of a run, which trusts its completion record.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use serde::Deserialize;

use super::folder::{DONE, METRICS, RESULT, SPEC, parse};
use super::{RecordError, Status, read_if_there};

/// What a look at a run's folder tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Glance {
    /// Nothing of the run is there.
    Absent,
    /// It was begun, and its metrics were last written then.
    Begun {
        written: Option<SystemTime>,
    },
    Done(Status),
}

/// Looks at a run's folder. Unlike [`state`](super::state) it reads one small file and checks no other, so that ten
/// thousand take a fraction of a second; a sweep goes by [`state`](super::state).
///
/// # Errors
/// [`RecordError::Io`], [`RecordError::Version`].
pub fn glance(folder: &Path) -> Result<Glance, RecordError> {
    #[derive(Deserialize)]
    struct Completion {
        status: Status,
    }
    let path = folder.join(DONE);
    if let Some(done) = read_if_there(&path)?
        && done.last() == Some(&b'\n')
    {
        match parse::<Completion>(&path, &done) {
            Ok(Completion { status }) => return Ok(Glance::Done(status)),
            // What cannot be read completes nothing.
            Err(RecordError::Json { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    if !folder.join(SPEC).is_file() {
        return Ok(Glance::Absent);
    }
    let metrics = fs::metadata(folder.join(METRICS));
    Ok(Glance::Begun {
        written: metrics.and_then(|metrics| metrics.modified()).ok(),
    })
}

/// What a run took.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Took {
    /// Wall-clock time of the whole run.
    pub seconds: f64,
    /// Steps that were made: fewer than planned where the run diverged early.
    pub steps: usize,
}

/// What a run that is done took, if its result can be read.
#[must_use]
pub fn took(folder: &Path) -> Option<Took> {
    let json = fs::read(folder.join(RESULT)).ok()?;
    serde_json::from_slice(&json).ok()
}
