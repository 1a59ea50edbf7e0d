//! One run that was taken, until it is done: tried again where the cause of its failure may pass.

use std::{
    sync::{Arc, mpsc::Sender},
    time::{Duration, Instant},
};

use super::{
    Notice, Order, RunJob, SweepError,
    claim::Claim,
    parent::Floor,
    process::{After, Ending, Worker},
};
use crate::record::{
    Failure, Platform, Provenance, RunRecord, RunResult, RunState, RunWriter, discard_checkpoint,
    note_crash, state,
};

/// What became of a run that was taken.
pub(super) enum Brought {
    Done(Box<RunRecord>),
    /// Another process has it now.
    Taken,
    /// The sweep ends before it is done.
    Ended,
}

impl Floor<'_> {
    /// Brings the run `index`, which is claimed, to its end, with the worker that waits or a fresh one.
    pub(super) fn bring_to_its_end(
        &self,
        worker: usize,
        (index, claim): (usize, &Arc<Claim>),
        waiting: &mut Option<Worker>,
        notices: &Sender<Option<Notice>>,
    ) -> Result<Brought, SweepError> {
        let tell = |notice| {
            let _ = notices.send(Some(notice));
        };
        let job = &self.jobs[index];
        let care = self.setup.care;
        for attempt in 0.. {
            let process = match waiting.take() {
                Some(process) => process,
                None => match self.start_in_the_end(worker, notices)? {
                    Some(process) => process,
                    None => return Ok(Brought::Ended),
                },
            };
            if attempt == 0 {
                tell(Notice::Started { worker, index });
            }
            let started = Instant::now();
            let order = Order {
                job: job.clone(),
                checkpoint_every: care.checkpoint_every.map(|every| every.as_secs_f64()),
            };
            self.keeper.add(claim, process.handle());
            let ending = process.run(order, |event| {
                tell(Notice::Event {
                    worker,
                    index,
                    event,
                });
            });
            self.keeper.remove(claim);
            if !claim.renew() {
                if let Ending::Finished(After::Waits(process)) = ending {
                    *waiting = Some(process);
                }
                return Ok(Brought::Taken);
            }
            let record = match ending {
                Ending::Finished(after) => {
                    if let After::Waits(process) = after {
                        *waiting = Some(process);
                    }
                    read_finished(job)?
                }
                Ending::Stopped | Ending::Died(_) if self.stops_soon() => {
                    return Ok(Brought::Ended);
                }
                // Whoever sent a signal to the worker alone wanted it gone, not the run.
                Ending::Stopped => record_death(job, stopped(), started.elapsed())?,
                Ending::Died(failure) => record_death(job, failure, started.elapsed())?,
            };
            match &record.result.error {
                Some(failure) if failure.transient && attempt < care.retries => {
                    tracing::warn!("the run {} is tried again: {}", job.id, first_line(failure));
                    prepare_retry(job, failure)?;
                }
                _ => return Ok(Brought::Done(Box::new(record))),
            }
        }
        Ok(Brought::Ended)
    }

    /// A fresh worker, tried for as often as a run is; none if the sweep ends before. No run is to blame for a worker that
    /// something killed before it was ready.
    fn start_in_the_end(
        &self,
        worker: usize,
        notices: &Sender<Option<Notice>>,
    ) -> Result<Option<Worker>, SweepError> {
        let mut tries = 0;
        loop {
            match self.start(worker, notices) {
                Ok(process) => return Ok(Some(process)),
                Err(_) if self.stops_soon() => return Ok(None),
                Err(error) if tries == self.setup.care.retries => return Err(error),
                Err(error) => tracing::warn!("{error}; another one is started"),
            }
            tries += 1;
        }
    }
}

/// Counts the failure, and takes a checkpoint away in whose loading the worker died.
fn prepare_retry(job: &RunJob, failure: &Failure) -> Result<(), SweepError> {
    note_crash(&job.folder, failure)?;
    if failure
        .call
        .as_ref()
        .is_some_and(|call| call.phase == "load")
    {
        discard_checkpoint(&job.folder)?;
    }
    Ok(())
}

fn first_line(failure: &Failure) -> String {
    let text = failure.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

fn stopped() -> Failure {
    Failure {
        transient: true,
        ..Failure::new("a signal stopped the worker")
    }
}

/// The record of a run that the worker says is finished.
fn read_finished(job: &RunJob) -> Result<RunRecord, SweepError> {
    match state(&job.folder)? {
        RunState::Done(record) => Ok(*record),
        RunState::Absent => Err(lost(job, "its folder is gone")),
        RunState::Unfinished(why) => Err(lost(job, &why)),
    }
}

fn lost(job: &RunJob, why: &str) -> SweepError {
    SweepError::Worker(format!(
        "the run {} was reported as finished, but {why}",
        job.id
    ))
}

/// Completes, as failed, the run of a worker that died.
fn record_death(
    job: &RunJob,
    failure: Failure,
    duration: Duration,
) -> Result<RunRecord, SweepError> {
    let platform = Platform {
        device: job.device.to_string(),
        libtorch: None,
    };
    let provenance =
        Provenance::collect(&job.spec, platform, job.threads).with_revisions(&job.revisions);
    let result = RunResult::new(Err(failure), duration.as_secs_f64(), None, provenance);
    Ok(RunWriter::reopen(&job.folder, job.record())?.complete(result)?)
}
