//! The parent process: hands out runs, gathers records.

use std::{
    collections::HashSet,
    process::Command,
    sync::{
        Mutex,
        mpsc::{self, Sender},
    },
    thread,
    time::Duration,
};

use super::{
    Notice, Observer, RunJob, Sharing, Stop,
    attempt::Brought,
    claim::tidy,
    keeper::Keeper,
    process::{Handle, Worker, locked},
    queue::{Next, Queue},
};
use crate::atomic::folder_of;
use crate::record::{RecordError, RunRecord, RunState, Status, state};
use crate::train::VISIBLE;

/// How often the wish to stop is looked at.
const TICK: Duration = Duration::from_millis(50);

/// How workers are started.
#[derive(Debug, Clone)]
pub struct WorkerSetup {
    /// Program and arguments: this program's own file, and `worker`.
    pub command: Vec<String>,
    /// Added to the environment.
    pub environment: Vec<(String, String)>,
    /// Processes at a time; no more are started than there are runs.
    pub workers: usize,
    /// Threads that each of them computes with.
    pub threads: usize,
    /// GPUs by their `CUDA_VISIBLE_DEVICES`, of which each worker sees one, in turn; without any, a worker sees what this
    /// process sees.
    pub gpus: Vec<String>,
    pub care: Care,
    /// How the runs are shared with other processes.
    pub sharing: Sharing,
}

/// What is done against the loss of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Care {
    /// Time between checkpoints of a run; none are made without, but for one when a sweep is stopped.
    pub checkpoint_every: Option<Duration>,
    /// A worker that is silent for so long is taken for dead.
    pub heartbeat: Option<Duration>,
    /// How often a run is tried again that failed for a reason that may pass.
    pub retries: usize,
}

/// Settings of a worker's memory, unless the environment has others.
///
/// mimalloc, the program's allocator, hands no free memory back: what a step frees is the next step's, and to have it
/// cleared anew takes 5% of the time. oneDNN keeps the code of 128 products and not of 1024, a few hundred MB: each
/// batch has another number of tokens, and only its own layers share their code.
const MEMORY: [(&str, &str); 2] = [
    ("MIMALLOC_PURGE_DELAY", "-1"),
    ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128"),
];

impl WorkerSetup {
    /// The command of the worker at that place.
    pub(super) fn command(&self, worker: usize) -> Command {
        let mut parts = self.command.iter();
        let mut command = Command::new(parts.next().map_or("", String::as_str));
        let threads = self.threads.to_string();
        command
            .args(parts)
            .envs(self.environment.iter().map(|(key, value)| (key, value)));
        // A number of threads that MKL chooses anew for each product makes repeats differ in the last bits.
        command.env("MKL_DYNAMIC", "FALSE");
        for (variable, value) in MEMORY {
            if std::env::var_os(variable).is_none() {
                command.env(variable, value);
            }
        }
        for variable in ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"] {
            command.env(variable, &threads);
        }
        if !self.gpus.is_empty() {
            command.env(VISIBLE, &self.gpus[worker % self.gpus.len()]);
        }
        command
    }
}

/// Why a sweep could not go on. Runs that were done stay done.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    #[error("cannot start a worker process: {0}")]
    Worker(String),
    #[error("the plan holds the run {id} twice")]
    Twice { id: String },
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// What a sweep brought.
#[derive(Debug)]
pub struct SweepSummary {
    /// In plan order; absent for runs that an interruption kept from being done, or that are left to other processes.
    pub records: Vec<Option<RunRecord>>,
    /// Runs that were done before and were not repeated.
    pub already_done: usize,
    pub interrupted: bool,
}

impl SweepSummary {
    /// Runs that are done with this status.
    #[must_use]
    pub fn count(&self, status: Status) -> usize {
        self.done()
            .filter(|record| record.result.status == status)
            .count()
    }

    /// Runs that are not done: the sweep was interrupted, or they are left to other processes.
    #[must_use]
    pub fn left(&self) -> usize {
        self.records
            .iter()
            .filter(|record| record.is_none())
            .count()
    }

    /// The records that are there, in plan order.
    pub fn done(&self) -> impl Iterator<Item = &RunRecord> {
        self.records.iter().flatten()
    }
}

