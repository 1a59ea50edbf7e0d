//! Array jobs on a real Slurm, which each test starts for itself on this machine: `scripts/test --with slurm`.

pub mod cluster;

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use self::cluster::Cluster;
use crate::processes::until;
use crate::sandbox::{Outcome, Sandbox, skipped, small};
use crate::sharing::{claims, done, numbers};

/// Eight runs of some seconds.
const EIGHT: &str = "--lrs 1e-4 3e-4 1e-3 3e-3 --rank 2 4 --epochs 60";
const LAUNCH: &str = "--launcher slurm --tasks 2 --slurm-option=--time=10";

/// A cluster of the test's own; without Slurm the test is skipped.
pub fn cluster(test: &str) -> Option<Cluster> {
    if std::env::var_os("LORAHOST_TEST_SLURM").is_none() {
        skipped(
            test,
            "LORAHOST_TEST_SLURM is not set (scripts/test --with slurm)",
        );
        return None;
    }
    Some(Cluster::start())
}

fn assert_ended_well(sandbox: &Sandbox, outcome: &Outcome) {
    assert_eq!(outcome.code, 0, "{}{}", outcome.out, outcome.err);
    let alone = sandbox.train(&format!("{EIGHT} --output alone"));
    assert_eq!(numbers(&sandbox.runs("out")), numbers(&alone));
    assert_eq!(claims(&sandbox.path("out")), 0);
    for file in ["lora-r2/results.json", "lora-r4/results.json"] {
        let of = |output: &str| fs::read(sandbox.path(output).join(file)).unwrap();
        assert_eq!(of("alone"), of("out"));
    }
}

#[test]
fn two_tasks_share_the_runs_of_one_folder() {
    let Some(cluster) = cluster("two_tasks_share_the_runs_of_one_folder") else {
        return;
    };
    let sandbox = Sandbox::new();
    let flags = small(&format!("{EIGHT} {LAUNCH}"));
    let outcome = sandbox.lorahost_with(&flags, &cluster.environment());
    assert_ended_well(&sandbox, &outcome);
    let job = cluster.jobs_of(&sandbox)[0].clone();
    for task in 1..=2 {
        let log = sandbox.path(format!("out/slurm/{job}_{task}.log"));
        let log = fs::read_to_string(log).unwrap();
        assert!(log.contains(" s)"), "task {task} made no run: {log}");
    }
    // All is done: nothing is submitted.
    let again = sandbox.lorahost_with(&flags, &cluster.environment());
    assert_eq!(again.code, 0);
    assert_eq!(cluster.jobs_of(&sandbox), [job]);
}

#[test]
fn tasks_that_are_cancelled_requeued_killed_or_out_of_time_cost_no_result() {
    let name = "tasks_that_are_cancelled_requeued_killed_or_out_of_time_cost_no_result";
    let Some(cluster) = cluster(name) else {
        return;
    };
    let sandbox = Sandbox::new();
    let output = sandbox.path("out");
    let flags = small(&format!("{EIGHT} {LAUNCH} --requeue"));
    let launcher = sandbox.start(&flags, &cluster.environment());
    until("the job", || cluster.jobs_of(&sandbox).first().cloned());
    let job = cluster.jobs_of(&sandbox)[0].clone();
    let (one, two) = (format!("{job}_1"), format!("{job}_2"));
    until("a run", || (done(&output) >= 1).then_some(()));
    // The time limit of the first is near: it keeps what it has and queues itself again.
    cluster.ask("scancel", &["--signal=USR1", "--batch", &one]);
    until("the first task to be queued again", || {
        cluster.was_requeued(&one).then_some(())
    });
    cluster.ask("scontrol", &["requeue", &two]);
    until("the second task to be queued again", || {
        cluster.was_requeued(&two).then_some(())
    });
    until("two runs", || (done(&output) >= 3).then_some(()));
    // One of them dies the hard way, and its successor as well.
    let pid = until("a task", || cluster::pid_of_a_task(&sandbox));
    cluster::kill(pid);
    cluster.ask("scancel", &[&two]);
    // What is left then, the same command makes.
    let outcome = sandbox.end(launcher);
    assert!(
        [0, 1].contains(&outcome.code),
        "{}{}",
        outcome.out,
        outcome.err
    );
    if outcome.code == 1 {
        let why = format!("lorahost: job {job} is over, and ");
        assert!(outcome.err.contains(&why), "{}", outcome.err);
        assert!(!output.join("lora-r2/results.json").exists());
    }
    let outcome = sandbox.lorahost_with(&flags, &cluster.environment());
    assert_ended_well(&sandbox, &outcome);
}

#[test]
fn a_launcher_that_leaves_is_followed_by_one_that_waits_for_the_same_job() {
    let name = "a_launcher_that_leaves_is_followed_by_one_that_waits_for_the_same_job";
    let Some(cluster) = cluster(name) else {
        return;
    };
    let sandbox = Sandbox::new();
    let flags = small(&format!("{EIGHT} {LAUNCH}"));
    let left = sandbox.lorahost_with(&format!("{flags} --no-wait"), &cluster.environment());
    assert_eq!(left.code, 0, "{}", left.err);
    assert!(
        left.err
            .contains("is submitted; its script and its logs are in"),
        "{}",
        left.err
    );
    let outcome = sandbox.lorahost_with(&flags, &cluster.environment());
    assert!(outcome.err.contains("is still queued"), "{}", outcome.err);
    assert_ended_well(&sandbox, &outcome);
    assert_eq!(cluster.jobs_of(&sandbox).len(), 1);
}

#[test]
fn a_job_that_is_cancelled_and_a_job_that_is_refused_are_said_to_be() {
    let name = "a_job_that_is_cancelled_and_a_job_that_is_refused_are_said_to_be";
    let Some(cluster) = cluster(name) else {
        return;
    };
    let sandbox = Sandbox::new();
    let flags = small(&format!("{EIGHT} {LAUNCH}"));
    let refused = format!("{flags} --slurm-option=--partition=none");
    let refused = sandbox.lorahost_with(&refused, &cluster.environment());
    assert_eq!(refused.code, 2, "{}", refused.err);
    let why = "lorahost: sbatch refuses (sbatch: error: invalid partition specified: none";
    assert!(refused.err.contains(why), "{}", refused.err);

    let launcher = sandbox.start(&flags, &cluster.environment());
    let job = until("the job", || cluster.jobs_of(&sandbox).first().cloned());
    until("a run", || (done(&sandbox.path("out")) >= 1).then_some(()));
    cluster.ask("scancel", &[&job]);
    let outcome = sandbox.end(launcher);
    assert_eq!(outcome.code, 1, "{}", outcome.err);
    assert!(
        outcome.err.contains(&format!("job {job} is over, and ")),
        "{}",
        outcome.err
    );
    // Its tasks may take a moment to end; whoever comes next goes on all the same.
    sleep(Duration::from_secs(1));
    let outcome = sandbox.lorahost_with(&flags, &cluster.environment());
    assert_ended_well(&sandbox, &outcome);
}
