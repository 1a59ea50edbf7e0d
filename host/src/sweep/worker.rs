//! The worker process: takes runs one after the other, trains them through an [`Executor`], writes their folders.

use std::{
    any::Any,
    fs::File,
    io::{self, BufRead, BufReader, Write},
    os::fd::AsFd,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

use signal_hook::{consts::SIGINT, flag, low_level};

use super::{FromWorker, RunJob};
use crate::record::{
    Event, Failure, Measured, Platform, Provenance, RecordError, RunResult, RunWriter,
    peak_memory_bytes, reset_peak_memory,
};

/// Exit code of a worker whose parent went away in the middle of a run.
const ORPHANED: i32 = 1;

/// At most one step in this time is told to the parent; the run's own `metrics.jsonl` holds all of them.
const STEP_INTERVAL: Duration = Duration::from_millis(100);

/// Does what a run says: the training loop.
pub trait Executor {
    /// Device and libtorch that `job` uses.
    fn platform(&self, job: &RunJob) -> Platform;

    /// Trains and evaluates one run, telling `events` of every step, evaluation and plugin call. It may leave further
    /// files (weights) in `job.folder`; the records there are not its business.
    ///
    /// # Errors
    /// The [`Failure`] that ended the run. A loss that is not finite is no failure: the executor stops and gives what
    /// it measured, that loss included.
    fn execute(&mut self, job: &RunJob, events: &mut dyn FnMut(Event))
    -> Result<Measured, Failure>;
}

/// Why a worker cannot go on. The run that it was at is not done.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error("cannot set up the worker's channels: {0}")]
    Channels(io::Error),
    #[error("cannot talk to the parent process: {0}")]
    Parent(io::Error),
    #[error("the parent process sent no run: {0}")]
    Job(serde_json::Error),
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Serves the parent on standard input and output until the input ends. If it ends during a run, the process exits at
/// once: nobody waits for the result.
///
/// Afterwards standard output is where standard error is, so that a library that prints cannot disturb the protocol.
///
/// # Errors
/// [`WorkerError`], which the program should print to standard error before it exits with a code other than 0.
pub fn worker_main(executor: &mut dyn Executor) -> Result<(), WorkerError> {
    // Ctrl-C reaches the whole process group; the parent decides what it means.
    flag::register(SIGINT, Arc::new(AtomicBool::new(false))).map_err(WorkerError::Channels)?;
    let (input, mut parent) = take_channels().map_err(WorkerError::Channels)?;
    let (jobs, pending) = listen(input);
    tell(&mut parent, &FromWorker::Ready)?;
    while let Ok(line) = jobs.recv() {
        let job: RunJob = serde_json::from_str(&line).map_err(WorkerError::Job)?;
        let retires = run(executor, &job, &mut parent)?;
        pending.fetch_sub(1, Ordering::SeqCst);
        tell(&mut parent, &FromWorker::Finished { retires })?;
        if retires {
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

/// Reads lines in a thread of its own, so that the end of the input is seen at any time. The counter holds the runs
/// that were received and not finished.
fn listen(input: File) -> (Receiver<String>, Arc<AtomicUsize>) {
    let (sender, jobs) = mpsc::channel();
    let pending = Arc::new(AtomicUsize::new(0));
    let received = Arc::clone(&pending);
    thread::spawn(move || {
        for line in BufReader::new(input).lines().map_while(Result::ok) {
            received.fetch_add(1, Ordering::SeqCst);
            if sender.send(line).is_err() {
                return;
            }
        }
        if received.load(Ordering::SeqCst) > 0 {
            low_level::exit(ORPHANED);
        }
    });
    (jobs, pending)
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

/// One run from its empty folder to its completion record. True if the executor panicked, and with it this process is
/// in doubt.
fn run(executor: &mut dyn Executor, job: &RunJob, parent: &mut File) -> Result<bool, WorkerError> {
    let mut writer = RunWriter::begin(&job.folder, job.record())?;
    reset_peak_memory();
    let started = Instant::now();
    let mut sink = Sink {
        writer: &mut writer,
        parent,
        last_step: None,
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        executor.execute(job, &mut |event| {
            if let Err(error) = sink.take(&event) {
                // Hours of training that leave no record help nobody: unwind through the executor, back to here.
                resume_unwind(Box::new(error));
            }
        })
    }));
    let (outcome, panicked) = match outcome {
        Ok(outcome) => (outcome, false),
        Err(payload) => (Err(failure_of_panic(payload)?), true),
    };
    let provenance = Provenance::collect(&job.spec, executor.platform(job), job.threads)
        .with_revisions(&job.revisions);
    let seconds = started.elapsed().as_secs_f64();
    writer.complete(RunResult::new(
        outcome,
        seconds,
        peak_memory_bytes(),
        provenance,
    ))?;
    Ok(panicked)
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

/// Where the events of a run go: into its metrics, and to the parent.
struct Sink<'a> {
    writer: &'a mut RunWriter,
    parent: &'a mut File,
    last_step: Option<Instant>,
}

impl Sink<'_> {
    fn take(&mut self, event: &Event) -> Result<(), WorkerError> {
        if event.is_recorded() {
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
        tell(self.parent, &FromWorker::Event(event.clone()))
    }
}