/// Brings every run of the plan to its end, and returns all records. Runs whose folder says that they completed or
/// diverged are not repeated; failed ones are.
///
/// # Errors
/// [`SweepError`]; a run that fails is no error.
pub fn run_plan(
    jobs: &[RunJob],
    setup: &WorkerSetup,
    stop: &Stop,
    observer: &mut dyn Observer,
) -> Result<SweepSummary, SweepError> {
    let mut ids = HashSet::new();
    if let Some(twice) = jobs.iter().find(|job| !ids.insert(&job.id)) {
        return Err(SweepError::Twice {
            id: twice.id.clone(),
        });
    }
    let Before {
        mut records,
        failed,
    } = done_before(jobs, observer)?;
    let already_done = records.iter().flatten().count();
    let to_do = (0..jobs.len())
        .filter(|&index| records[index].is_none())
        .collect();
    let floor = Floor {
        jobs,
        setup,
        stop,
        queue: Queue::new(jobs, to_do, failed, &setup.sharing),
        keeper: Keeper::new(setup.sharing.lease),
        children: Mutex::new(Vec::new()),
        broken: Mutex::new(None),
    };
    floor.work(&mut |notice| {
        if let Notice::Finished { index, record, .. } | Notice::AlreadyDone { index, record } =
            &notice
        {
            records[*index] = Some(record.as_ref().clone());
        }
        observer.notice(&notice);
    });
    if let Some(error) = locked(&floor.broken).take() {
        return Err(error);
    }
    let done: HashSet<&str> = records
        .iter()
        .flatten()
        .filter(|record| record.result.status != Status::Failed)
        .map(|record| record.spec.id.as_str())
        .collect();
    if let Some(job) = jobs.first() {
        tidy(folder_of(&job.claim), |run| done.contains(run));
    }
    let interrupted = stop.requested() && records.iter().any(Option::is_none);
    Ok(SweepSummary {
        records,
        already_done,
        interrupted,
    })
}

/// What earlier sweeps left, by place in the plan.
pub(super) struct Before {
    /// Of the runs that need not be made.
    pub(super) records: Vec<Option<RunRecord>>,
    /// Of those that failed, and are made again.
    pub(super) failed: Vec<Option<RunRecord>>,
}

pub(super) fn done_before(
    jobs: &[RunJob],
    observer: &mut dyn Observer,
) -> Result<Before, SweepError> {
    let mut before = Before {
        records: vec![None; jobs.len()],
        failed: vec![None; jobs.len()],
    };
    for (index, job) in jobs.iter().enumerate() {
        match state(&job.folder)? {
            RunState::Done(record) if record.result.status == Status::Failed => {
                before.failed[index] = Some(*record);
            }
            RunState::Done(record) => {
                let record = Box::new(in_cell(*record, job));
                observer.notice(&Notice::AlreadyDone {
                    index,
                    record: record.clone(),
                });
                before.records[index] = Some(*record);
            }
            // Another process may be at it.
            RunState::Unfinished(_) | RunState::Absent => {}
        }
    }
    Ok(before)
}

/// Whether two records are one. Losses that are not numbers are equal to none, hence the text.
pub(super) fn is_same(one: &RunRecord, other: &RunRecord) -> bool {
    format!("{one:?}") == format!("{other:?}")
}

/// A record of another sweep has that one's name of the cell; here it stands in ours.
pub(super) fn in_cell(mut record: RunRecord, job: &RunJob) -> RunRecord {
    record.spec.cell.clone_from(&job.cell);
    record
}

/// What the threads share, one of which looks after each worker.
pub(super) struct Floor<'a> {
    pub(super) jobs: &'a [RunJob],
    pub(super) setup: &'a WorkerSetup,
    stop: &'a Stop,
    pub(super) queue: Queue<'a>,
    pub(super) keeper: Keeper,
    /// Every worker that was started, so that all can be stopped or killed.
    children: Mutex<Vec<Child>>,
    /// The first error, which ends the sweep.
    broken: Mutex<Option<SweepError>>,
}

/// Does something at the end of a scope, also where that is a panic.
struct AtEnd<F: FnMut()>(F);

impl<F: FnMut()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

struct Child {
    handle: Handle,
    told_to_stop: bool,
}

