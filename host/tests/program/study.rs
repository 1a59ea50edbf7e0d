//! `sweep FILE`, `plan` and `status`, and what an output folder lets in.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::sandbox::{Outcome, Sandbox, plugin, workspace};

/// LoRA and full fine-tuning at learning rates of their own, one step a run.
const STUDY: &str = "
seed = [1, 2]
model.path = 'model'
data.path = 'data'
train.epochs = 1
train.batch_size = 8
train.max_steps = 1
run.output = 'out'
run.workers = 1
alpha.alpha = 8
[[variants]]
method = 'lora'
lora.rank = 4
train.lr = 'logspace(1e-4, 1e-2, 3)'
[[variants]]
method = 'full'
train.lr = 1e-3
[[exclude]]
method = 'lora'
train.lr = 1e-2
";

fn study() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("study.toml", STUDY);
    sandbox
}

/// What a call tells as JSON, unmasked: figures may look like hashes.
fn told(sandbox: &Sandbox, words: &str) -> Value {
    let output = sandbox.start(words, &[]).output();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}: {err}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Runs that are done. A step more or less may leave one above the untrained loss: then it has diverged.
fn done(status: &Value) -> u64 {
    let count = |name: &str| status["total"][name].as_u64().unwrap();
    count("completed") + count("diverged")
}

fn good(outcome: &Outcome) {
    assert_eq!(outcome.code, 0, "{}", outcome.err);
}

#[test]
fn a_plan_is_what_a_sweep_then_does() {
    let sandbox = study();
    let plan = || told(&sandbox, "plan study.toml --json");
    let before = plan();
    assert!(!sandbox.path("out").exists(), "a plan leaves nothing");
    assert_eq!((&before["runs"], &before["done"]), (&json!(6), &json!(0)));
    assert_eq!(before["steps"], 6);
    assert_eq!(before["time"]["basis"], "matrix-products");
    let axes = json!([
        { "key": "method", "values": ["lora", "full"] },
        { "key": "seed", "values": [1, 2] },
        { "key": "train.lr", "values": [1e-4, 1e-3, 1e-2] },
    ]);
    assert_eq!(before["axes"], axes);
    let cells = before["cells"].as_array().unwrap();
    let (lora, full) = (&cells[0], &cells[1]);
    assert_eq!(
        (&lora["cell"], &lora["runs"]),
        (&json!("lora-r4"), &json!(4))
    );
    assert_eq!((&full["cell"], &full["runs"]), (&json!("full"), &json!(2)));
    let cost = |cell: &Value| cell["multiply_adds"].as_u64().unwrap();
    // Evaluations are most of these runs, and LoRA's factors come on top there.
    assert!(
        cost(lora) > cost(full) && cost(full) > 1_000_000,
        "{before}"
    );

    good(&sandbox.lorahost("sweep study.toml train.lr=1e-3"));
    assert_eq!(sandbox.runs("out").len(), 4);
    let after = plan();
    assert_eq!((&after["runs"], &after["done"]), (&json!(6), &json!(4)));
    assert_eq!(after["steps"], 2);
    assert_eq!(after["time"]["basis"], "finished-runs");
    let text = sandbox.lorahost("plan study.toml");
    assert!(text.out.contains("6, of which 4 are done"), "{}", text.out);
    assert!(
        text.out.contains("at the pace of 4 finished runs"),
        "{}",
        text.out
    );

    // The same words are the main job, and with --json it tells its summary.
    let words = "--config study.toml --set train.lr=1e-3 --json";
    let summary = told(&sandbox, words);
    assert_eq!(summary["done"], 4);
    assert_eq!(sandbox.runs("out").len(), 4, "nothing was repeated");
}

