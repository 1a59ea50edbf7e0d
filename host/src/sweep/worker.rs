//! The worker process: takes runs one after the other, trains them through an [`Executor`], writes their folders.

use std::{
    any::Any,
    fs::File,
    io::{self, BufRead, BufReader, Write},
    os::fd::AsFd,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use signal_hook::{
    consts::{SIGINT, SIGTERM, SIGUSR1},
    flag, low_level,
};

use super::{Desk, Executor, FromWorker, Order, Outcome, ToWorker, Wish};
use crate::machine;
use crate::record::{
    Checkpoint, Event, Failure, Found, Provenance, RecordError, RunLock, RunResult, RunWriter,
    Spent,
};

/// Exit code of a worker whose parent went away in the middle of a run.
const ORPHANED: i32 = 1;

/// How long a worker whose parent went away has to reach a step boundary and keep a checkpoint.
const ORPHAN_GRACE: Duration = Duration::from_secs(20);

/// How long a worker waits for another one to leave its run: an orphan of an earlier sweep.
const PATIENCE: Duration = Duration::from_secs(30);

/// At most one step in this time is told to the parent; the run's own `metrics.jsonl` holds all of them.
const STEP_INTERVAL: Duration = Duration::from_millis(100);

/// A checkpoint that took longer than that is followed by [`WORK_TO_KEEPING`] times as much work, however often one is
/// wished: large states on a slow disk would else leave no time to train.
const LONG: Duration = Duration::from_secs(1);
const WORK_TO_KEEPING: u32 = 19;

/// Why a worker cannot go on. The run that it was at is not done.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error("cannot set up the worker's channels: {0}")]
    Channels(io::Error),
    #[error("cannot talk to the parent process: {0}")]
    Parent(io::Error),
    #[error("the parent process sent no run: {0}")]
    Order(serde_json::Error),
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Serves the parent on standard input and output until the input ends or a run was stopped. A parent that goes away
/// stops the run in work, which has 20 seconds to keep a checkpoint. So do SIGTERM and SIGUSR1, without a limit.
///
/// Afterwards standard output is where standard error is, so that a library that prints cannot disturb the protocol.
///
/// # Errors
/// [`WorkerError`], which the program should print to standard error before it exits with a code other than 0.
pub fn worker_main(executor: &mut dyn Executor) -> Result<(), WorkerError> {
    let stop = Arc::new(AtomicBool::new(false));
    // Ctrl-C reaches the whole process group; the parent decides what it means.
    flag::register(SIGINT, Arc::new(AtomicBool::new(false))).map_err(WorkerError::Channels)?;
    for signal in [SIGTERM, SIGUSR1] {
        flag::register(signal, Arc::clone(&stop)).map_err(WorkerError::Channels)?;
    }
    let (input, mut parent) = take_channels().map_err(WorkerError::Channels)?;
    let (orders, pending) = listen(input, Arc::clone(&stop));
    tell(&mut parent, &FromWorker::Ready)?;
    while let Ok(order) = orders.recv() {
        let order = order.map_err(WorkerError::Order)?;
        let message = run(executor, &order, &stop, &mut parent)?;
        pending.fetch_sub(1, Ordering::SeqCst);
        tell(&mut parent, &message)?;
        if message != (FromWorker::Finished { retires: false }) {
            break;
        }
    }
    Ok(())
}

/// Moves the protocol away from file descriptors 0 and 1, which then are the null device and standard error.
pub(crate) fn take_channels() -> io::Result<(File, File)> {
    let input = io::stdin().as_fd().try_clone_to_owned()?;
    let output = io::stdout().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    rustix::stdio::dup2_stdout(io::stderr())?;
    Ok((File::from(input), File::from(output)))
}

/// Orders as they were read; the counter holds those that were received and not finished.
type Orders = (
    Receiver<Result<Box<Order>, serde_json::Error>>,
    Arc<AtomicUsize>,
);

/// Reads messages in a thread of its own, so that the wish to stop and the end of the input are seen at any time.
fn listen(input: File, stop: Arc<AtomicBool>) -> Orders {
    let (sender, orders) = mpsc::channel();
    let pending = Arc::new(AtomicUsize::new(0));
    let received = Arc::clone(&pending);
    thread::spawn(move || {
        let mut told_to_stop = false;
        for line in BufReader::new(input).lines().map_while(Result::ok) {
            let order = match serde_json::from_str(&line) {
                Ok(ToWorker::Stop) => {
                    told_to_stop = true;
                    stop.store(true, Ordering::SeqCst);
                    continue;
                }
                Ok(ToWorker::Run(order)) => Ok(order),
                Err(error) => Err(error),
            };
            received.fetch_add(1, Ordering::SeqCst);
            if sender.send(order).is_err() {
                return;
            }
        }
        // No parent: nobody waits for the result. A parent that wished a stop and went all the same wants it at once.
        stop.store(true, Ordering::SeqCst);
        if received.load(Ordering::SeqCst) > 0 {
            if !told_to_stop {
                thread::sleep(ORPHAN_GRACE);
            }
            low_level::exit(ORPHANED);
        }
    });
    (orders, pending)
}

fn tell(parent: &mut File, message: &FromWorker) -> Result<(), WorkerError> {
    let line = serde_json::to_vec(message)
        .map_err(io::Error::from)
        .and_then(|mut line| {
            line.push(b'\n');
            parent.write_all(&line)
        });
    line.map_err(WorkerError::Parent)
}

/// One run from its empty folder or its checkpoint to its completion record, or to a stop.
fn run(
    executor: &mut dyn Executor,
    order: &Order,
    stop: &AtomicBool,
    parent: &mut File,
) -> Result<FromWorker, WorkerError> {
    let job = &order.job;
    let _held = RunLock::take(&job.folder, PATIENCE)?;
    machine::reset_peak_memory();
    let started = Instant::now();
    let platform = executor.platform(job);
    let provenance = || {
        Provenance::collect(&job.spec, platform.clone(), job.threads).with_revisions(&job.revisions)
    };
    let here = Spent {
        seconds: 0.0,
        resumes: 0,
        machine: provenance().machine(),
    };
    let mut checkpoint = usable(order)?;
    let (writer, outcome, spent) = loop {
        let (spent, mut writer) = match &checkpoint {
            Some(found) => (
                taken_up(found, &here, order),
                RunWriter::resume(&job.folder, job.record(), found)?,
            ),
            None => (here.clone(), RunWriter::begin(&job.folder, job.record())?),
        };
        let mut sink = Sink {
            writer: &mut writer,
            parent: &mut *parent,
            stop,
            spent: &spent,
            started,
            resumed: checkpoint.is_some(),
            every: order.checkpoint_every.map(Duration::from_secs_f64),
            last_step: None,
            last_kept: started,
            keeping: Duration::ZERO,
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            executor.execute(job, checkpoint.as_ref(), &mut sink)
        }));
        match outcome {
            Ok(Ok(Outcome::Unfit(why))) if checkpoint.is_some() => {
                tracing::warn!("the checkpoint of run {} is left: {why}", job.id);
                checkpoint = None;
            }
            outcome => break (writer, outcome, spent),
        }
    };
    let (outcome, retires) = match outcome {
        Ok(Ok(Outcome::Stopped)) => return Ok(FromWorker::Stopped),
        Ok(Ok(Outcome::Measured(measured))) => (Ok(measured), false),
        Ok(Ok(Outcome::Unfit(why))) => (Err(Failure::new(why)), false),
        Ok(Err(failure)) => (Err(failure), false),
        Err(payload) => (Err(failure_of_panic(payload)?), true),
    };
    let seconds = spent.seconds + started.elapsed().as_secs_f64();
    let mut result = RunResult::new(outcome, seconds, machine::peak_memory(), provenance());
    result.resumes = spent.resumes;
    writer.complete(result)?;
    Ok(FromWorker::Finished { retires })
}

