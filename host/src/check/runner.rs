//! The parent's side: children started, waited for, replaced.

use std::env;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::case::{Case, cases};
use super::report::{Finding, Report, Status};
use crate::plugins::PluginFile;
use crate::sweep::{LastWords, SharedChild, describe, end, kill};

/// What stands for the file as a whole where a component is named.
pub(super) const FILE: &str = "file";

/// Why a file was not tested.
#[derive(Debug, Error)]
pub enum CheckError {
    #[error("no test has `{filter}` in its name; `lorahost plugin check --list` shows them")]
    Filter { filter: String },
    #[error("cannot start {}: {source}", program.display())]
    Start { program: PathBuf, source: io::Error },
    #[error("cannot make a folder in {}: {source}", path.display())]
    Folder { path: PathBuf, source: io::Error },
}

/// How files are tested.
#[derive(Debug, Clone)]
pub struct Checker {
    /// This program, of which the children are.
    pub program: PathBuf,
    /// The most that one test may take.
    pub timeout: Duration,
    /// Only tests with this in their id.
    pub filter: Option<String>,
}

impl Checker {
    /// The tests that pass the filter.
    ///
    /// # Errors
    /// When there are none.
    pub fn selected(&self) -> Result<Vec<&'static Case>, CheckError> {
        let filter = self.filter.as_deref().unwrap_or_default();
        let selected: Vec<_> = cases()
            .iter()
            .filter(|case| case.id.contains(filter))
            .collect();
        if selected.is_empty() {
            return Err(CheckError::Filter {
                filter: filter.to_owned(),
            });
        }
        Ok(selected)
    }

    /// Tests a file and each of its components.
    ///
    /// # Errors
    /// When no test is selected, or no child can be started; what a plugin does is a finding and no error.
    pub fn check(&self, file: &PluginFile) -> Result<Report, CheckError> {
        let selected = self.selected()?;
        // Taken away in the end, also what children that died left in it.
        let scratch = tempfile::tempdir().map_err(|source| CheckError::Folder {
            path: env::temp_dir(),
            source,
        })?;
        let of = |wanted: &dyn Fn(&Case) -> bool| -> Vec<&'static Case> {
            selected
                .iter()
                .copied()
                .filter(|case| wanted(case))
                .collect()
        };
        let target = |component: String, cases| Target {
            checker: self,
            file: &file.path,
            scratch: scratch.path(),
            component,
            cases,
        };
        let mut findings = target(FILE.to_owned(), of(&|case| case.scope() == FILE)).examine()?;
        let barred = barred(&findings);
        let targets: Vec<Target<'_>> = (file.manifest.components.iter())
            .map(|component| {
                let name = format!("{}/{}", component.kind, component.name);
                target(name, of(&|case| case.is_for(&component.kind)))
            })
            .collect();
        if let Some(why) = barred {
            let left = targets
                .iter()
                .flat_map(|target| target.skip(&target.cases, &why));
            findings.extend(left);
        } else {
            for of_component in at_once(&targets, Target::examine) {
                findings.extend(of_component?);
            }
        }
        Ok(Report { findings })
    }
}

/// A component and its tests.
struct Target<'a> {
    checker: &'a Checker,
    file: &'a Path,
    scratch: &'a Path,
    component: String,
    cases: Vec<&'static Case>,
}

impl Target<'_> {
    /// All tests, with as many children as it takes.
    fn examine(&self) -> Result<Vec<Finding>, CheckError> {
        let mut findings = Vec::new();
        while findings.len() < self.cases.len() {
            let left = &self.cases[findings.len()..];
            self.some(left, &mut findings)?;
            if let Some(why) = barred(&findings) {
                let left = &self.cases[findings.len()..];
                findings.extend(self.skip(left, &why));
            }
        }
        Ok(findings)
    }

    /// As many of these tests, but at least one, as one child gets through.
    fn some(&self, cases: &[&'static Case], findings: &mut Vec<Finding>) -> Result<(), CheckError> {
        let running = self.start(cases)?;
        for case in cases {
            let start = Instant::now();
            let crash = match running.findings.recv_timeout(self.checker.timeout) {
                Ok(finding) => {
                    let ends = finding.status == Status::Failed;
                    findings.push(finding);
                    if ends {
                        break;
                    }
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {
                    let limit = self.checker.timeout.as_secs_f64();
                    running.kill();
                    format!("it was ended after {limit} s (--timeout)")
                }
                Err(RecvTimeoutError::Disconnected) => running.reason_of_death(),
            };
            findings.push(self.finding(case, Status::Crashed, &crash, start.elapsed()));
            break;
        }
        running.kill();
        Ok(())
    }

    fn start(&self, cases: &[&'static Case]) -> Result<Running, CheckError> {
        let program = &self.checker.program;
        let mut command = Command::new(program);
        command
            .args(["plugin", "check-one"])
            .arg(self.file)
            .arg(&self.component)
            .args(cases.iter().map(|case| case.id))
            .env("TMPDIR", self.scratch);
        Running::start(command).map_err(|source| CheckError::Start {
            program: program.clone(),
            source,
        })
    }

    fn skip(&self, cases: &[&'static Case], why: &str) -> Vec<Finding> {
        let skip = |case: &&'static Case| self.finding(case, Status::Skipped, why, Duration::ZERO);
        cases.iter().map(skip).collect()
    }

    fn finding(&self, case: &Case, status: Status, message: &str, took: Duration) -> Finding {
        Finding {
            component: self.component.clone(),
            test: case.id.to_owned(),
            status,
            message: Some(message.to_owned()),
            seconds: took.as_secs_f64(),
        }
    }
}

/// A child at work.
struct Running {
    child: SharedChild,
    findings: Receiver<Finding>,
    last_words: LastWords,
}

impl Running {
    fn start(mut command: Command) -> io::Result<Self> {
        // Its input stays open as long as this process wants it to live.
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (Some(output), Some(error_output)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(io::Error::other("the child has no pipes"));
        };
        let (sender, findings) = mpsc::channel();
        thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            // What a plugin's initialisers print comes before the child takes its channels.
            let told = lines.filter_map(|line| serde_json::from_str(&line).ok());
            for finding in told {
                if sender.send(finding).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            child: Arc::new(Mutex::new(child)),
            findings,
            last_words: LastWords::of(error_output, |line| tracing::debug!("{line}")),
        })
    }

    /// Ends it, if it still lives.
    fn kill(&self) {
        kill(&self.child);
        if let Err(error) = end(&self.child) {
            tracing::debug!("a child is lost at its end: {error}");
        }
    }

    /// Waits for the end of a child whose output ended, and says what is known of it.
    fn reason_of_death(&self) -> String {
        let reason = match end(&self.child) {
            Ok(status) => describe("its process", status),
            Err(error) => format!("its process is lost: {error}"),
        };
        self.last_words.after(reason)
    }
}

/// Why further tests are not run: one that they build on did not pass.
fn barred(findings: &[Finding]) -> Option<String> {
    let gates = |finding: &&Finding| Case::named(&finding.test).is_some_and(|case| case.gate);
    let mut gates = findings.iter().filter(gates);
    let closed = gates.find(|finding| finding.status != Status::Passed)?;
    Some(format!(
        "it builds on {}, which is {}",
        closed.test,
        closed.status.name()
    ))
}

/// What `work` makes of every item, on as many threads as there are cores, in the items' order.
fn at_once<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(items.len());
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((place, item)) = {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    items.get(place).map(|item| (place, item))
                } {
                    let result = work(item);
                    if let Ok(mut done) = done.lock() {
                        done.push((place, result));
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, result)| result).collect()
}