#[test]
fn status_counts_runs_by_their_state() {
    let sandbox = study();
    good(&sandbox.lorahost("sweep study.toml seed=1"));
    good(&sandbox.lorahost("sweep study.toml seed=2"));
    let status = || told(&sandbox, "status out --json");
    let all = status();
    assert_eq!((done(&all), &all["others"]), (3, &json!(3)));
    assert_eq!(all["seconds_left"], 0.0);
    assert_eq!(all["experiment"], "study.toml");

    // As a killed process leaves them: one run begun just now, one long ago, one without its folder.
    let runs = sandbox.runs("out");
    let of_plan: Vec<_> = runs
        .iter()
        .filter(|run| run.record.spec.spec.seeds.init == 2)
        .collect();
    for run in &of_plan[..2] {
        fs::remove_file(run.folder.join("done.json")).unwrap();
    }
    let old = File::options()
        .append(true)
        .open(of_plan[0].folder.join("metrics.jsonl"))
        .unwrap();
    old.set_modified(SystemTime::now() - Duration::from_hours(1))
        .unwrap();
    fs::remove_dir_all(&of_plan[2].folder).unwrap();
    let total = &status()["total"];
    let count = |name: &str| total[name].as_u64().unwrap();
    assert_eq!(
        ["planned", "running", "interrupted", "not_begun"].map(count),
        [3, 1, 1, 1]
    );
    let text = sandbox.lorahost("status out").out;
    assert!(
        text.contains("0 of 3 runs done (0%), time left not known"),
        "{text}"
    );
    assert!(
        text.contains("3 runs more in this folder, of earlier plans"),
        "{text}"
    );

    insta::assert_snapshot!(sandbox.lorahost("status kit").refused(), @"kit is no output folder of lorahost (it holds no lorahost.json); name the folder that a sweep was given as --output");
    fs::remove_file(sandbox.path("out/plan.json")).unwrap();
    insta::assert_snapshot!(sandbox.lorahost("status out").refused(), @"the output folder out has no plan yet: no sweep has begun in it");
}

