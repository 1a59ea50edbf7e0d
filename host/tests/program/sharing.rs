//! Several processes, one output folder.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use lorahost::atomic::TEMPORARY_PREFIX;

use crate::processes::until;
use crate::sandbox::{Outcome, Run, Sandbox, small};

const SIX: &str = "--lrs 1e-4 1e-3 1e-2 --rank 2 4 --epochs 4";

/// What every run measured, by its folder's name.
pub fn numbers(runs: &[Run]) -> Vec<(String, String)> {
    let name = |run: &Run| {
        run.folder
            .file_name()
            .unwrap()
            .to_string_lossy()
            .into_owned()
    };
    let mut numbers: Vec<_> = runs.iter().map(|run| (name(run), run.numbers())).collect();
    numbers.sort();
    numbers
}

/// How many runs a process made itself.
fn made(outcome: &Outcome) -> usize {
    let lines = outcome.err.lines().filter(|line| line.starts_with('['));
    lines
        .filter(|line| !line.contains("(already done)"))
        .count()
}

/// Runs of an output folder that are done.
pub fn done(output: &Path) -> usize {
    let runs = fs::read_dir(output.join("runs")).into_iter().flatten();
    runs.filter(|run| run.as_ref().unwrap().path().join("done.json").exists())
        .count()
}

/// The claims that are left. Temporary files, as a process leaves them that is killed while it makes a claim, are none.
pub fn claims(output: &Path) -> usize {
    let left = fs::read_dir(output.join("claims")).into_iter().flatten();
    left.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        !name.to_string_lossy().starts_with(TEMPORARY_PREFIX)
    })
    .count()
}