impl Floor<'_> {
    /// Returns when every run is done, or left to others, or the sweep was stopped or broke. `report` is called on this thread.
    fn work(&self, report: &mut dyn FnMut(Notice)) {
        let (notices, inbox) = mpsc::channel();
        let workers = self.setup.workers.max(1).min(self.queue.len());
        thread::scope(|scope| {
            let _end = AtEnd(|| self.keeper.end());
            scope.spawn(|| self.keeper.run());
            for worker in 0..workers {
                let notices = notices.clone();
                scope.spawn(move || {
                    // Threads that forward logs hold senders too: this one says that the work is over.
                    let _over = AtEnd(|| {
                        let _ = notices.send(None);
                    });
                    if let Err(error) = self.look_after(worker, &notices) {
                        locked(&self.broken).get_or_insert(error);
                    }
                });
            }
            let mut working = workers;
            while working > 0 {
                match inbox.recv_timeout(TICK) {
                    Ok(Some(notice)) => report(notice),
                    Ok(None) => working -= 1,
                    Err(_) => {}
                }
                if locked(&self.broken).is_some() {
                    let children = locked(&self.children);
                    children.iter().for_each(|child| child.handle.kill());
                } else if self.stop.requested() {
                    self.stop_workers();
                }
            }
        });
        while let Ok(Some(notice)) = inbox.try_recv() {
            report(notice);
        }
    }

    /// Tells those workers that were not told yet.
    fn stop_workers(&self) {
        let mut children = locked(&self.children);
        let mut told = 0;
        for child in children.iter_mut().filter(|child| !child.told_to_stop) {
            child.told_to_stop = true;
            child.handle.stop();
            told += 1;
        }
        if told > 0 {
            tracing::warn!(
                "stopping: runs are kept at their next step boundary; a second signal ends at once"
            );
        }
    }

    pub(super) fn ends_early(&self) -> bool {
        self.stop.requested() || locked(&self.broken).is_some()
    }

    /// One worker after the other, one run after the other.
    fn look_after(
        &self,
        worker: usize,
        notices: &Sender<Option<Notice>>,
    ) -> Result<(), SweepError> {
        let tell = |notice| {
            let _ = notices.send(Some(notice));
        };
        let mut waiting: Option<Worker> = None;
        while !self.ends_early() {
            let (index, claim) = match self.queue.next()? {
                Next::Run(index, claim) => (index, claim),
                Next::Done(index, record) => {
                    let record = Box::new(in_cell(*record, &self.jobs[index]));
                    tell(Notice::AlreadyDone { index, record });
                    continue;
                }
                Next::Wait => {
                    // Its memory is of more use to others than the time of its next start is to us.
                    if let Some(process) = waiting.take() {
                        process.close();
                    }
                    thread::sleep(TICK);
                    continue;
                }
                Next::End => break,
            };
            let record =
                match self.bring_to_its_end(worker, (index, &claim), &mut waiting, notices)? {
                    Brought::Done(record) => record,
                    // Whoever has the run now leaves its record.
                    Brought::Taken => {
                        self.queue.put_back(index);
                        continue;
                    }
                    Brought::Ended => break,
                };
            claim.finish();
            let record = Box::new(in_cell(*record, &self.jobs[index]));
            tell(Notice::Finished {
                worker,
                index,
                record,
            });
        }
        if let Some(process) = waiting {
            process.close();
        }
        Ok(())
    }

    pub(super) fn start(
        &self,
        worker: usize,
        notices: &Sender<Option<Notice>>,
    ) -> Result<Worker, SweepError> {
        let notices = notices.clone();
        let log = move |line| {
            let _ = notices.send(Some(Notice::Log { worker, line }));
        };
        let register = |handle| {
            locked(&self.children).push(Child {
                handle,
                told_to_stop: false,
            });
        };
        let patience = self.setup.care.heartbeat;
        Worker::start(self.setup.command(worker), patience, log, register)
            .map_err(SweepError::Worker)
    }

    /// Whether a death belongs to the end of the sweep. A signal to the whole process group may reach the worker before
    /// this process has seen its own.
    pub(super) fn stops_soon(&self) -> bool {
        if !self.ends_early() {
            thread::sleep(TICK);
        }
        self.ends_early()
    }
}
