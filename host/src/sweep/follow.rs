//! A sweep whose runs are all made by other processes.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{
    Notice, Observer, RunJob, Stop, SweepError, SweepSummary,
    claim::refresh,
    parent::{Before, done_before, in_cell, is_same},
};
use crate::record::{RunState, Status, state};

/// How often the wish to stop is looked at.
const TICK: Duration = Duration::from_millis(50);

/// Adds what other processes have done meanwhile to a sweep that left them runs; says whether there was any.
///
/// # Errors
/// [`SweepError`] if a record cannot be read.
pub fn catch_up(summary: &mut SweepSummary, jobs: &[RunJob]) -> Result<bool, SweepError> {
    let mut found = false;
    for (record, job) in summary.records.iter_mut().zip(jobs) {
        if record.is_none()
            && let RunState::Done(done) = state(&job.folder)?
            && done.result.status != Status::Failed
        {
            *record = Some(in_cell(*done, job));
            found = true;
        }
    }
    Ok(found)
}

/// Waits for the runs of a plan until all are done, or `alive` says that nobody makes them any more; looks `every` so
/// often. Failures that were there before are waited for to be made again.
///
/// # Errors
/// [`SweepError`] if a record cannot be read.
pub fn follow(
    jobs: &[RunJob],
    every: Duration,
    alive: &mut dyn FnMut() -> bool,
    stop: &Stop,
    observer: &mut dyn Observer,
) -> Result<SweepSummary, SweepError> {
    let Before {
        mut records,
        failed,
    } = done_before(jobs, observer)?;
    let already_done = records.iter().flatten().count();
    while records.iter().any(Option::is_none) && !stop.requested() {
        // Asked first: what the last of them left is seen below.
        let alive = alive();
        for (index, job) in jobs.iter().enumerate() {
            if records[index].is_some() {
                continue;
            }
            if !alive && job.folder.is_dir() {
                // A folder that cannot be written to can be read all the same.
                let _ = refresh(&job.folder);
            }
            let RunState::Done(record) = state(&job.folder)? else {
                continue;
            };
            if failed[index]
                .as_ref()
                .is_some_and(|failed| is_same(failed, &record))
            {
                continue;
            }
            // Whoever makes it tries it again, as long as there is somebody.
            let error = record.result.error.as_ref();
            if alive && error.is_some_and(|error| error.transient) {
                continue;
            }
            let record = Box::new(in_cell(*record, job));
            records[index] = Some(record.as_ref().clone());
            observer.notice(&Notice::AlreadyDone { index, record });
        }
        if !alive {
            break;
        }
        let looked = Instant::now();
        while looked.elapsed() < every && !stop.requested() {
            thread::sleep(TICK);
        }
    }
    let interrupted = stop.requested() && records.iter().any(Option::is_none);
    Ok(SweepSummary {
        records,
        already_done,
        interrupted,
    })
}
