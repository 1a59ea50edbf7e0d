//! Sweeps over real processes: this test binary starts itself as worker, and as a parent that is killed.
//!
//! What a run does is told by its cell: `wait` makes steps until it is told to stop, `deaf` sleeps in a plugin call until
//! it is killed, `abort` ends the process in a plugin call, `abort-once` does so after step 2 if it was not resumed,
//! `busy-once` fails for want of memory likewise, `sigterm-once` is sent a signal, `panic` panics, `fail` fails, `nan`
//! diverges, `load` dies on its checkpoint, everything else completes. A run of three steps asks for the desk's wish after
//! each.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use signal_hook::consts::SIGTERM;

use super::*;
use crate::{
    record::{
        Checkpoint, Event, Failure, Found, Measured, OutputFolder, Platform, PluginCall, Revisions,
        RunRecord, RunState, Split, Status, TestResult, read_metrics, state,
    },
    spec::{Device, test_support::run_spec},
};

/// Set for a process that is to be a worker.
const WORKER: &str = "LORAHOST_TEST_WORKER";
/// Set, to the output folder, for a process that is to be a parent.
const PARENT: &str = "LORAHOST_TEST_PARENT";

/// What that parent's runs do.
const CELL: &str = "LORAHOST_TEST_CELL";

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
        resumed: Option<&Checkpoint>,
        desk: &mut dyn Desk,
    ) -> Result<Outcome, Failure> {
        // A library that prints does no harm.
        print_as_a_library("not a message\n");
        fs::write(job.folder.join("pid"), std::process::id().to_string()).unwrap();
        let call = PluginCall {
            plugin: "wild.so".to_owned(),
            component: "init wild".to_owned(),
            phase: "init".to_owned(),
            layer: Some("encoder.0".to_owned()),
        };
        desk.tell(Event::Start {
            linear_layers: 8,
            wrapped_layers: 6,
            steps: 3,
            trainable_parameters: 1,
            total_parameters: 2,
        });
        let cell = job.cell.as_str();
        if let (Some(_), "load") = (resumed, cell) {
            desk.tell(Event::Calling(PluginCall {
                phase: "load".to_owned(),
                ..call
            }));
            std::process::abort();
        }
        desk.tell(Event::Calling(call.clone()));
        match cell {
            "deaf" => thread::sleep(Duration::from_mins(10)),
            "abort" => std::process::abort(),
            "panic" => panic!("a defect"),
            "fail" => {
                return Err(Failure {
                    call: Some(Box::new(call)),
                    ..Failure::new("wrong shape")
                });
            }
            _ => {}
        }
        desk.tell(Event::Returned);
        let loss = if cell == "nan" {
            f64::NAN
        } else {
            job.spec.train.lr
        };
        let done = resumed.map_or(0, |checkpoint| checkpoint.progress().as_u64().unwrap());
        let steps = if cell == "wait" { u64::MAX } else { 3 };
        for step in done + 1..=steps {
            desk.tell(Event::Step {
                step: step as usize,
                epoch: 1,
                loss: Some(loss),
                lr: job.spec.train.lr,
            });
            let wish = desk.wish();
            if wish != Wish::GoOn {
                let tensors = |path: &Path| fs::write(path, step.to_string());
                desk.keep(step.into(), &mut { tensors }).unwrap();
            }
            if wish == Wish::Stop {
                return Ok(Outcome::Stopped);
            }
            if step == 2 && resumed.is_none() {
                match cell {
                    "abort-once" | "load" => std::process::abort(),
                    "busy-once" => {
                        return Err(Failure {
                            transient: true,
                            ..Failure::new("no memory")
                        });
                    }
                    "sigterm-once" => signal_hook::low_level::raise(SIGTERM).unwrap(),
                    _ => {}
                }
            }
            if cell == "wait" {
                thread::sleep(Duration::from_millis(20));
            }
        }
        let metrics = [("acc".to_owned(), 1.0 - loss)];
        desk.tell(Event::Evaluation {
            split: Split::Validation,
            step: 3,
            epoch: 1,
            loss,
            metrics: metrics.clone().into(),
        });
        Ok(Outcome::Measured(Measured {
            train_losses: vec![loss],
            val_losses: vec![loss],
            test: Some(TestResult {
                loss,
                metrics: metrics.into(),
            }),
            headline: Some("acc".to_owned()),
            steps: 3,
            ..Measured::default()
        }))
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
        let cell = env::var(CELL).unwrap();
        let jobs = jobs(&output, &[&cell, &cell]);
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
        gpus: Vec::new(),
        care: Care {
            // A checkpoint at each step.
            checkpoint_every: Some(Duration::from_nanos(1)),
            heartbeat: None,
            retries: 1,
        },
        sharing: Sharing::default(),
    }
}

