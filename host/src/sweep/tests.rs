//! Sweeps over real processes: this test binary starts itself as worker, and as a parent that is killed.
//!
//! What a run does is told by its cell: `wait` sleeps until it is killed, `abort` ends the process in a plugin call,
//! `panic` panics, `fail` fails, `nan` diverges, everything else completes.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::*;
use crate::{
    record::{
        Event, Failure, Measured, OutputFolder, Platform, PluginCall, Revisions, RunRecord,
        RunState, Split, Status, TestResult, read_metrics, state,
    },
    spec::{Device, test_support::run_spec},
};

/// Set for a process that is to be a worker.
const WORKER: &str = "LORAHOST_TEST_WORKER";
/// Set, to the output folder, for a process that is to be a parent.
const PARENT: &str = "LORAHOST_TEST_PARENT";

struct Fake;

impl Executor for Fake {
    fn platform(&self, job: &RunJob) -> Platform {
        Platform {
            device: job.device.to_string(),
            libtorch: Some("none".to_owned()),
        }
    }

    fn execute(
        &mut self,
        job: &RunJob,
        events: &mut dyn FnMut(Event),
    ) -> Result<Measured, Failure> {
        // A library that prints does no harm.
        print_as_a_library("not a message\n");
        fs::write(job.folder.join("pid"), std::process::id().to_string()).unwrap();
        let call = PluginCall {
            plugin: "wild.so".to_owned(),
            component: "init wild".to_owned(),
            phase: "init".to_owned(),
            layer: Some("encoder.0".to_owned()),
        };
        events(Event::Start {
            linear_layers: 8,
            wrapped_layers: 6,
            steps: 3,
            trainable_parameters: 1,
            total_parameters: 2,
        });
        events(Event::Calling(call.clone()));
        match job.cell.as_str() {
            "wait" => thread::sleep(Duration::from_mins(10)),
            "abort" => std::process::abort(),
            "panic" => panic!("a defect"),
            "fail" => {
                return Err(Failure {
                    call: Some(call),
                    message: "wrong shape".to_owned(),
                });
            }
            _ => {}
        }
        events(Event::Returned);
        let loss = if job.cell == "nan" {
            f64::NAN
        } else {
            job.spec.train.lr
        };
        for step in 1..=3 {
            events(Event::Step {
                step,
                epoch: 1,
                loss: Some(loss),
                lr: job.spec.train.lr,
            });
        }
        let metrics = [("acc".to_owned(), 1.0 - loss)];
        events(Event::Evaluation {
            split: Split::Validation,
            step: 3,
            epoch: 1,
            loss,
            metrics: metrics.clone().into(),
        });
        Ok(Measured {
            train_losses: vec![loss],
            val_losses: vec![loss],
            test: Some(TestResult {
                loss,
                metrics: metrics.into(),
            }),
            headline: Some("acc".to_owned()),
            steps: 3,
            ..Measured::default()
        })
    }
}

/// Writes to file descriptor 1 as a C library would, past the test harness.
fn print_as_a_library(text: &str) {
    let _ = fs::write("/dev/fd/1", text);
}

/// Not a test of its own: the worker of the others.
#[test]
fn as_worker() {
    if env::var_os(WORKER).is_some() {
        if env::var_os("LORAHOST_TEST_BROKEN").is_some() {
            eprintln!("libtorch is not there");
            signal_hook::low_level::exit(7);
        }
        worker_main(&mut Fake).unwrap();
    }
}

/// Not a test of its own: the parent that another kills.
#[test]
fn as_parent() {
    if let Some(folder) = env::var_os(PARENT) {
        let output = OutputFolder::open(Path::new(&folder)).unwrap();
        let jobs = jobs(&output, &["wait", "wait"]);
        let stop = Stop::on_signals().unwrap();
        let summary = run_plan(&jobs, &setup(2), &stop, &mut Silent).unwrap();
        signal_hook::low_level::exit(if summary.interrupted { 130 } else { 0 });
    }
}

fn setup(workers: usize) -> WorkerSetup {
    let program = env::current_exe().unwrap().to_string_lossy().into_owned();
    let arguments = ["sweep::tests::as_worker", "--exact", "--nocapture"];
    let command = [program]
        .into_iter()
        .chain(arguments.map(str::to_owned))
        .collect();
    let environment = vec![(WORKER.to_owned(), "1".to_owned())];
    WorkerSetup {
        command,
        environment,
        workers,
        threads: 1,
        sharing: Sharing::default(),
    }
}

