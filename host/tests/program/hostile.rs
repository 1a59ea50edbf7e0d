//! Plugins that go wrong: each costs its own run, with one line that says which plugin, component, phase and layer;
//! the other runs of the sweep have results.

use lorahost::record::Status;

use crate::processes::{signal, until};
use crate::sandbox::{Outcome, Run, Sandbox, small};
use crate::survival::{KEPT, lines};

/// What the host says of tensors that a plugin keeps beyond its run.
const LEAK: &str = "were not dropped";

/// Trains one sound variant of a kind beside the hostile ones of a file (further flags may follow it), and returns what was said.
///
/// The sound variant must have its result, each hostile one a record that says how it failed.
fn beside(kind: &str, sound: &str, file: &str, hostile: &[&str]) -> (Sandbox, Outcome) {
    let sandbox = Sandbox::new();
    let names = hostile.join(" ");
    let flags = format!("--plugin TEST/{file} --{kind} {names} {sound}");
    let outcome = sandbox.lorahost(&small(&flags));
    assert_eq!(outcome.code, 3, "{}", outcome.err);

    let cells = sandbox.cells("out");
    assert_eq!(cells.len(), hostile.len() + 1);
    for (cell, run) in &cells {
        let name = cell.strip_prefix("lora-r4-").unwrap();
        let result = &run.record.result;
        if sound.split(':').next() == Some(name) {
            assert_eq!(result.status, Status::Completed, "{cell}");
            assert!(results(&sandbox, cell).contains("\"test_"), "{cell}");
        } else {
            failed(run);
            let error = result.error.as_ref().unwrap().to_string();
            assert_eq!(error.lines().count(), 1, "{error}");
            assert_eq!(
                results(&sandbox, cell),
                "{}",
                "{cell}: a failed run has no figures"
            );
        }
    }
    (sandbox, outcome)
}

/// A failed run is recorded as failed everywhere, and has nothing that looks like a result.
fn failed(run: &Run) {
    let result = &run.record.result;
    assert_eq!(result.status, Status::Failed, "{}", run.record.spec.cell);
    assert!(result.measured.test.is_none());
    assert!(result.best_val_loss.is_nan());
    let done = std::fs::read_to_string(run.folder.join("done.json")).unwrap();
    assert!(done.contains("\"status\": \"failed\""), "{done}");
}