#[test]
fn processes_share_the_runs_and_each_has_all_results() {
    let sandbox = Sandbox::new();
    let alone = sandbox.train(&format!("{SIX} --output alone"));
    let flags = small(&format!("{SIX} --output shared"));
    let processes: Vec<_> = (0..3).map(|_| sandbox.start(&flags, &[])).collect();
    let outcomes: Vec<Outcome> = processes
        .into_iter()
        .map(|child| sandbox.end(child))
        .collect();
    for outcome in &outcomes {
        assert_eq!(outcome.code, 0, "{}", outcome.err);
        assert_eq!(outcome.out, outcomes[0].out, "all print the same tables");
    }
    assert_eq!(
        outcomes.iter().map(made).sum::<usize>(),
        6,
        "none is lost, none made twice"
    );
    assert_eq!(numbers(&sandbox.runs("shared")), numbers(&alone));
    assert_eq!(claims(&sandbox.path("shared")), 0);
    for file in ["lora-r2/results.json", "lora-r4/results.json"] {
        let of = |output: &str| fs::read(sandbox.path(output).join(file)).unwrap();
        assert_eq!(of("alone"), of("shared"));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_killed_process_had_is_made_by_another() {
    let sandbox = Sandbox::new();
    let long = "--lrs 1e-4 1e-3 1e-2 --rank 2 4 --epochs 40";
    let alone = sandbox.train(&format!("{long} --output alone"));
    let flags = small(&format!("{long} --output shared"));
    let mut killed = sandbox.start(&flags, &[]);
    let other = sandbox.start(&flags, &[]);
    until("a run", || {
        (done(&sandbox.path("shared")) > 0).then_some(())
    });
    killed.kill().unwrap();
    killed.wait().unwrap();
    let other = sandbox.end(other);
    assert_eq!(other.code, 0, "{}", other.err);
    assert_eq!(numbers(&sandbox.runs("shared")), numbers(&alone));
    assert_eq!(claims(&sandbox.path("shared")), 0);
}

#[test]
fn shards_are_parts_of_the_runs() {
    let sandbox = Sandbox::new();
    let shard = |shard: &str| sandbox.lorahost(&small(&format!("{SIX} --shard {shard}")));
    let first = shard("1/2");
    assert_eq!((first.code, made(&first)), (0, 3), "{}", first.err);
    assert!(
        !sandbox.path("out/lora-r2/results.json").exists(),
        "three runs are left"
    );
    let second = shard("2/2");
    assert_eq!((second.code, made(&second)), (0, 3), "{}", second.err);
    assert!(sandbox.path("out/lora-r2/results.json").exists());
    for (wrong, why) in [
        ("3/2", "the shards of 2 are 1/2 to 2/2"),
        ("0/2", "the shards of 2 are 1/2 to 2/2"),
        ("1/0", "there are no 0 shards"),
        ("1", "expected I/N, such as 1/4"),
    ] {
        let refused = shard(wrong);
        assert_eq!(refused.code, 2);
        assert!(refused.err.contains(why), "{}", refused.err);
    }
}

#[test]
fn a_run_of_another_machine_is_waited_for_until_its_lease_expires() {
    let sandbox = Sandbox::new();
    let run = sandbox.train_one("");
    let name = run
        .folder
        .file_name()
        .unwrap()
        .to_string_lossy()
        .into_owned();
    fs::remove_dir_all(&run.folder).unwrap();
    let claim = serde_json::json!({
        "version": 1,
        "holder": {"host": "elsewhere", "pid": 1, "started": 1, "boot": "elsewhere", "pids": "pid:[1]"},
        "nonce": "0",
        "lease_seconds": 3.0,
        "beat": 0,
        "released": false,
    });
    sandbox.write(&format!("out/claims/{name}.1"), claim.to_string());
    let left = sandbox.lorahost(&small("--no-wait"));
    assert_eq!((left.code, made(&left)), (0, 0), "{}", left.err);
    assert!(!sandbox.path("out/results.json").exists());
    let started = Instant::now();
    let taken = sandbox.lorahost(&small("-v"));
    assert_eq!((taken.code, made(&taken)), (0, 1), "{}", taken.err);
    assert!(started.elapsed() > Duration::from_secs(3));
    let said = "the run ID is taken over from process 1 on elsewhere, which is gone";
    assert!(taken.err.contains(said), "{}", taken.err);
    assert_eq!(sandbox.runs("out")[0].numbers(), run.numbers());
    assert_eq!(claims(&sandbox.path("out")), 0);
}

#[test]
fn a_task_of_an_array_begins_with_its_own_part_and_makes_the_others_too() {
    let sandbox = Sandbox::new();
    let task = [
        ("SLURM_ARRAY_TASK_ID", "2"),
        ("SLURM_ARRAY_TASK_MIN", "1"),
        ("SLURM_ARRAY_TASK_COUNT", "3"),
    ];
    let outcome = sandbox.lorahost_with(&small("--lrs 1e-4 1e-3 1e-2 -v"), &task);
    assert_eq!((outcome.code, made(&outcome)), (0, 3), "{}", outcome.err);
    assert!(
        outcome.err.contains("begins with shard 2/3 of the runs"),
        "{}",
        outcome.err
    );
    let first = outcome
        .err
        .lines()
        .find(|line| line.starts_with('['))
        .unwrap();
    assert!(first.contains("lr 0.001"), "{first}");
}

#[test]
fn without_slurm_the_launcher_says_what_is_missing() {
    let sandbox = Sandbox::new();
    let outcome = sandbox.lorahost_with(&small("--launcher slurm"), &[("PATH", "/nonexistent")]);
    assert_eq!(outcome.code, 1);
    let error = outcome.err.lines().last().unwrap();
    assert_eq!(
        error,
        "lorahost: cannot start sbatch: No such file or directory (os error 2); `--launcher slurm` needs Slurm's commands \
         on the PATH of this machine"
    );
    for alone in ["--tasks 2", "--requeue", "--slurm-option=--time=1"] {
        assert_eq!(
            sandbox.lorahost(&small(alone)).code,
            2,
            "{alone} without a launcher"
        );
    }
}