/// One job a cell name, learning rates 0.1, 0.2, ...
fn jobs(output: &OutputFolder, cells: &[&str]) -> Vec<RunJob> {
    let job = |(index, cell): (usize, &&str)| {
        let id = format!("{index:016x}");
        RunJob {
            folder: output.run_folder(&id),
            claim: output.claim(&id),
            id,
            cell: (*cell).to_owned(),
            spec: run_spec(Some(4), 0.1 * (index + 1) as f64, 42),
            revisions: Revisions::default(),
            tokens: "tokens".into(),
            cache: "cache".into(),
            model: "model".into(),
            device: Device::Cpu,
            threads: 1,
        }
    };
    cells.iter().enumerate().map(job).collect()
}

fn output() -> (tempfile::TempDir, OutputFolder) {
    let folder = tempfile::tempdir().unwrap();
    let output = OutputFolder::open(folder.path()).unwrap();
    (folder, output)
}

fn sweep(jobs: &[RunJob], workers: usize) -> SweepSummary {
    run_plan(jobs, &setup(workers), &Stop::new(), &mut Silent).unwrap()
}

/// What a run measured, without what differs from repeat to repeat.
fn figures(record: &RunRecord) -> (String, Measured) {
    (record.spec.id.clone(), record.result.measured.clone())
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn order_and_number_of_workers_change_no_result() {
    let cells = ["a", "b", "c", "d", "e"];
    let (_one, output_one) = output();
    let (_three, output_three) = output();
    let one = sweep(&jobs(&output_one, &cells), 1);
    let mut backwards = jobs(&output_three, &cells);
    backwards.reverse();
    let three = sweep(&backwards, 3);
    assert_eq!(one.count(Status::Completed), 5);
    let mut figures_of_three: Vec<_> = three.done().map(figures).collect();
    figures_of_three.reverse();
    assert_eq!(
        one.done().map(figures).collect::<Vec<_>>(),
        figures_of_three
    );
    for job in jobs(&output_one, &cells) {
        assert_eq!(
            read_metrics(&job.folder).unwrap().len(),
            5,
            "start, three steps, evaluation"
        );
    }
}

#[test]
fn a_run_that_ends_its_worker_costs_itself_alone() {
    let (_folder, output) = output();
    let jobs = jobs(&output, &["a", "abort", "b", "panic", "fail", "nan", "c"]);
    let summary = sweep(&jobs, 1);
    assert_eq!(summary.count(Status::Completed), 3);
    assert_eq!(summary.count(Status::Diverged), 1);
    assert_eq!(summary.count(Status::Failed), 3);
    let error = |index: usize| {
        let RunState::Done(record) = state(&jobs[index].folder).unwrap() else {
            panic!()
        };
        record.result.error.unwrap()
    };
    assert!(
        error(1)
            .message
            .starts_with("the worker was killed by SIGABRT (signal 6)")
    );
    assert_eq!(error(1).call.unwrap().component, "init wild");
    assert_eq!(error(3).message, "lorahost panicked: a defect");
    let fail = "init of init wild in wild.so, layer encoder.0: wrong shape";
    assert_eq!(error(4).to_string(), fail);
}

#[test]
fn finished_runs_are_not_repeated_and_failed_ones_are() {
    let (_folder, output) = output();
    let mut jobs = jobs(&output, &["a", "nan", "fail"]);
    let first = sweep(&jobs, 1);
    let recorded = |summary: &SweepSummary, index: usize| {
        let provenance = &summary.records[index].as_ref().unwrap().result;
        (provenance.seconds, provenance.status)
    };
    jobs[0].cell = "another-name".to_owned();
    jobs[2].cell = "c".to_owned();
    let again = sweep(&jobs, 1);
    assert_eq!(again.already_done, 2);
    assert_eq!(recorded(&first, 0), recorded(&again, 0));
    assert_eq!(recorded(&first, 1), recorded(&again, 1));
    assert_eq!(recorded(&again, 2).1, Status::Completed);
    assert_eq!(again.records[0].as_ref().unwrap().spec.cell, "another-name");
}

#[test]
fn a_half_written_folder_is_begun_anew() {
    let (_folder, output) = output();
    let jobs = jobs(&output, &["a"]);
    sweep(&jobs, 1);
    fs::remove_file(jobs[0].folder.join("done.json")).unwrap();
    fs::write(jobs[0].folder.join("stray"), "left by a killed run").unwrap();
    let summary = sweep(&jobs, 1);
    assert_eq!(
        (summary.already_done, summary.count(Status::Completed)),
        (0, 1)
    );
    assert!(!jobs[0].folder.join("stray").exists());
    assert_eq!(read_metrics(&jobs[0].folder).unwrap().len(), 5);
}

#[test]
fn a_stopped_sweep_kills_its_workers_and_leaves_their_runs_unfinished() {
    struct StopAtStart(Stop);
    impl Observer for StopAtStart {
        fn notice(&mut self, notice: &Notice) {
            if let Notice::Event {
                event: Event::Start { .. },
                index: 1,
                ..
            } = notice
            {
                self.0.request();
            }
        }
    }
    let (_folder, output) = output();
    let jobs = jobs(&output, &["a", "wait", "b"]);
    let stop = Stop::new();
    let observer = &mut StopAtStart(stop.clone());
    let summary = run_plan(&jobs, &setup(1), &stop, observer).unwrap();
    assert!(summary.interrupted);
    assert_eq!(summary.done().count(), 1);
    assert!(matches!(
        state(&jobs[1].folder).unwrap(),
        RunState::Unfinished(_)
    ));
    assert_eq!(state(&jobs[2].folder).unwrap(), RunState::Absent);
}

#[test]
fn a_worker_that_cannot_start_ends_the_sweep_with_the_reason() {
    let (_folder, output) = output();
    let jobs = jobs(&output, &["a", "b"]);
    let mut broken = setup(2);
    broken
        .environment
        .push(("LORAHOST_TEST_BROKEN".to_owned(), "1".to_owned()));
    let error = run_plan(&jobs, &broken, &Stop::new(), &mut Silent)
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("cannot start a worker process: the worker exited with code 7"));
    assert!(error.ends_with("libtorch is not there"), "{error}");

    broken.command = vec!["/no/such/program".to_owned()];
    let error = run_plan(&jobs, &broken, &Stop::new(), &mut Silent)
        .unwrap_err()
        .to_string();
    assert!(error.contains("cannot start /no/such/program"), "{error}");
    assert_eq!(state(&jobs[0].folder).unwrap(), RunState::Absent);
}

