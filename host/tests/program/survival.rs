//! Runs that are killed, stopped, or hang: they go on where they were, and measure what an undisturbed run does, bit for
//! bit.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use lorahost::record::{Event, Split, Status};

use crate::processes::{signal, until, workers};
use crate::sandbox::{Run, Sandbox, small};

/// What happens to a sweep after so many more steps.
#[derive(Debug, Clone, Copy)]
enum Blow {
    /// SIGKILL to the program; its worker notices, and stops.
    Parent,
    /// SIGKILL to the workers; the program starts others.
    Workers,
    /// SIGTERM to the program.
    Polite,
}

use Blow::{Parent, Polite, Workers};

/// A checkpoint at every step.
pub const KEPT: &str = "--set run.checkpoint_every=1e-6 --set run.retries=20";

/// Brings a sweep to its end under blows, each after a number of further steps, and compares it with an undisturbed one.
fn survives(flags: &str, blows: &[(u64, Blow)]) {
    let sandbox = Sandbox::new();
    let undisturbed = by_id(sandbox.train(&format!("{flags} --output whole")));
    let words = small(&format!("{flags} {KEPT} --output cut"));
    let runs = sandbox.path("cut/runs");
    for &(steps, blow) in blows {
        let mut child = sandbox.start(&words, &[]);
        let goal = lines(&runs) + steps;
        let deadline = Instant::now() + Duration::from_mins(2);
        while lines(&runs) < goal && child.try_wait().unwrap().is_none() {
            assert!(
                Instant::now() < deadline,
                "no {steps} steps before {blow:?}"
            );
            sleep(Duration::from_millis(2));
        }
        match blow {
            Parent => child.kill().unwrap(),
            Workers => workers(child.id())
                .into_iter()
                .for_each(|pid| signal("KILL", pid)),
            Polite => signal("TERM", child.id()),
        }
        let outcome = sandbox.end(child);
        let expected: &[i32] = match blow {
            Parent => &[-1, 0],
            Workers => &[0],
            Polite => &[130, 0],
        };
        assert!(
            expected.contains(&outcome.code),
            "{blow:?}: {}",
            outcome.err
        );
    }
    let outcome = sandbox.lorahost(&words);
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    assert!(equal(&sandbox, &undisturbed) > 0, "no run was disturbed");
}

/// Holds the sweep in `cut` against an undisturbed one: the same runs with the same numbers, and nothing else is left in
/// their folders. Says how often runs were resumed.
pub fn equal(sandbox: &Sandbox, undisturbed: &BTreeMap<String, Run>) -> u32 {
    let disturbed = by_id(sandbox.runs("cut"));
    let ids = |runs: &BTreeMap<String, Run>| runs.keys().cloned().collect::<Vec<_>>();
    assert_eq!(ids(&disturbed), ids(undisturbed), "none lost, none more");
    for (id, run) in &disturbed {
        let expected = &undisturbed[id];
        let cell = &run.record.spec.cell;
        assert_eq!(metrics(run), metrics(expected), "{cell}");
        assert_eq!(run.numbers(), expected.numbers(), "{cell}");
        let mut found = files(&run.folder);
        found.retain(|name| name != "crashes.jsonl");
        assert_eq!(found, files(&expected.folder), "{cell}");
    }
    let resumes = disturbed.values().map(|run| run.record.result.resumes);
    resumes.sum()
}

pub fn by_id(runs: Vec<Run>) -> BTreeMap<String, Run> {
    let runs = runs.into_iter();
    runs.map(|run| (run.record.spec.id.clone(), run)).collect()
}

fn metrics(run: &Run) -> String {
    fs::read_to_string(run.folder.join("metrics.jsonl")).unwrap()
}

fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// Lines of all metrics so far.
pub fn lines(runs: &Path) -> u64 {
    let folders = fs::read_dir(runs).into_iter().flatten().flatten();
    let texts = folders.map(|run| fs::read(run.path().join("metrics.jsonl")).unwrap_or_default());
    texts
        .map(|text| String::from_utf8_lossy(&text).matches('\n').count() as u64)
        .sum()
}

#[test]
fn lora_with_dropout_and_evaluations_within_epochs() {
    survives(
        "--epochs 5 --eval-every 3 --dropout 0.1 --lora-dropout 0.2 --schedule cosine --warmup 3",
        &[(4, Workers), (9, Parent), (7, Polite), (6, Workers)],
    );
}

#[test]
fn full_fine_tuning_with_accumulation_and_a_limit_of_steps() {
    survives(
        "--full-finetune --epochs 9 --accumulate 3 --max-steps 22 --grad-clip 1 --dropout 0.1 --lrs 3e-4",
        &[(3, Parent), (4, Polite), (5, Workers)],
    );
}

#[test]
fn masks_that_the_head_draws_and_weights_that_are_kept() {
    survives_with_weights("--head masked-lm --epochs 4 --accumulate 2");
}