fn results(sandbox: &Sandbox, cell: &str) -> String {
    let path = sandbox.path("out").join(cell).join("results.json");
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

#[test]
fn init_schemes() {
    let hostile = [
        "panics",
        "refuses",
        "transposed",
        "nan",
        "double",
        "unknown-operator",
        "bad-shapes",
        "unseeded",
        "dropout",
        "sparse",
        "complex",
        "bad-parameter",
        "greedy",
        "rings",
    ];
    let (_sandbox, outcome) = beside("init", "uniform", "hostile_init", &hostile);
    assert!(!outcome.err.contains(LEAK), "{}", outcome.err);
    insta::assert_snapshot!(outcome.failures().join("\n"));
}

#[test]
fn init_schemes_and_what_is_measured_for_them() {
    let hostile = ["too-few-ranks", "no-ranks", "elsewhere", "no-batches"];
    let (_sandbox, outcome) = beside("init", "uniform", "hostile_init", &hostile);
    insta::assert_snapshot!(outcome.failures().join("\n"));
}

#[test]
fn init_schemes_that_go_around_the_sdk() {
    let hostile = [
        "stale-handle",
        "invented-handle",
        "one-handle-twice",
        "one-tensor",
        "no-json",
        "unknown-tag",
        "unknown-operator-id",
        "unfilled-shape",
        "other-thread",
        "unknown-code",
        "bad-dtype",
        "calls-in-create",
        "leaks",
    ];
    let (_sandbox, outcome) = beside(
        "init",
        "gaussian",
        "raw_calls --head sequence-classification",
        &hostile,
    );
    let leak = |line: &str| line.contains("WARN") && line.contains(LEAK);
    assert!(outcome.err.lines().any(leak), "{}", outcome.err);
    insta::assert_snapshot!(outcome.failures().join("\n"));
}

#[test]
fn alpha_policies() {
    let hostile = ["infinite", "backwards", "panics"];
    let (_sandbox, outcome) = beside(
        "alpha-policy",
        "constant:alpha=8",
        "hostile_alpha",
        &hostile,
    );
    insta::assert_snapshot!(outcome.failures().join("\n"));
}

#[test]
fn what_the_host_lacks_is_told_before_anything_runs() {
    let sandbox = Sandbox::new();
    let flags = "--plugin TEST/hostile_alpha --alpha-policy constant telepathic";
    let outcome = sandbox.lorahost(&small(flags));
    let line = outcome.refused();
    let missing = "lorahost.telepathy/1, lorahost.divination/2";
    assert!(line.contains(missing), "{line}");
    assert!(!sandbox.path("out").exists(), "nothing is begun");
}

#[test]
fn optimizers() {
    let hostile = ["panics", "refuses", "turns", "doubles", "shy"];
    let (_sandbox, outcome) = beside("optimizer", "adamw", "hostile_optimizer", &hostile);
    assert!(!outcome.err.contains(LEAK), "{}", outcome.err);
    insta::assert_snapshot!(outcome.failures().join("\n"));
}

#[test]
fn task_heads() {
    let hostile = [
        "two-losses",
        "detached",
        "counts-nothing",
        "no-headline",
        "loses-a-token",
        "invents-tokens",
        "exotic",
        "mute",
        "narrow",
        "rewrites",
    ];
    let (_sandbox, outcome) = beside("head", "sequence-classification", "hostile_head", &hostile);
    assert!(!outcome.err.contains(LEAK), "{}", outcome.err);
    insta::assert_snapshot!(outcome.failures().join("\n"));
}

#[test]
fn a_task_head_that_goes_around_the_sdk() {
    let file = "raw_calls --init uniform";
    let (_sandbox, outcome) = beside("head", "sequence-classification", file, &["lost-labels"]);
    insta::assert_snapshot!(outcome.failures().join("\n"));
}

#[test]
fn a_plugin_that_ends_the_process_costs_its_run_alone() {
    let (_sandbox, outcome) = beside(
        "init",
        "uniform",
        "aborts",
        &["aborts", "exits", "segfaults"],
    );
    insta::assert_snapshot!(outcome.failures().join("\n"));
}

/// Short runs with the components of `panics`, which panic where they are told to.
const CALLS: &str = "
model.path = 'model'
data.path = 'data'
train.lr = 1e-3
train.max_steps = 1
lora.rank = 4
run.output = 'out'
run.workers = 1
run.checkpoint_every = 1e-6
";

/// A panic in an optimizer's `state` costs a checkpoint, and is told when the next call finds the component unfit.
#[test]
fn a_panic_in_each_call() {
    let calls = [
        ("init", "ranks init"),
        ("alpha", "scale"),
        ("optimizer", "prepare step evaluation state"),
        ("head", "plan inputs forward reset observe metrics"),
    ];
    let of_kind = |(kind, calls): (&str, &str)| -> String {
        let variant = |call| format!("[[variants]]\n{kind} = 'panics:at={call}'\n");
        calls.split(' ').map(variant).collect()
    };
    let sandbox = Sandbox::new();
    sandbox.write(
        "panics.toml",
        CALLS.to_owned() + &calls.map(of_kind).concat(),
    );
    let outcome = sandbox.lorahost("sweep panics.toml --plugin TEST/panics");
    assert_eq!(outcome.code, 3, "{}", outcome.err);
    assert!(!outcome.err.contains(LEAK), "{}", outcome.err);
    insta::assert_snapshot!(outcome.failures().join("\n"));
}

#[test]
fn a_panic_at_the_end_of_a_component_is_said_and_costs_nothing() {
    let sandbox = Sandbox::new();
    let words = small("--plugin TEST/panics --init panics:at=drop --max-steps 1");
    let outcome = sandbox.lorahost(&words);
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    let said = outcome.err.lines().find(|line| line.contains("WARN"));
    insta::assert_snapshot!(said.unwrap().trim());
}

#[test]
fn a_state_that_an_optimizer_does_not_take_back_is_left() {
    for (optimizer, why) in [
        ("TEST/hostile_optimizer --optimizer forgetful", "elsewhere"),
        ("TEST/panics --optimizer panics:at=load", "not in my load"),
    ] {
        let sandbox = Sandbox::new();
        let flags = format!("--plugin {optimizer} --epochs 4 {KEPT}");
        let child = sandbox.start(&small(&flags), &[]);
        until("four lines", || {
            (lines(&sandbox.path("out/runs")) >= 4).then_some(())
        });
        signal("TERM", child.id());
        assert_eq!(sandbox.end(child).code, 130);
        let outcome = sandbox.lorahost(&small(&flags));
        assert_eq!(outcome.code, 0, "{}", outcome.err);
        let said =
            |line: &str| line.contains("the checkpoint of run ID is left") && line.contains(why);
        assert!(outcome.err.lines().any(said), "{}", outcome.err);
        let run = sandbox.runs("out").remove(0);
        assert_eq!(run.losses().len(), 32, "begun anew");
    }
}

#[test]
fn parameters_that_become_nan_are_a_diverged_run() {
    let sandbox = Sandbox::new();
    let runs = sandbox.train("--plugin TEST/hostile_optimizer --optimizer nan sgd");
    let [nan, sgd] = &runs[..] else {
        panic!("{} runs", runs.len())
    };
    assert_eq!(nan.record.result.status, Status::Diverged);
    let losses = nan.losses();
    assert!(
        losses.len() == 3 && losses[2].is_nan(),
        "it ends at the first NaN: {losses:?}"
    );
    assert_eq!(sgd.record.result.status, Status::Completed);
}

#[test]
fn a_plugin_that_prints_disturbs_nothing() {
    let sandbox = Sandbox::new();
    let outcome = sandbox.lorahost(&small("--plugin TEST/prints"));
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    assert!(!outcome.out.contains("retires"), "{}", outcome.out);
    assert!(outcome.err.contains("\"retires\":false"), "{}", outcome.err);
    assert_eq!(
        sandbox.runs("out")[0].record.result.status,
        Status::Completed
    );
}

#[test]
fn a_scheme_gets_a_copy_of_the_weight() {
    let sandbox = Sandbox::new();
    let flags = "--plugin TEST/hostile_init --init scribbles uniform";
    let losses: Vec<_> = sandbox
        .train(flags)
        .iter()
        .map(|run| run.record.result.measured.untrained_val_loss)
        .collect();
    assert_eq!(
        losses[0], losses[1],
        "with B = 0 both start as the model itself"
    );
}

#[test]
fn failed_runs_are_tried_again_and_the_others_are_not() {
    let sandbox = Sandbox::new();
    let flags = small("--plugin TEST/hostile_init --init refuses uniform");
    assert_eq!(sandbox.lorahost(&flags).code, 3);
    let again = sandbox.lorahost(&flags);
    assert_eq!(again.code, 3);
    let lines: Vec<&str> = again
        .err
        .lines()
        .filter(|line| line.starts_with('['))
        .collect();
    assert!(
        lines[0].contains("uniform") && lines[0].contains("already done"),
        "{lines:?}"
    );
    assert!(
        lines[1].contains("refuses") && !lines[1].contains("already done"),
        "{lines:?}"
    );
}