#[test]
fn terminal_progress_follows_every_kind_of_run() {
    let (_folder, output) = output();
    let jobs = jobs(&output, &["a", "abort", "nan", "fail", "b"]);
    sweep(&jobs[..1], 1);
    let mut progress = TerminalProgress::new(&jobs, 2);
    let summary = run_plan(&jobs, &setup(2), &Stop::new(), &mut progress).unwrap();
    assert_eq!(summary.done().count(), 5);
}

#[test]
fn plain_progress_has_a_line_a_run() {
    let (_folder, output) = output();
    let jobs = jobs(&output, &["a", "nan", "fail"]);
    sweep(&jobs[..1], 1);
    let mut lines = Vec::new();
    let mut progress = PlainProgress::new(&jobs, &mut lines);
    run_plan(&jobs, &setup(1), &Stop::new(), &mut progress).unwrap();
    let lines = String::from_utf8(lines).unwrap();
    let lines: Vec<_> = lines.lines().filter(|line| line.starts_with('[')).collect();
    assert_eq!(
        lines[0],
        "[1/3] a lr 0.1 seed 42: val loss 0.1000, test acc 0.9000 (already done)"
    );
    assert!(lines[1].starts_with("[2/3] nan lr 0.2 seed 42: diverged, test acc NaN ("));
    assert!(lines[2].contains("failed: init of init wild in wild.so, layer encoder.0: wrong"));
}

/// A parent with two runs that never end, and the ids of its workers.
fn waiting_parent(folder: &Path) -> (std::process::Child, Vec<PathBuf>) {
    let parent = Command::new(env::current_exe().unwrap())
        .args(["sweep::tests::as_parent", "--exact", "--nocapture"])
        .env(PARENT, folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let workers = (0..2).map(|index| {
        let pid = folder.join(format!("runs/{index:016x}/pid"));
        until("a worker", || {
            let pid = fs::read_to_string(&pid)
                .ok()
                .filter(|pid| !pid.is_empty())?;
            Some(Path::new("/proc").join(pid))
        })
    });
    let workers = workers.collect();
    (parent, workers)
}

fn assert_gone(workers: &[PathBuf], folder: &Path) {
    for worker in workers {
        until("the end of a worker", || (!worker.exists()).then_some(()));
    }
    for index in 0..2 {
        let run = folder.join(format!("runs/{index:016x}"));
        assert!(matches!(state(&run).unwrap(), RunState::Unfinished(_)));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_killed_parent_leaves_no_worker() {
    let folder = tempfile::tempdir().unwrap();
    let (mut parent, workers) = waiting_parent(folder.path());
    parent.kill().unwrap();
    parent.wait().unwrap();
    assert_gone(&workers, folder.path());
}

#[cfg(target_os = "linux")]
#[test]
fn a_signal_interrupts_with_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let (mut parent, workers) = waiting_parent(folder.path());
    let pid = parent.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(parent.wait().unwrap().code(), Some(130));
    assert_gone(&workers, folder.path());
}