/// As [`survives`], for runs that keep their adapter: equal to the byte.
fn survives_with_weights(flags: &str) {
    let sandbox = Sandbox::new();
    let flags = format!("{flags} --save adapter");
    let whole = sandbox.train_one(&format!("{flags} --output whole"));
    let words = small(&format!("{flags} {KEPT} --output cut"));
    let child = sandbox.start(&words, &[]);
    until("eight lines", || {
        (lines(&sandbox.path("cut/runs")) >= 8).then_some(())
    });
    signal("TERM", child.id());
    let stopped = sandbox.end(child);
    assert_eq!(stopped.code, 130, "{}", stopped.err);
    let folder = fs::read_dir(sandbox.path("cut/runs")).unwrap().next();
    let folder = folder.unwrap().unwrap().path();
    let held = ["checkpoint", "metrics.jsonl", "spec.json"];
    assert_eq!(files(&folder), held);
    assert_eq!(sandbox.lorahost(&words).code, 0);
    let cut = sandbox.runs("cut").remove(0);
    let bytes = |run: &Run| fs::read(run.folder.join("adapter.safetensors")).unwrap();
    assert!(bytes(&cut) == bytes(&whole));
    assert_eq!(metrics(&cut), metrics(&whole));
    assert_eq!(cut.record.result.resumes, 1);
}

#[test]
fn every_optimizer_and_inits_that_change_the_weight() {
    let plugins = [
        "lion_optimizer",
        "adafactor_optimizer",
        "muon_optimizer",
        "schedule_free_optimizer",
        "prodigy_optimizer",
        "lora_plus_optimizer",
        "lora_fa_optimizer",
        "riemannian_optimizer",
        "lora_pro_optimizer",
        "pissa_init",
        "eva_init",
    ];
    let files = plugins.map(|name| format!("PLUGIN/{name}")).join(" ");
    let flags = format!(
        "--plugin {files} --optimizer adamw sgd:momentum=0.9 lion adafactor muon schedule-free prodigy lora-plus \
         lora-fa riemannian lora-pro --init pissa --epochs 2 --eval-every 3"
    );
    // About two runs to each blow.
    survives(
        &flags,
        &[
            (5, Parent),
            (27, Workers),
            (35, Parent),
            (29, Polite),
            (33, Parent),
            (28, Polite),
        ],
    );
    let flags = format!("--plugin {files} --optimizer adamw --init eva --epochs 3");
    survives(&flags, &[(7, Parent)]);
}

#[test]
fn full_fine_tuning_under_optimizers_with_states_of_their_own() {
    let plugins = "PLUGIN/muon_optimizer PLUGIN/schedule_free_optimizer";
    let flags = format!(
        "--plugin {plugins} --optimizer muon schedule-free --full-finetune --epochs 3 --eval-every 5"
    );
    survives(&flags, &[(9, Parent), (20, Polite)]);
}

#[test]
fn a_checkpoint_with_a_flipped_byte_is_left_and_said() {
    let sandbox = Sandbox::new();
    let whole = sandbox.train_one("--epochs 4 --output whole");
    let words = small(&format!("--epochs 4 {KEPT} --output cut"));
    let child = sandbox.start(&words, &[]);
    until("eight lines", || {
        (lines(&sandbox.path("cut/runs")) >= 8).then_some(())
    });
    signal("TERM", child.id());
    assert_eq!(sandbox.end(child).code, 130);
    let runs = fs::read_dir(sandbox.path("cut/runs")).unwrap();
    let folder = runs.map(|run| run.unwrap().path()).next().unwrap();
    let tensors = files(&folder.join("checkpoint"));
    let tensors = tensors.iter().find(|name| name.ends_with(".safetensors"));
    let tensors = folder.join("checkpoint").join(tensors.unwrap());
    let mut bytes = fs::read(&tensors).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&tensors, bytes).unwrap();
    let outcome = sandbox.lorahost(&words);
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    let said = "the run ID is begun anew, its checkpoint is damaged: ";
    assert!(outcome.err.contains(said), "{}", outcome.err);
    let cut = sandbox.runs("cut").remove(0);
    assert_eq!(metrics(&cut), metrics(&whole));
    assert_eq!(cut.record.result.resumes, 0);
}

/// Its log goes to a pipe that nobody reads.
#[test]
fn a_worker_whose_parent_was_killed_keeps_where_it_is_though_it_cannot_say_so() {
    let sandbox = Sandbox::new();
    let whole = sandbox.train_one("--epochs 4 --output whole");
    let words = small(&format!("--epochs 4 {KEPT} --output cut"));
    let mut program = sandbox.start(&format!("{words} -vv"), &[]);
    drop(program.stderr.take());
    until("eight lines", || {
        (lines(&sandbox.path("cut/runs")) >= 8).then_some(())
    });
    program.kill().unwrap();
    assert_eq!(sandbox.end(program).code, -1);
    let outcome = sandbox.lorahost(&words);
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    let cut = sandbox.runs("cut").remove(0);
    assert_eq!(metrics(&cut), metrics(&whole));
    assert_eq!(cut.record.result.resumes, 1);
}