#[test]
fn each_worker_sees_one_gpu() {
    let seen = |gpus: &[&str], worker| {
        let setup = WorkerSetup {
            gpus: gpus.iter().map(|&gpu| gpu.to_owned()).collect(),
            ..setup(3)
        };
        let command = setup.command(worker);
        let mut variables = command.get_envs();
        let found = variables.find(|(name, _)| *name == crate::train::VISIBLE);
        found.map(|(_, value)| value.unwrap().to_owned())
    };
    assert_eq!(
        [0, 1, 2].map(|worker| seen(&["4", "7"], worker).unwrap()),
        ["4", "7", "4"]
    );
    assert_eq!(seen(&[], 0), None);
}

/// One job a cell name, learning rates 0.1, 0.2, ...
fn jobs(output: &OutputFolder, cells: &[&str]) -> Vec<RunJob> {
    let job = |(index, cell): (usize, &&str)| {
        let id = format!("{index:016x}");
        RunJob {
            folder: output.run_folder(&id),
            claim: crate::record::run_claim(output.path(), &id),
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
    let deadline = Instant::now() + Duration::from_mins(1);
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
fn a_stopped_sweep_keeps_its_runs_where_they_are() {
    struct StopAtStep(Stop);
    impl Observer for StopAtStep {
        fn notice(&mut self, notice: &Notice) {
            if let Notice::Event {
                event: Event::Step { .. },
                index: 1,
                ..
            } = notice
            {
                self.0.request();
            }
        }
    }
    let (_folder, output) = output();
    let mut jobs = jobs(&output, &["a", "wait", "b"]);
    let stop = Stop::new();
    let observer = &mut StopAtStep(stop.clone());
    let summary = run_plan(&jobs, &setup(1), &stop, observer).unwrap();
    assert!(summary.interrupted);
    assert_eq!(summary.done().count(), 1);
    assert!(matches!(
        state(&jobs[1].folder).unwrap(),
        RunState::Unfinished(_)
    ));
    assert_eq!(state(&jobs[2].folder).unwrap(), RunState::Absent);
    let stood_at = steps(&jobs[1]);
    assert_eq!(kept(&jobs[1]), stood_at);

    // The same run, which now ends, goes on there.
    jobs[1].cell = "b".to_owned();
    let summary = sweep(&jobs, 1);
    assert_eq!(
        (summary.already_done, summary.count(Status::Completed)),
        (1, 3)
    );
    let result = &summary.records[1].as_ref().unwrap().result;
    assert_eq!((result.resumes, result.crashes), (1, 0));
    assert_eq!(steps(&jobs[1]), stood_at.max(3));
}

/// Steps in a run's metrics; each is there once, in order, after one start.
fn steps(job: &RunJob) -> u64 {
    let events = read_metrics(&job.folder).unwrap();
    assert!(matches!(events[0], Event::Start { .. }));
    let steps = events[1..].iter().filter_map(|event| match event {
        Event::Step { step, .. } => Some(*step as u64),
        _ => None,
    });
    let steps: Vec<u64> = steps.collect();
    let count = steps.len() as u64;
    assert_eq!(steps, (1..=count).collect::<Vec<_>>());
    count
}

/// The step of a run's checkpoint.
fn kept(job: &RunJob) -> u64 {
    match Checkpoint::find(&job.folder, &job.id).unwrap() {
        Found::Whole(checkpoint) => checkpoint.progress().as_u64().unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_may_pass_is_tried_again_where_it_was() {
    let (_folder, output) = output();
    let cells = ["abort-once", "busy-once", "sigterm-once", "load"];
    let jobs = jobs(&output, &cells);
    let summary = sweep(&jobs, 1);
    assert_eq!(summary.count(Status::Completed), 3);
    for (job, record) in jobs.iter().zip(summary.done()).take(3) {
        let result = &record.result;
        assert_eq!((result.crashes, result.resumes), (1, 1), "{}", job.cell);
        assert_eq!(steps(job), 3);
        assert!(!job.folder.join("checkpoint").exists());
    }
    // The checkpoint on which it died is gone: another try begins anew, and comes as far as the first one.
    let failed = summary.records[3].as_ref().unwrap();
    let failure = failed.result.error.clone().unwrap();
    assert_eq!(
        (failed.result.status, failed.result.crashes),
        (Status::Failed, 1)
    );
    assert_eq!(failure.call.unwrap().phase, "load");
}

#[test]
fn what_would_be_the_same_again_is_not_tried_again() {
    let (_folder, output) = output();
    let jobs = jobs(&output, &["fail", "panic", "abort"]);
    let mut setup = setup(1);
    setup.care.retries = 2;
    let summary = run_plan(&jobs, &setup, &Stop::new(), &mut Silent).unwrap();
    let crashes: Vec<u32> = summary.done().map(|record| record.result.crashes).collect();
    assert_eq!(crashes, [0, 0, 2]);
}

#[test]
fn a_silent_worker_costs_its_run_alone() {
    let (_folder, output) = output();
    let jobs = jobs(&output, &["deaf", "a"]);
    let mut setup = setup(1);
    setup.care.heartbeat = Some(Duration::from_millis(1500));
    setup.care.retries = 0;
    let summary = run_plan(&jobs, &setup, &Stop::new(), &mut Silent).unwrap();
    assert_eq!(summary.count(Status::Completed), 1);
    let failure = summary.records[0].clone().unwrap().result.error.unwrap();
    let told = "the worker gave no sign of life for 1.5 seconds and was killed";
    assert!(failure.message.starts_with(told), "{failure}");
    assert_eq!(failure.call.unwrap().component, "init wild");
}

#[test]
fn a_damaged_checkpoint_is_left_and_a_newer_one_is_an_error() {
    let (_folder, output) = output();
    let mut jobs = jobs(&output, &["abort-once"]);
    let mut setup = setup(1);
    setup.care.retries = 0;
    let first = run_plan(&jobs, &setup, &Stop::new(), &mut Silent).unwrap();
    assert_eq!(first.count(Status::Failed), 1);
    assert_eq!(kept(&jobs[0]), 2, "what may pass keeps the checkpoint");
    let tensors = jobs[0].folder.join("checkpoint/2.safetensors");
    fs::write(tensors, "3").unwrap();
    jobs[0].cell = "a".to_owned();
    let again = sweep(&jobs, 1);
    let result = &again.records[0].as_ref().unwrap().result;
    assert_eq!((result.status, result.resumes), (Status::Completed, 0));
    assert_eq!(steps(&jobs[0]), 3);

    fs::remove_file(jobs[0].folder.join("done.json")).unwrap();
    fs::create_dir(jobs[0].folder.join("checkpoint")).unwrap();
    let first = "{\"version\":9}\n";
    let seal = crate::digest::sha256(first.as_bytes());
    let manifest = format!("{first}{{\"sha256\":\"{seal}\"}}\n");
    fs::write(jobs[0].folder.join("checkpoint/checkpoint.jsonl"), manifest).unwrap();
    let error = run_plan(&jobs, &setup, &Stop::new(), &mut Silent).unwrap_err();
    assert!(
        error.to_string().starts_with("record version 9 of "),
        "{error}"
    );
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
    parent_of("wait", folder)
}

fn parent_of(cell: &str, folder: &Path) -> (std::process::Child, Vec<PathBuf>) {
    let parent = Command::new(env::current_exe().unwrap())
        .args(["sweep::tests::as_parent", "--exact", "--nocapture"])
        .env(PARENT, folder)
        .env(CELL, cell)
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
        let id = format!("{index:016x}");
        let run = folder.join("runs").join(&id);
        assert!(matches!(state(&run).unwrap(), RunState::Unfinished(_)));
        let found = Checkpoint::find(&run, &id).unwrap();
        assert!(matches!(found, Found::Whole(_)), "{found:?}");
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
    for signal in ["INT", "TERM", "USR1"] {
        let folder = tempfile::tempdir().unwrap();
        let (mut parent, workers) = waiting_parent(folder.path());
        send(signal, parent.id());
        assert_eq!(parent.wait().unwrap().code(), Some(130), "{signal}");
        assert_gone(&workers, folder.path());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_second_signal_ends_at_once_what_does_not_listen() {
    let folder = tempfile::tempdir().unwrap();
    let (mut parent, workers) = parent_of("deaf", folder.path());
    send("INT", parent.id());
    thread::sleep(Duration::from_millis(500));
    assert!(parent.try_wait().unwrap().is_none(), "it waits");
    send("INT", parent.id());
    assert_eq!(parent.wait().unwrap().code(), Some(130));
    for worker in workers {
        until("the end of a worker", || (!worker.exists()).then_some(()));
    }
}

fn send(signal: &str, pid: u32) {
    let mut kill = Command::new("kill");
    let status = kill
        .args([&format!("-{signal}"), &pid.to_string()])
        .status();
    assert!(status.unwrap().success());
}