/// The checkpoint in the run's folder, if it is whole; else why not is logged.
fn usable(order: &Order) -> Result<Option<Checkpoint>, RecordError> {
    let job = &order.job;
    Ok(match Checkpoint::find(&job.folder, &job.id)? {
        Found::Whole(checkpoint) => Some(*checkpoint),
        Found::Nothing => None,
        Found::Damaged(why) => {
            let id = &job.id;
            tracing::warn!("the run {id} is begun anew, its checkpoint is damaged: {why}");
            None
        }
    })
}

/// What a run has cost that goes on from a checkpoint here.
fn taken_up(checkpoint: &Checkpoint, here: &Spent, order: &Order) -> Spent {
    let before = checkpoint.spent();
    if before.machine != here.machine {
        tracing::warn!(
            "the run {} was begun with {} and goes on with {}: it is equal to an uninterrupted one within rounding \
             alone",
            order.job.id,
            before.machine,
            here.machine
        );
    }
    Spent {
        seconds: before.seconds,
        resumes: before.resumes + 1,
        machine: here.machine.clone(),
    }
}

/// Takes what a panic carried: the error of [`Sink::take`], or the message of a defect.
fn failure_of_panic(payload: Box<dyn Any + Send>) -> Result<Failure, WorkerError> {
    let payload = match payload.downcast::<WorkerError>() {
        Ok(error) => return Err(*error),
        Err(payload) => payload,
    };
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    Ok(Failure::new(format!(
        "lorahost panicked: {}",
        text.unwrap_or("without a message")
    )))
}