#[test]
fn a_sweep_without_its_folder_and_without_anyone_to_tell_ends() {
    let sandbox = Sandbox::new();
    let words = small("--epochs 4000 --lrs 1e-3 2e-3 --workers 2");
    let mut program = sandbox.start(&words, &[]);
    drop(program.stderr.take());
    until("eight lines", || {
        (lines(&sandbox.path("out/runs")) >= 8).then_some(())
    });
    // Whoever writes to it meanwhile makes parts of it anew.
    while fs::remove_dir_all(sandbox.path("out")).is_err() {}
    for worker in workers(program.id()) {
        signal("KILL", worker);
    }
    let status = until("the end", || program.try_wait().unwrap());
    assert_ne!(status.code(), Some(0));
}

#[test]
fn a_plugin_that_never_comes_back_costs_its_run_alone() {
    let sandbox = Sandbox::new();
    let flags = "--plugin TEST/defective_init --init hangs uniform --set run.heartbeat=5 --set run.retries=0";
    let outcome = sandbox.lorahost(&small(flags));
    assert_eq!(outcome.code, 3, "{}", outcome.err);
    let cells = sandbox.cells("out");
    assert_eq!(
        cells["lora-r4-uniform"].record.result.status,
        Status::Completed
    );
    let error = cells["lora-r4-hangs"].record.result.error.clone().unwrap();
    let told = "the worker gave no sign of life for 5 seconds and was killed";
    assert!(error.message.starts_with(told), "{error}");
    let call = error.call.unwrap();
    assert_eq!(
        (call.component.as_str(), call.phase.as_str()),
        ("init hangs", "init")
    );
}

#[test]
fn a_worker_that_dies_again_and_again_is_given_up_with_its_crashes() {
    let sandbox = Sandbox::new();
    let flags = "--plugin TEST/aborts --init aborts uniform --set run.retries=2";
    let outcome = sandbox.lorahost(&small(flags));
    assert_eq!(outcome.code, 3, "{}", outcome.err);
    let cells = sandbox.cells("out");
    assert_eq!(cells["lora-r4-uniform"].record.result.crashes, 0);
    let given_up = &cells["lora-r4-aborts"];
    assert_eq!(given_up.record.result.crashes, 2);
    let crashes = fs::read_to_string(given_up.folder.join("crashes.jsonl")).unwrap();
    assert_eq!(crashes.lines().count(), 2);
    assert!(crashes.contains("SIGABRT"), "{crashes}");
}

#[test]
fn a_run_above_the_untrained_loss_ends_early_where_that_is_asked_for() {
    let sandbox = Sandbox::new();
    let flags = "--lrs 3 --optimizer sgd --epochs 4 --eval-every 2";
    let whole = sandbox.train_one(&format!("{flags} --output whole"));
    assert_eq!(whole.losses().len(), 32);
    let early = sandbox.train_one(&format!(
        "{flags} --set train.diverged_after=3 --output early"
    ));
    let result = &early.record.result;
    let untrained = result.measured.untrained_val_loss.unwrap();
    let evaluations = early.events.iter().filter_map(|event| match event {
        Event::Evaluation {
            split: Split::Validation,
            loss,
            ..
        } => Some(*loss),
        _ => None,
    });
    let losses: Vec<f64> = evaluations.skip(1).collect();
    let (before, last) = losses.split_at(losses.len() - 3);
    assert_eq!(result.status, Status::Diverged);
    let above = |losses: &[f64]| losses.iter().all(|loss| *loss > untrained);
    assert!(above(last) && !before.windows(3).any(above), "{losses:?}");
    assert_eq!(early.losses(), whole.losses()[..early.losses().len()]);
    assert!(early.losses().len() < 32, "it ends early");
    assert!(result.measured.test.is_some());
    assert_ne!(early.record.spec.id, whole.record.spec.id);
}

#[test]
fn workers_map_the_same_weights_and_tokens() {
    let sandbox = Sandbox::new();
    let child = sandbox.start(&small("--epochs 4000 --lrs 1e-3 2e-3 --workers 2"), &[]);
    let both_map = || {
        let workers = workers(child.id());
        let maps = workers
            .iter()
            .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/maps")).ok());
        let mapped = maps.filter(|maps| {
            ["model/model.safetensors", "out/cache/"]
                .iter()
                .all(|file| maps.contains(file))
        });
        workers.len() == 2 && mapped.count() == 2
    };
    until("both to map weights and tokens", || {
        both_map().then_some(())
    });
    signal("TERM", child.id());
    assert_eq!(sandbox.end(child).code, 130);
}
