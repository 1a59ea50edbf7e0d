//! The sweep as a whole: what it writes, that it goes on where it stopped, and that its numbers depend on nothing but
//! the spec.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::sandbox::{Run, Sandbox, close, small, tensors};

/// LoRA at two ranks and full fine-tuning.
fn sweep(flags: &str) -> String {
    small(&format!(
        "--rank 2 4 --with-full-finetune --epochs 2 {flags}"
    ))
}

fn by_id(runs: &[Run]) -> BTreeMap<String, String> {
    runs.iter()
        .map(|run| (run.record.spec.id.clone(), run.numbers()))
        .collect()
}

fn json(sandbox: &Sandbox, path: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(sandbox.path(path)).unwrap()).unwrap()
}

fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn numbers_depend_on_neither_order_nor_workers_and_little_on_threads() {
    let sandbox = Sandbox::new();
    let run = |flags: &str, output: &str| {
        let outcome = sandbox.lorahost(&sweep(&format!("{flags} --output {output}")));
        assert_eq!(outcome.code, 0, "{}", outcome.err);
        sandbox.runs(output)
    };
    let forwards = run("--lrs 1e-3 3e-3 --workers 1", "one");
    let backwards = run("--lrs 3e-3 1e-3 --workers 2", "two");
    assert_eq!(forwards.len(), 6);
    assert_eq!(by_id(&forwards), by_id(&backwards));

    let threads = run("--lrs 1e-3 3e-3 --threads 2", "three");
    for (one, two) in forwards.iter().zip(&threads) {
        assert_eq!(
            one.record.spec.id, two.record.spec.id,
            "threads are no part of a run's name"
        );
        assert_eq!(two.record.result.provenance.threads, 2);
        close(&two.losses(), &one.losses(), 1e-3);
    }
}

#[test]
fn one_cell_gives_the_originals_file() {
    let sandbox = Sandbox::new();
    let outcome = sandbox.lorahost(&small("--lrs 1e-5 1e-3 --epochs 2 --full-finetune"));
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    assert!(
        outcome.out.contains("SANDBOX/out/results.json"),
        "{}",
        outcome.out
    );

    let results = json(&sandbox, "out/results.json");
    assert_eq!(keys(&results), ["1e-05", "0.001"]);
    for entry in results.as_object().unwrap().values() {
        assert_eq!(
            keys(entry),
            ["best_val_loss", "test_acc", "train_losses", "val_losses"]
        );
        let list =
            |name: &str| -> Vec<f64> { serde_json::from_value(entry[name].clone()).unwrap() };
        assert_eq!(list("train_losses").len(), 2);
        let losses = list("val_losses");
        assert_eq!(losses.len(), 2);
        assert_eq!(entry["best_val_loss"], losses[0].min(losses[1]));
        let accuracy = entry["test_acc"].as_f64().unwrap() * 32.0;
        assert!(
            (accuracy - accuracy.round()).abs() < 1e-9,
            "a share of 32 rows"
        );
    }
}