#[test]
fn ten_thousand_runs_are_counted_at_once() {
    let sandbox = study();
    good(&sandbox.lorahost("sweep study.toml train.lr=1e-3 seed=1 method=full"));
    let one = sandbox.runs("out").remove(0);
    let path = sandbox.path("out/plan.json");
    let mut plan: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let runs = (0..10_000).map(|number| {
        let id = format!("{number:016x}");
        let folder = sandbox.path("out/runs").join(&id);
        fs::create_dir(&folder).unwrap();
        for name in ["spec.json", "metrics.jsonl", "result.json", "done.json"] {
            fs::hard_link(one.folder.join(name), folder.join(name)).unwrap();
        }
        json!({ "id": id, "steps": 1, "multiply_adds": 1000 })
    });
    plan["cells"][0]["runs"] = Value::from(runs.collect::<Vec<_>>());
    fs::write(&path, format!("{plan}\n")).unwrap();
    let started = Instant::now();
    let status = told(&sandbox, "status out --json");
    let took = started.elapsed();
    assert_eq!(done(&status), 10_000);
    // It takes 0.4 s of processor time; the rest is for busy machines.
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn an_output_folder_holds_one_study() {
    let sandbox = study();
    good(&sandbox.lorahost("sweep study.toml"));
    for file in ["config.json", "model.safetensors", "vocab.txt"] {
        let content = fs::read(sandbox.path("model").join(file)).unwrap();
        sandbox.write(&format!("other/{file}"), content);
    }
    let plan = fs::read(sandbox.path("out/plan.json")).unwrap();
    // The weights are the same, and so would be the runs: only a new seed makes new ones.
    good(&sandbox.lorahost("plan study.toml model.path=other"));
    let other = "study.toml model.path=other seed=3";
    let refused = sandbox.lorahost(&format!("sweep {other}"));
    insta::assert_snapshot!(refused.refused(), @"the output folder SANDBOX/out holds another study: its model is SANDBOX/model, this plan's is SANDBOX/other; name another folder with --output, or add --yes to have both in it");
    insta::assert_snapshot!(sandbox.lorahost(&format!("plan {other}")).refused(), @"the output folder out holds another study: its model is SANDBOX/model, this plan's is SANDBOX/other; name another folder with --output, or add --yes to have both in it");
    assert_eq!(fs::read(sandbox.path("out/plan.json")).unwrap(), plan);
    // Axes may grow: more seeds, ranks, and a model beside the first one.
    good(&sandbox.lorahost("sweep study.toml seed=3 lora.rank=2,4"));
    good(&sandbox.lorahost("sweep study.toml model.path=model,other seed=4"));
    good(&sandbox.lorahost(&format!("sweep {other} --yes")));
}

#[test]
fn a_plugin_that_changed_is_told() {
    let sandbox = study();
    good(&sandbox.lorahost("sweep study.toml"));
    // As built anew: bytes behind the sections change nothing but the hash.
    let file = plugin("uniform_init");
    let mut content = fs::read(&file).unwrap();
    content.push(0);
    let kit = sandbox.path("kit").join(file.file_name().unwrap());
    fs::remove_file(&kit).unwrap();
    fs::write(&kit, content).unwrap();
    let refused = sandbox.lorahost("sweep study.toml seed=1,2,3");
    insta::assert_snapshot!(refused.refused(), @"init uniform has changed since the output folder SANDBOX/out was begun (sha256 SHA, now SHA): runs of both would stand side by side; name another folder with --output, or add --accept-changed-plugins");
    assert_eq!(sandbox.runs("out").len(), 6);
    good(&sandbox.lorahost("sweep study.toml --accept-changed-plugins"));
    assert_eq!(
        sandbox.runs("out").len(),
        6 + 4,
        "those of LoRA were made anew"
    );
    good(&sandbox.lorahost("sweep study.toml"));
}

#[test]
fn more_runs_than_meant_are_refused() {
    let sandbox = study();
    let started = Instant::now();
    let refused = sandbox.lorahost("sweep study.toml seed=range(1000000)");
    insta::assert_snapshot!(refused.refused(), @"the experiment has 4000000 runs, more than 100000; add --yes if that is meant, or shorten `seed` (1000000), `train.lr` (3), pairs and variants (2)");
    assert!(started.elapsed() < Duration::from_secs(20));
    assert!(!sandbox.path("out").exists());
}

#[test]
fn no_space_is_an_error_that_names_the_file() {
    let test = "no_space_is_an_error_that_names_the_file";
    let sandbox = study();
    // The tokens fit and the first runs do; then a file takes the rest. What was done is done when there is room again.
    let script = "$LORAHOST sweep study.toml seed=1 --output small/out -q || exit 98
         cat /dev/zero >small/full 2>/dev/null
         $LORAHOST sweep study.toml seed=1,2,3 --output small/out -q; echo code $?
         rm small/full
         $LORAHOST sweep study.toml seed=1,2,3 --output small/out -q || exit 97
         $LORAHOST status small/out --json || exit 96";
    let Some((out, told)) = sandbox.with_a_small_disk(test, script) else {
        return;
    };
    let (code, status) = out.split_once('\n').unwrap();
    assert_eq!(code, "code 1", "{told}");
    assert!(told.contains("No space left on device"), "{told}");
    assert!(told.contains("small/out"), "{told}");
    let status: Value = serde_json::from_str(status).unwrap();
    assert_eq!(done(&status), 9, "{status}");
}

/// Calls a script from the sandbox, with the plugins and the program of this build.
fn script(sandbox: &Sandbox, name: &str, words: &str) -> (i32, String, String) {
    let output = Command::new(workspace().join("scripts").join(name))
        .args(words.split_whitespace())
        .current_dir(sandbox.path(""))
        .env("LORAHOST", env!("CARGO_BIN_EXE_lorahost"))
        .env("LORAHOST_CACHE", sandbox.path("cache"))
        .env_remove("LORAHOST_PLUGIN_PATH")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().unwrap_or(-1);
    (code, text(&output.stdout), text(&output.stderr))
}

#[test]
fn comparisons_take_any_plugin_files() {
    let sandbox = study();
    for (name, plugins, cells) in [
        (
            "compare_inits",
            ["uniform_init", "gaussian_init"],
            ["uniform", "gaussian"],
        ),
        (
            "compare_optimizers",
            ["adamw_optimizer", "sgd_optimizer"],
            ["adamw", "sgd"],
        ),
        (
            "compare_alphas",
            ["constant_alpha", "rslora_alpha"],
            ["constant", "rslora"],
        ),
    ] {
        let files = plugins.map(|name| plugin(name).display().to_string());
        // A path of the folder that it is called from.
        let near = Path::new(&files[0]).file_name().unwrap();
        fs::copy(&files[0], sandbox.path(near)).unwrap();
        let flags = "--model model --data data --rank 4 --lrs 1e-3 --max-steps 1 --workers 1";
        let words = format!(
            "{} {} {flags} --output {name} --json --quiet",
            near.display(),
            files[1]
        );
        let (code, out, err) = script(&sandbox, name, &words);
        assert_eq!((code, err.as_str()), (0, ""), "{name}");
        let summary: Value = serde_json::from_str(&out).unwrap();
        let found = summary["cells"].as_array().unwrap().iter();
        let found: Vec<&str> = found.map(|cell| cell["cell"].as_str().unwrap()).collect();
        let expected = cells.map(|cell| format!("lora-r4-{cell}"));
        assert_eq!(found, expected, "{name}");
        assert!(sandbox.path(name).join("summary.json").is_file());
    }
    let (code, _, err) = script(&sandbox, "compare_inits", "absent.so");
    assert_eq!(code, 2);
    assert!(err.contains("there is no plugin file 'absent.so'"), "{err}");
    let (code, _, err) = script(&sandbox, "compare_inits", "--rank 0");
    assert_eq!(
        (code, err.lines().count()),
        (2, 1),
        "lorahost's own refusal: {err}"
    );
    let (code, out, _) = script(&sandbox, "compare_alphas", "--help");
    assert!(
        code == 0 && out.starts_with("Compares alpha policies"),
        "{out}"
    );
}
