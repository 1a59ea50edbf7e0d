//! One worker process as the parent sees it.

use std::{
    collections::VecDeque,
    io::{self, BufRead, BufReader, Write},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use signal_hook::low_level::signal_name;

use super::{FromWorker, Order, ToWorker};
use crate::record::{Event, Failure, PluginCall};

/// Lines of standard error that are kept to explain a death.
const LAST_WORDS: usize = 12;

/// Silence is counted in pieces of this length, so that time in which this process itself was stopped does not count.
const BEAT: Duration = Duration::from_millis(100);

/// How long a worker whose output ended has to exit by itself, and its last words to arrive.
const GRACE: Duration = Duration::from_secs(2);

/// A child that can be killed from another thread while its output is read.
pub(crate) type SharedChild = Arc<Mutex<Child>>;

/// A running worker that waits for a run.
pub(super) struct Worker {
    handle: Handle,
    /// Disconnected when its output ended.
    messages: Receiver<FromWorker>,
    last_words: LastWords,
    /// How long it may be silent.
    patience: Option<Duration>,
}

/// What other threads can do to a worker.
#[derive(Clone)]
pub(super) struct Handle {
    child: SharedChild,
    /// Taken to let the worker end.
    input: Arc<Mutex<Option<ChildStdin>>>,
}

/// What comes of waiting for a worker.
enum Heard {
    Message(FromWorker),
    Silence,
    End,
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
    /// The run was left at a step boundary, and the worker has ended.
    Stopped,
    /// The worker died, or was silent for too long and was killed; what is known of the reason.
    Died(Failure),
}

/// What became of the worker after a run.
pub(super) enum After {
    Waits(Worker),
    Retired,
}

impl Worker {
    /// Starts a worker, which may be silent for `patience`. `log` gets the lines of its standard error; `register` gets
    /// its handle, before anything is waited for.
    ///
    /// # Errors
    /// Why it could not be started, as text: the program is missing, or ended before it was ready.
    pub(super) fn start(
        mut command: Command,
        patience: Option<Duration>,
        log: impl Fn(String) + Send + 'static,
        register: impl FnOnce(Handle),
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
        let handle = Handle {
            child: Arc::new(Mutex::new(child)),
            input: Arc::new(Mutex::new(Some(input))),
        };
        register(handle.clone());
        let worker = Self {
            handle,
            messages: messages(output),
            last_words: LastWords::of(error_output, log),
            patience,
        };
        match worker.next_message() {
            Heard::Message(FromWorker::Ready) => Ok(worker),
            Heard::Silence => Err(worker.killed_for_silence()),
            _ => Err(worker.reason_of_death()),
        }
    }

    /// What another thread may end it by.
    pub(super) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Has the worker do a run, to its end or the worker's.
    ///
    /// The thread that trains tells of each plugin call, and every batch makes some, in evaluations too: these messages
    /// are the sign of life.
    pub(super) fn run(self, order: Order, mut on_event: impl FnMut(Event)) -> Ending {
        locked(&self.last_words.lines).clear();
        let mut call: Option<Box<PluginCall>> = None;
        // A dead worker takes no input; why it died shows when its output ends.
        self.handle.send(&ToWorker::Run(Box::new(order)));
        let message = loop {
            match self.next_message() {
                Heard::Message(FromWorker::Event(Event::Calling(next))) => {
                    call = Some(Box::new(next));
                }
                Heard::Message(FromWorker::Event(Event::Returned)) => call = None,
                Heard::Message(FromWorker::Event(event)) => on_event(event),
                Heard::Message(FromWorker::Ready) => {}
                Heard::Message(FromWorker::Finished { retires: false }) => {
                    return Ending::Finished(After::Waits(self));
                }
                Heard::Message(FromWorker::Finished { retires: true }) => {
                    self.close();
                    return Ending::Finished(After::Retired);
                }
                Heard::Message(FromWorker::Stopped) => {
                    self.close();
                    return Ending::Stopped;
                }
                Heard::Silence => break self.killed_for_silence(),
                Heard::End => break self.reason_of_death(),
            }
        };
        Ending::Died(Failure {
            call,
            message,
            transient: true,
        })
    }

    /// Lets a worker that waits for a run end.
    pub(super) fn close(self) {
        self.handle.close_input();
        if let Err(error) = end(&self.handle.child) {
            tracing::debug!("a worker is lost at its end: {error}");
        }
    }

    fn next_message(&self) -> Heard {
        let mut silence = Duration::ZERO;
        loop {
            match self.messages.recv_timeout(BEAT) {
                Ok(message) => return Heard::Message(message),
                Err(RecvTimeoutError::Disconnected) => return Heard::End,
                Err(RecvTimeoutError::Timeout) => silence += BEAT,
            }
            if self.patience.is_some_and(|patience| silence >= patience) {
                return Heard::Silence;
            }
        }
    }

    fn killed_for_silence(self) -> String {
        self.handle.kill();
        self.handle.close_input();
        if let Err(error) = end(&self.handle.child) {
            tracing::debug!("a silent worker is lost: {error}");
        }
        let seconds = self.patience.unwrap_or_default().as_secs_f64();
        let reason =
            format!("the worker gave no sign of life for {seconds} seconds and was killed");
        self.last_words.after(reason)
    }

    /// Waits for the end of a worker whose output ended, and says what is known of it.
    fn reason_of_death(self) -> String {
        self.handle.close_input();
        let reason = match end(&self.handle.child) {
            Ok(status) => describe("the worker", status),
            Err(error) => format!("the worker is lost: {error}"),
        };
        self.last_words.after(reason)
    }
}

impl Handle {
    /// Has the worker leave its run at the next step boundary, with a checkpoint.
    pub(super) fn stop(&self) {
        self.send(&ToWorker::Stop);
    }

    pub(super) fn kill(&self) {
        kill(&self.child);
    }

    /// A worker that takes no input is dead, or about to be: whoever waits for its output notices.
    fn send(&self, message: &ToWorker) {
        let Some(input) = &mut *locked(&self.input) else {
            return;
        };
        let sent = serde_json::to_vec(message)
            .map_err(io::Error::from)
            .and_then(|mut line| {
                line.push(b'\n');
                input.write_all(&line)
            });
        if let Err(error) = sent {
            tracing::debug!("a worker takes no message: {error}");
        }
    }

    fn close_input(&self) {
        locked(&self.input).take();
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

/// Reads a worker's messages in a thread of its own, so that one can be waited for with a limit. Other lines were
/// printed before the protocol began: they are passed over.
fn messages(output: ChildStdout) -> Receiver<FromWorker> {
    let (sender, messages) = mpsc::channel();
    thread::spawn(move || {
        let lines = BufReader::new(output).lines().map_while(Result::ok);
        for message in lines.filter_map(|line| serde_json::from_str(&line).ok()) {
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    messages
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
