//! One worker process as the parent sees it.

use std::{
    collections::VecDeque,
    io::{self, BufRead, BufReader, Write},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

use signal_hook::low_level::signal_name;

use super::{FromWorker, RunJob};
use crate::record::{Event, Failure, PluginCall};

/// Lines of standard error that are kept to explain a death.
const LAST_WORDS: usize = 12;

/// How long a worker whose output ended has to exit by itself, and its last words to arrive.
const GRACE: Duration = Duration::from_secs(2);

/// A child that can be killed from another thread while its output is read.
pub(crate) type SharedChild = Arc<Mutex<Child>>;

/// A running worker that waits for a run.
pub(super) struct Worker {
    child: SharedChild,
    input: ChildStdin,
    output: io::Lines<BufReader<ChildStdout>>,
    last_words: LastWords,
}

/// The last lines of a child's standard error.
pub(crate) struct LastWords {
    lines: Arc<Mutex<VecDeque<String>>>,
    /// Disconnected when the whole of standard error was read.
    ended: Receiver<()>,
}

/// How a run left its worker.
pub(super) enum Ending {
    /// The run's folder is complete.
    Finished(After),
    /// The worker died; what is known of the reason.
    Died(Failure),
}

/// What became of the worker after a run.
pub(super) enum After {
    Waits(Worker),
    Retired,
}

impl Worker {
    /// Starts a worker. `log` gets the lines of its standard error; `register` gets the child, before anything is waited
    /// for.
    ///
    /// # Errors
    /// Why it could not be started, as text: the program is missing, or ended before it was ready.
    pub(super) fn start(
        mut command: Command,
        log: impl Fn(String) + Send + 'static,
        register: impl FnOnce(SharedChild),
    ) -> Result<Self, String> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| {
            format!(
                "cannot start {}: {error}",
                command.get_program().to_string_lossy()
            )
        })?;
        let (Some(input), Some(output), Some(error_output)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err("the worker has no pipes".to_owned());
        };
        let child = Arc::new(Mutex::new(child));
        register(Arc::clone(&child));
        let last_words = LastWords::of(error_output, log);
        let output = BufReader::new(output).lines();
        let mut worker = Self {
            child,
            input,
            output,
            last_words,
        };
        match worker.next_message() {
            Some(FromWorker::Ready) => Ok(worker),
            _ => Err(worker.reason_of_death()),
        }
    }

    /// The process, so that another thread can kill it.
    pub(super) fn child(&self) -> SharedChild {
        Arc::clone(&self.child)
    }

    /// Has the worker do a run, to its end or the worker's.
    pub(super) fn run(mut self, job: &RunJob, mut on_event: impl FnMut(Event)) -> Ending {
        locked(&self.last_words.lines).clear();
        let mut call: Option<PluginCall> = None;
        // A dead worker takes no input; why it died shows when its output ends.
        if send(&mut self.input, job).is_ok() {
            while let Some(message) = self.next_message() {
                match message {
                    FromWorker::Event(Event::Calling(next)) => call = Some(next),
                    FromWorker::Event(Event::Returned) => call = None,
                    FromWorker::Event(event) => on_event(event),
                    FromWorker::Finished { retires: false } => {
                        return Ending::Finished(After::Waits(self));
                    }
                    FromWorker::Finished { retires: true } => {
                        self.close();
                        return Ending::Finished(After::Retired);
                    }
                    FromWorker::Ready => {}
                }
            }
        }
        Ending::Died(Failure {
            call,
            message: self.reason_of_death(),
        })
    }

    /// Lets a worker that waits for a run end.
    pub(super) fn close(self) {
        drop(self.input);
        if let Err(error) = end(&self.child) {
            tracing::debug!("a worker is lost at its end: {error}");
        }
    }

    /// The next message; none when the output ended. Other lines were printed before the protocol began: they are
    /// passed over.
    fn next_message(&mut self) -> Option<FromWorker> {
        self.output
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| serde_json::from_str(&line).ok())
    }

    /// Waits for the end of a worker whose output ended, and says what is known of it.
    fn reason_of_death(self) -> String {
        drop(self.input);
        let reason = match end(&self.child) {
            Ok(status) => describe("the worker", status),
            Err(error) => format!("the worker is lost: {error}"),
        };
        self.last_words.after(reason)
    }
}

impl LastWords {
    /// Listens to standard error; `log` gets every line of it.
    pub(crate) fn of(error_output: ChildStderr, log: impl Fn(String) + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let ended = forward(error_output, Arc::clone(&lines), log);
        Self { lines, ended }
    }

    /// Why a child ended, and with which words; it has ended.
    pub(crate) fn after(&self, reason: String) -> String {
        // Ends early, by disconnection, when all was read.
        let _ = self.ended.recv_timeout(GRACE);
        let last_words: Vec<String> = locked(&self.lines).drain(..).collect();
        if last_words.is_empty() {
            reason
        } else {
            format!("{reason}\nits last words:\n{}", last_words.join("\n"))
        }
    }
}

/// Kills a child, if it still lives; who waits for it notices.
pub(crate) fn kill(child: &SharedChild) {
    if let Err(error) = locked(child).kill() {
        tracing::debug!("cannot kill a worker: {error}");
    }
}

/// Waits for a child that is about to exit; if it does not, kills it.
pub(crate) fn end(child: &SharedChild) -> io::Result<ExitStatus> {
    let deadline = Instant::now() + GRACE;
    // The lock is free between two looks, so that another thread can kill.
    while Instant::now() < deadline {
        if let Some(status) = locked(child).try_wait()? {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
    let mut child = locked(child);
    child.kill()?;
    child.wait()
}

/// How `who` ended.
pub(crate) fn describe(who: &str, status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.signal(), status.code()) {
        (Some(signal), _) => {
            let name = signal_name(signal).unwrap_or("a signal");
            format!("{who} was killed by {name} (signal {signal})")
        }
        (_, Some(code)) => format!("{who} exited with code {code} in the middle of its work"),
        (None, None) => format!("{who} ended in an unknown way"),
    }
}

fn send(input: &mut ChildStdin, job: &RunJob) -> io::Result<()> {
    let mut line = serde_json::to_vec(job)?;
    line.push(b'\n');
    input.write_all(&line)
}

/// Passes standard error on, line by line, in a thread of its own. The receiver is disconnected at its end.
fn forward(
    error_output: ChildStderr,
    last_words: Arc<Mutex<VecDeque<String>>>,
    log: impl Fn(String) + Send + 'static,
) -> Receiver<()> {
    let (running, ended) = mpsc::channel();
    thread::spawn(move || {
        let _running = running;
        for line in BufReader::new(error_output)
            .split(b'\n')
            .map_while(Result::ok)
        {
            let line = String::from_utf8_lossy(&line).into_owned();
            let mut words = locked(&last_words);
            if words.len() == LAST_WORDS {
                words.pop_front();
            }
            words.push_back(line.clone());
            drop(words);
            log(line);
        }
    });
    ended
}

/// A thread that panicked with the lock held left nothing half-done in what is locked here.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