/// The desk of a run: events go into its metrics and to the parent, checkpoints into its folder.
struct Sink<'a> {
    writer: &'a mut RunWriter,
    parent: &'a mut File,
    stop: &'a AtomicBool,
    /// Before this process.
    spent: &'a Spent,
    started: Instant,
    resumed: bool,
    /// Time between checkpoints.
    every: Option<Duration>,
    last_step: Option<Instant>,
    last_kept: Instant,
    /// What the last checkpoint took.
    keeping: Duration,
}

impl Sink<'_> {
    fn take(&mut self, event: &Event) -> Result<(), WorkerError> {
        // The metrics that a checkpoint belongs to begin with it already.
        let repeated = self.resumed && matches!(event, Event::Start { .. });
        if event.is_recorded() && !repeated {
            self.writer.append(event)?;
        }
        if matches!(event, Event::Step { .. }) {
            if self
                .last_step
                .is_some_and(|last| last.elapsed() < STEP_INTERVAL)
            {
                return Ok(());
            }
            self.last_step = Some(Instant::now());
        }
        if let Err(error) = tell(self.parent, &FromWorker::Event(event.clone())) {
            // The parent is gone, which ends the input too: the run is stopped, and kept.
            tracing::debug!("{error}");
            self.stop.store(true, Ordering::SeqCst);
        }
        Ok(())
    }
}

impl Desk for Sink<'_> {
    fn tell(&mut self, event: Event) {
        if let Err(error) = self.take(&event) {
            // Hours of training that leave no record help nobody: unwind through the executor, back to the worker.
            resume_unwind(Box::new(error));
        }
    }

    fn wish(&self) -> Wish {
        if self.stop.load(Ordering::SeqCst) {
            return Wish::Stop;
        }
        let at_least = if self.keeping > LONG {
            self.keeping * WORK_TO_KEEPING
        } else {
            Duration::ZERO
        };
        let due = self.every.map(|every| every.max(at_least));
        if due.is_some_and(|due| self.last_kept.elapsed() >= due) {
            Wish::Keep
        } else {
            Wish::GoOn
        }
    }

    fn keep(
        &mut self,
        progress: Value,
        tensors: &mut dyn FnMut(&Path) -> io::Result<()>,
    ) -> Result<(), RecordError> {
        let begun = Instant::now();
        let spent = Spent {
            seconds: self.spent.seconds + self.started.elapsed().as_secs_f64(),
            ..self.spent.clone()
        };
        let kept = self.writer.keep(spent, progress, tensors);
        self.keeping = begun.elapsed();
        self.last_kept = Instant::now();
        tracing::debug!("a checkpoint took {:.3} s", self.keeping.as_secs_f64());
        kept
    }
}