#[test]
fn several_cells_and_seeds_give_a_file_each_and_a_summary() {
    let sandbox = Sandbox::new();
    let outcome = sandbox.lorahost(&sweep("--lrs 1e-3 3e-3"));
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    assert!(!sandbox.path("out/results.json").exists());
    for cell in ["full", "lora-r2", "lora-r4"] {
        assert_eq!(
            keys(&json(&sandbox, &format!("out/{cell}/results.json"))),
            ["0.001", "0.003"]
        );
    }
    let summary = json(&sandbox, "out/summary.json");
    let cells = summary["cells"].as_array().unwrap();
    let names: Vec<&str> = cells
        .iter()
        .map(|cell| cell["cell"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["lora-r2", "lora-r4", "full"]);
    for cell in cells {
        assert_eq!(cell["points"].as_array().unwrap().len(), 2);
        assert!(cell["best"]["lr"].is_number());
    }
    assert_eq!(summary["interrupted"], false);
    // The same folder takes further runs, and then has their results alone.
    let outcome = sandbox.lorahost(&sweep("--seed 1 2"));
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    assert!(!sandbox.path("out/full/results.json").exists());
    assert_eq!(
        keys(&json(&sandbox, "out/full/seed-2/results.json")),
        ["0.001"]
    );
}

#[test]
fn what_is_done_is_not_done_again() {
    let sandbox = Sandbox::new();
    let first = sandbox.train_one("");
    let before = fs::metadata(first.folder.join("done.json"))
        .unwrap()
        .modified()
        .unwrap();
    let again = sandbox.lorahost(&small(""));
    assert_eq!(again.code, 0, "{}", again.err);
    assert!(
        again.err.contains("[1/1]") && again.err.contains("already done"),
        "{}",
        again.err
    );
    let after = fs::metadata(first.folder.join("done.json"))
        .unwrap()
        .modified()
        .unwrap();
    assert_eq!(before, after);

    // Half of a run is no run.
    fs::remove_file(first.folder.join("done.json")).unwrap();
    let anew = sandbox.train_one("");
    assert_eq!(anew.numbers(), first.numbers());
}

#[test]
fn two_paths_to_the_same_files_are_one_run() {
    let sandbox = Sandbox::new();
    for name in ["model", "data"] {
        symlink(sandbox.path(name), sandbox.path(format!("{name}-twin"))).unwrap();
    }
    let flags = "--model model model-twin --data data data-twin --max-steps 1";
    let outcome = sandbox.lorahost(&small(flags));
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    assert_eq!(sandbox.runs("out").len(), 1);
    let notices = outcome.err.matches("is left out where it is the same as");
    assert_eq!(notices.count(), 3, "{}", outcome.err);
    assert!(
        sandbox.path("out/results.json").exists(),
        "one cell is left"
    );
}

#[test]
fn a_seed_gives_its_factors_whatever_ran_before() {
    let sandbox = Sandbox::new();
    // The learning rate of A is 0, so what is saved is what was drawn.
    let flags = "--save adapter --set train.lr_a=0 --max-steps 2";
    let factors = |run: &Run| {
        let all = tensors(&run.folder.join("adapter.safetensors"));
        all.into_iter()
            .filter(|(name, _)| name.ends_with("lora_A.weight"))
            .collect::<BTreeMap<_, _>>()
    };
    let alone = factors(&sandbox.train_one(flags));
    assert_eq!(alone.len(), 12);
    let others = format!("{flags} --rank 8 4 --seed 7 42 --lrs 3e-3 1e-3 --output others");
    let mut seen = 0;
    for run in sandbox.train(&others) {
        let spec = &run.record.spec.spec;
        if spec.lora.as_ref().unwrap().rank == 4 {
            let same_seed = spec.seeds.init == 42;
            let other = factors(&run);
            assert!(
                alone
                    .iter()
                    .all(|(name, a)| a.equal(&other[name]) == same_seed)
            );
            seen += 1;
        }
    }
    assert_eq!(seen, 4);
}

/// `lorahost --plugin plugins/gaussian_init.so`, just so, in a folder with the plugins: the original's defaults on the
/// embedded model and data. The longest test of all, about a minute on two cores.
#[test]
fn one_plugin_and_nothing_else_is_enough() {
    let sandbox = Sandbox::new();
    let outcome = sandbox.lorahost_with(&plugin_alone(&sandbox), NOWHERE);
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    let output = default_output(&sandbox);
    assert!(
        outcome
            .out
            .contains(&format!("SANDBOX/{output}/results.json")),
        "{}",
        outcome.out
    );
    let results = json(&sandbox, &format!("{output}/results.json"));
    assert_eq!(keys(&results), ["0.0001", "0.0005", "0.001"]);
    for entry in results.as_object().unwrap().values() {
        assert_eq!(entry["train_losses"].as_array().unwrap().len(), 5);
        assert!(entry["test_acc"].as_f64().unwrap() > 0.5, "{entry}");
    }
}

/// The same command, interrupted once it trains; then a short run with the same plugin.
#[test]
fn one_plugin_and_nothing_else_begins_and_is_interrupted() {
    let sandbox = Sandbox::new();
    let words = plugin_alone(&sandbox);
    let child = sandbox.start(&words, NOWHERE);
    let trains = || {
        let folders = fs::read_dir(sandbox.path("runs"))
            .into_iter()
            .flatten()
            .flatten();
        let runs = folders
            .flat_map(|folder| fs::read_dir(folder.path().join("runs")))
            .flatten();
        let mut metrics = runs
            .flatten()
            .filter_map(|run| fs::read_to_string(run.path().join("metrics.jsonl")).ok());
        metrics.any(|text| text.contains("\"event\":\"step\""))
    };
    let waited = Instant::now();
    while !trains() && waited.elapsed() < Duration::from_secs(100) {
        thread::sleep(Duration::from_millis(100));
    }
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &id])
            .status()
            .unwrap()
            .success()
    );
    let outcome = sandbox.end(child);
    assert_eq!(outcome.code, 130, "{}", outcome.err);
    assert!(!outcome.out.contains("results.json"), "{}", outcome.out);
    assert!(
        outcome.err.contains("wrapped 18 of 20 linear layers"),
        "{}",
        outcome.err
    );
    let output = default_output(&sandbox);
    assert!(!sandbox.path(&output).join("results.json").exists());
    let summary = json(&sandbox, &format!("{output}/summary.json"));
    assert_eq!(summary["interrupted"], true);
    assert_eq!(summary["planned"], 3);
    for run in fs::read_dir(sandbox.path(&output).join("runs")).unwrap() {
        let folder = run.unwrap().path();
        assert!(!folder.join("result.json").exists() && !folder.join("done.json").exists());
        let spec = fs::read_to_string(folder.join("spec.json")).unwrap();
        assert!(spec.contains("gaussian"), "the named plugin is taken");
    }

    let short = "--lrs 1e-3 --max-steps 2 --validation-size 64 --test-size 64 --output short";
    let outcome = sandbox.lorahost_with(&format!("{words} {short}"), NOWHERE);
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    assert_eq!(sandbox.runs("short")[0].losses().len(), 2);
}

const NOWHERE: &[(&str, &str)] = &[("LORAHOST_PLUGIN_PATH", "")];

/// The words of the shortest command; the plugins lie in `plugins/` then.
fn plugin_alone(sandbox: &Sandbox) -> String {
    fs::rename(sandbox.path("kit"), sandbox.path("plugins")).unwrap();
    format!(
        "--plugin plugins/gaussian_init{}",
        std::env::consts::DLL_SUFFIX
    )
}

/// The only folder under `runs/`.
fn default_output(sandbox: &Sandbox) -> String {
    let names: Vec<_> = fs::read_dir(sandbox.path("runs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(names.len(), 1, "{names:?}");
    format!("runs/{}", names[0])
}
