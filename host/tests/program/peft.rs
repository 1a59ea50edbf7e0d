//! Adapters that leave and enter, against PEFT and transformers themselves where there is a Python that has them:
//! `LORAHOST_TEST_PYTHON` names it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lorahost::model::{Activation, Model, Pass, Pooled, activation};
use lorahost::trained::Trained;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use crate::sandbox::{Run, Sandbox, copy_model, skipped, small, workspace};

/// A head of a number of outputs.
type HeadOf<'a> = (&'a str, i64);

const FAMILIES: [&str; 5] = ["distilbert", "bert", "gpt2", "llama", "qwen2"];

/// Every init scheme, those that compensate and one that does by option, and ranks that differ by layer.
const INITS: &str = "uniform gaussian gaussian:std_b=0.3,compensate=true init-b orthogonal pissa milora olora mica eva \
                     eva:redistribute=true corda lora-ga lora-one";

/// Token ids, all of them words of every model.
pub const ROWS: [&[i64]; 3] = [&[5, 9, 17, 30, 8], &[12], &[7, 7, 21, 33, 6, 11, 20, 9]];

/// A sandbox with a small random model of each family.
fn with_families() -> Sandbox {
    let sandbox = Sandbox::new();
    for family in FAMILIES {
        let from = match family {
            "llama" | "qwen2" => format!("decoders/{family}"),
            other => format!("tiny-{other}-reference"),
        };
        copy_model(&from, &sandbox.path(family));
        let words = fs::read(sandbox.path("model/vocab.txt")).unwrap();
        sandbox.write(&format!("{family}/vocab.txt"), words);
    }
    sandbox
}

/// Trains with every plugin of the repository at hand.
fn train(sandbox: &Sandbox, flags: &str) -> Vec<Run> {
    let plugins = workspace().join("plugins").display().to_string();
    let environment = [("LORAHOST_PLUGIN_PATH", plugins.as_str())];
    let outcome = sandbox.lorahost_with(&small(flags), &environment);
    assert_eq!(outcome.code, 0, "{flags}\n{}", outcome.err);
    let mut words = flags
        .split_whitespace()
        .skip_while(|word| *word != "--output");
    sandbox.runs(words.nth(1).unwrap())
}

/// Exports `run` to a folder of the sandbox.
fn export(sandbox: &Sandbox, run: &Run, name: &str, flags: &str) -> PathBuf {
    let words = format!("export {} {name} {flags}", run.folder.display());
    let outcome = sandbox.lorahost(&words);
    assert_eq!(outcome.code, 0, "{words}\n{}", outcome.err);
    sandbox.path(name)
}

/// The logits of each row as lorahost computes them.
fn logits(path: &Path, base: Option<&str>, head: HeadOf<'_>) -> Vec<Vec<f64>> {
    let model = opened(path, base, head);
    ROWS.iter().map(|row| logits_of(&model, row)).collect()
}

fn opened(path: &Path, base: Option<&str>, head: HeadOf<'_>) -> Model {
    let trained = Trained::find(path.to_str().unwrap(), base).unwrap();
    let mut model = trained.open(Device::Cpu).unwrap();
    let outputs = if head.1 == 0 {
        model.vocabulary()
    } else {
        head.1
    };
    model.build_head(head.0, outputs).unwrap();
    trained.complete(&mut model).unwrap();
    model
}

fn logits_of(model: &Model, row: &[i64]) -> Vec<f64> {
    let pass = Pass::evaluation();
    tch::no_grad(|| {
        let ids = Tensor::from_slice(row);
        let batch = model.pack(&ids, &[0, row.len() as i64]).unwrap();
        let mut x = model.forward(&batch, &pass).unwrap();
        let head = model.head().unwrap();
        match head.description().pooled {
            Some(Pooled::First) => x = x.narrow(0, 0, 1),
            Some(Pooled::Last) => x = x.narrow(0, row.len() as i64 - 1, 1),
            Some(Pooled::Other) => panic!("no place is pooled that this test knows"),
            None => {}
        }
        for layer in &head.description().layers {
            x = head.linear(&layer.name, &x, &pass).unwrap();
            let function: Option<Activation> = layer.activation;
            if let Some(function) = function {
                x = activation::apply(function, &x).unwrap();
            }
        }
        Vec::try_from(x.to_kind(Kind::Double).reshape([-1])).unwrap()
    })
}

/// What the Python script makes of the cases; none where there is no Python for it.
fn python(
    sandbox: &Sandbox,
    test: &str,
    what: &str,
    cases: &[Value],
) -> Option<Vec<Vec<Vec<f64>>>> {
    let Some(python) = std::env::var_os("LORAHOST_TEST_PYTHON") else {
        skipped(test, "LORAHOST_TEST_PYTHON is not set");
        return None;
    };
    let (input, output) = (sandbox.path("cases.json"), sandbox.path("results.json"));
    fs::write(&input, json!(cases).to_string()).unwrap();
    let script = workspace().join("host/tests/python/peft_cases.py");
    let ended = Command::new(python)
        .arg(script)
        .arg(what)
        .args([&input, &output])
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{err}");
    Some(serde_json::from_slice(&fs::read(output).unwrap()).unwrap())
}

fn has_python(test: &str) -> bool {
    let there = std::env::var_os("LORAHOST_TEST_PYTHON").is_some();
    if !there {
        skipped(test, "LORAHOST_TEST_PYTHON is not set");
    }
    there
}

fn close(found: &[Vec<f64>], expected: &[Vec<f64>], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.len(), expected.len(), "{what}");
        for (found, expected) in found.iter().zip(expected) {
            let off = (found - expected).abs();
            assert!(off <= 1e-4, "{what}: {found}, expected {expected}");
        }
    }
}

fn differ(one: &[Vec<f64>], other: &[Vec<f64>]) -> bool {
    let mut pairs = one.iter().flatten().zip(other.iter().flatten());
    pairs.any(|(one, other)| (one - other).abs() > 1e-3)
}

/// Exports every run and compares PEFT's logits with lorahost's own.
fn compare(sandbox: &Sandbox, test: &str, runs: &[(String, Run)], head: HeadOf<'_>, flags: &str) {
    let mut cases = Vec::new();
    let mut expected = Vec::new();
    for (base, run) in runs {
        let name = format!("export-{}{}", run.record.spec.id, flags.replace(' ', ""));
        let folder = export(sandbox, run, &name, flags);
        expected.push(logits(&run.folder, None, head));
        let (own, adapter) = if flags.contains("--merged") || flags.contains("--full") {
            (json!(folder), Value::Null)
        } else {
            (json!(sandbox.path(base)), json!(folder))
        };
        cases.push(json!({
            "base": own, "adapter": adapter, "layout": head.0, "outputs": head.1, "rows": ROWS,
        }));
        close(
            &logits(&folder, None, head),
            expected.last().unwrap(),
            "read by lorahost again",
        );
    }
    let Some(found) = python(sandbox, test, "logits", &cases) else {
        return;
    };
    for (((base, run), found), expected) in runs.iter().zip(&found).zip(&expected) {
        let what = format!("{base} {} {flags}", run.record.spec.cell);
        close(found, expected, &what);
    }
}

#[test]
fn every_init_head_and_architecture_loads_in_peft_with_equal_logits() {
    let test = "every_init_head_and_architecture_loads_in_peft_with_equal_logits";
    if !has_python(test) {
        return;
    }
    let sandbox = with_families();
    let mut runs = Vec::new();
    for family in FAMILIES {
        let flags = format!(
            "--model {} --init {INITS} --set lora.head_mode=[\"train\",\"lora\"] --rank 4 --lrs 1e-2 --save adapter \
             --output out-{family} --workers 2",
            sandbox.path(family).display()
        );
        let of_family = train(&sandbox, &flags);
        assert_eq!(of_family.len(), 28, "{family}");
        runs.extend(of_family.into_iter().map(|run| (family.to_owned(), run)));
    }
    let base = logits(&sandbox.path("bert"), None, ("pooled", 4));
    let learnt = runs.iter().find(|(family, _)| family == "bert").unwrap();
    assert!(differ(
        &base,
        &logits(&learnt.1.folder, None, ("pooled", 4))
    ));
    compare(&sandbox, test, &runs, ("pooled", 4), "");
    let some: Vec<_> = runs.into_iter().step_by(5).collect();
    compare(&sandbox, test, &some, ("pooled", 4), "--merged");
}

#[test]
fn other_heads_load_in_peft_with_equal_logits() {
    let test = "other_heads_load_in_peft_with_equal_logits";
    let sandbox = with_families();
    let rows = "{\"words\": [\"goal\", \"the\", \"bank\"], \"tags\": [\"A\", \"B\", \"C\"]}\n";
    sandbox.write("tags/train.jsonl", rows.repeat(24));
    let lines = "the new treaty of the big bank says goal after goal in two\n";
    sandbox.write("text/train.txt", lines.repeat(40));
    for (head, flags, layout, families) in [
        (
            "token-classification",
            "--data tags",
            ("tokens", 3),
            &["distilbert", "bert", "gpt2", "qwen2"][..],
        ),
        (
            "causal-lm",
            "--data text --block-size 16",
            ("causal", 0),
            &["gpt2", "llama", "qwen2"],
        ),
        (
            "masked-lm",
            "--data data",
            ("vocabulary", 0),
            &["distilbert", "bert"],
        ),
    ] {
        let mut runs = Vec::new();
        for family in families {
            let flags = format!(
                "--model {} {flags} --head {head} --init pissa --set lora.head_mode=[\"train\",\"lora\"] --lrs \
                 1e-2 --save adapter --output {head}-{family} --workers 2",
                sandbox.path(family).display()
            );
            let of_family = train(&sandbox, &flags).into_iter();
            runs.extend(of_family.map(|run| ((*family).to_owned(), run)));
        }
        compare(&sandbox, test, &runs, layout, "");
    }
}

#[test]
fn a_model_after_full_fine_tuning_is_the_same_elsewhere() {
    let test = "a_model_after_full_fine_tuning_is_the_same_elsewhere";
    let sandbox = with_families();
    let mut runs = Vec::new();
    for family in FAMILIES {
        let flags = format!(
            "--model {} --full-finetune --lrs 1e-2 --save full --output {family}-full",
            sandbox.path(family).display()
        );
        let run = sandbox.train_one(&flags);
        let learnt = logits(&run.folder, None, ("pooled", 4));
        let base = logits(&sandbox.path(family), None, ("pooled", 4));
        assert!(differ(&learnt, &base), "{family}");
        runs.push((family.to_owned(), run));
    }
    compare(&sandbox, test, &runs, ("pooled", 4), "--full");
}

#[test]
fn exports_have_the_type_that_is_asked_for() {
    let sandbox = Sandbox::new();
    let model = sandbox.path("model");
    let flags = format!("--model {} --lrs 1e-2 --save adapter", model.display());
    let run = sandbox.train_one(&flags);
    let kept = crate::sandbox::tensors(&run.folder.join("adapter.safetensors"));
    let exact = logits(&run.folder, None, ("pooled", 4));
    for (dtype, kind, name, tolerance) in [
        ("bf16", Kind::BFloat16, "bfloat16", 0.05),
        ("fp16", Kind::Half, "float16", 0.01),
    ] {
        let folder = export(&sandbox, &run, dtype, &format!("--dtype {dtype}"));
        let written = crate::sandbox::tensors(&folder.join("adapter_model.safetensors"));
        for (key, tensor) in &written {
            let own = &kept[key.strip_prefix("base_model.model.").unwrap()];
            assert!(tensor.equal(&own.to_kind(kind)), "{key}");
        }
        let whole = export(
            &sandbox,
            &run,
            &format!("{dtype}-whole"),
            &format!("--merged --dtype {dtype}"),
        );
        let written = crate::sandbox::tensors(&whole.join("model.safetensors"));
        assert!(
            written.values().all(|tensor| tensor.kind() == kind),
            "{dtype}"
        );
        let config: Value =
            serde_json::from_slice(&fs::read(whole.join("config.json")).unwrap()).unwrap();
        let said = config.get("dtype").or_else(|| config.get("torch_dtype"));
        assert_eq!(said, Some(&json!(name)));
        for folder in [folder, whole] {
            let found = logits(&folder, None, ("pooled", 4));
            for (found, exact) in found.iter().flatten().zip(exact.iter().flatten()) {
                assert!(
                    (found - exact).abs() < tolerance,
                    "{dtype}: {found}, {exact}"
                );
            }
        }
    }
}

/// Adapters that PEFT made, with their logits: `scripts/references/adapters.py`.
fn references() -> (PathBuf, Vec<Value>) {
    let folder = workspace().join("host/tests/data/peft");
    let cases = fs::read(folder.join("cases.json")).unwrap();
    (folder, serde_json::from_slice(&cases).unwrap())
}

#[test]
fn adapters_that_peft_made_give_its_logits() {
    let (folder, cases) = references();
    assert_eq!(cases.len(), 7);
    for case in &cases {
        let text = |key: &str| case[key].as_str().unwrap();
        let base = workspace().join("host/tests/data").join(text("model"));
        let head = (text("layout"), case["outputs"].as_i64().unwrap());
        let model = opened(&folder.join(text("name")), base.to_str(), head);
        let rows: Vec<Vec<i64>> = serde_json::from_value(case["rows"].clone()).unwrap();
        let found: Vec<_> = rows.iter().map(|row| logits_of(&model, row)).collect();
        let expected: Vec<Vec<f64>> = serde_json::from_value(case["logits"].clone()).unwrap();
        close(&found, &expected, text("name"));
    }
}

#[test]
fn training_goes_on_from_an_adapter() {
    let sandbox = with_families();
    let (folder, _) = references();
    let adapter = folder.join("gpt2-classes");
    let (model, adapter_path) = (sandbox.path("gpt2"), adapter.display());
    let model = model.display();
    let words =
        format!("eval {adapter_path} --model {model} --data data --split validation --json");
    let measured = sandbox.json(&words);
    let start = logits(&adapter, Some(&model.to_string()), ("pooled", 4));

    let flags = format!("--model {model} --adapter {adapter_path} --lrs 1e-2 --save adapter");
    let small = small(&flags)
        .replace("--rank 4", "")
        .replace("--alpha-policy constant:alpha=8", "");
    let outcome = sandbox.lorahost(&format!("{small} --with-full-finetune"));
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    let cells = sandbox.cells("out");
    for (cell, run) in &cells {
        let spec = &run.record.spec.spec;
        assert!(spec.init.is_none() && spec.alpha.is_none(), "{cell}");
        let untrained = run.record.result.measured.untrained_val_loss.unwrap();
        let off = (untrained - measured["loss"].as_f64().unwrap()).abs();
        assert!(off < 1e-5, "{cell} begins at {untrained}, {off} off");
    }
    let run = &cells["lora-r2"];
    // Eight layers with factors of rank 2, the score.
    assert_eq!(run.size().0, 8);
    let learnt = logits(&run.folder, None, ("pooled", 4));
    assert!(differ(&learnt, &start));
    let exported = export(&sandbox, run, "exported", "");
    close(&logits(&exported, None, ("pooled", 4)), &learnt, "exported");
    let case = json!({
        "base": model.to_string(), "adapter": exported, "layout": "pooled", "outputs": 4, "rows": ROWS,
    });
    let test = "training_goes_on_from_an_adapter";
    if let Some(found) = python(&sandbox, test, "logits", &[case]) {
        close(&found[0], &learnt, "in PEFT");
    }

    let copy = sandbox.path("copy");
    fs::create_dir(&copy).unwrap();
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        fs::copy(adapter.join(name), copy.join(name)).unwrap();
    }
    let again = sandbox.lorahost(&small.replace(&adapter_path.to_string(), "copy"));
    assert_eq!(again.code, 0, "{}", again.err);
    assert_eq!(
        sandbox.runs("out").len(),
        2,
        "the adapter counts, not its place"
    );

    let other = small.replace(&model.to_string(), "bert");
    let refused = sandbox.lorahost(&other.replace("--output out", "--output other"));
    assert!(
        refused
            .refused()
            .contains("8 that fit no linear layer of the model"),
        "{}",
        refused.err
    );
    assert!(!sandbox.path("other").exists());
    let refused = sandbox.lorahost(&format!("{small} --rank 8"));
    let expected =
        "`lora.rank` (--rank) has no effect beside `model.adapter`: the adapter has its own";
    assert_eq!(refused.refused(), expected);
}

#[test]
fn modules_trained_whole_learn_on() {
    let sandbox = with_families();
    let (folder, _) = references();
    let adapter = folder.join("bert-expression-norms");
    sandbox.write(
        "tags/train.jsonl",
        "{\"words\": [\"goal\", \"the\"], \"tags\": [\"A\", \"B\"]}\n".repeat(8)
            + "{\"words\": [\"new\", \"bank\", \"of\"], \"tags\": [\"C\", \"D\", \"E\"]}\n",
    );
    let plugins = workspace().join("plugins").display().to_string();
    let flags = format!(
        "--model {} --adapter {} --data tags --head token-classification --lrs 1e-1 --save adapter --output out \
         --epochs 2 --batch-size 4 --workers 1",
        sandbox.path("bert").display(),
        adapter.display()
    );
    let outcome = sandbox.lorahost_with(&flags, &[("LORAHOST_PLUGIN_PATH", plugins.as_str())]);
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    let run = sandbox.runs("out").remove(0);
    let kept = crate::sandbox::tensors(&run.folder.join("adapter.safetensors"));
    let norm = "bert.embeddings.LayerNorm.weight";
    let before = crate::sandbox::tensors(&adapter.join("adapter_model.safetensors"));
    let before = &before[&format!("base_model.model.{norm}")];
    assert!(!kept[norm].equal(before), "the norm did not learn");
    let exported = export(&sandbox, &run, "exported", "");
    let config = fs::read(exported.join("adapter_config.json")).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(
        config["modules_to_save"],
        json!(["bert.embeddings.LayerNorm", "classifier"])
    );
    let head = ("tokens", 5);
    close(
        &logits(&exported, None, head),
        &logits(&run.folder, None, head),
        "exported",
    );
}

#[test]
fn vllm_gets_one_rank_and_one_scale() {
    let sandbox = with_families();
    let llama = sandbox.path("llama").display().to_string();
    let data =
        "--data builtin:prose --head causal-lm --train-size 32 --validation-size 8 --test-size 8";
    sandbox.write(
        "text/train.txt",
        "the new treaty of the big bank says goal after goal in two\n".repeat(40),
    );
    let data = data.replace("builtin:prose", "text");
    let flags = format!(
        "--model {llama} {data} --init eva:redistribute=true pissa --alpha-policy rslora:alpha=8 --block-size 16 --rank 4 \
         --save adapter --output lm"
    );
    let runs = train(&sandbox, &flags);
    for (at, run) in runs.iter().enumerate() {
        let head = ("causal", 0);
        let served = export(&sandbox, run, &format!("served-{at}"), "--for vllm");
        let config = fs::read(served.join("adapter_config.json")).unwrap();
        let config: Value = serde_json::from_slice(&config).unwrap();
        assert_eq!(
            (&config["rank_pattern"], &config["alpha_pattern"]),
            (&json!({}), &json!({}))
        );
        assert_eq!(config["modules_to_save"], Value::Null);
        close(
            &logits(&served, None, head),
            &logits(&run.folder, None, head),
            &run.record.spec.cell,
        );
    }
    let words = sandbox.train_one("--lrs 1e-2 --save adapter --output classes");
    let words = format!("export {} refused --for vllm", words.folder.display());
    let refused = sandbox.lorahost(&words);
    insta::assert_snapshot!(refused.refused(), @"vLLM would not serve this adapter: it serves LoRA on llama, qwen2, qwen3, and the model is a bert; it serves language models, and the run trained another head; export --merged makes a whole model");
    assert!(!sandbox.path("refused").exists());
}

mod any {
    //! Whatever the ranks, scales, targets and types are.

    use lorahost::adapter::peft::{About, PeftFolder};
    use lorahost::adapter::{Factors, Targets};
    use lorahost::export::Files;
    use lorahost::model::Precision;
    use lorahost::spec::HeadMode;
    use proptest::prelude::*;

    use super::*;

    fn model(folder: &Path) -> Model {
        let trained = Trained::find(folder.to_str().unwrap(), None).unwrap();
        let mut model = trained.open(Device::Cpu).unwrap();
        model.build_head("pooled", 3).unwrap();
        model
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn an_adapter_comes_back_as_it_left(
            family in prop::sample::select(&FAMILIES[..]),
            targets in prop::sample::select(&["all", "attention", "mlp", r"\.0\."][..]),
            layers in prop::collection::vec((1_i64..6, 0.01_f64..4.0, any::<bool>()), 16),
            precision in prop::sample::select(&[Precision::Fp32, Precision::Bf16, Precision::Fp16][..]),
        ) {
            let from = match family {
                "llama" | "qwen2" => format!("decoders/{family}"),
                other => format!("tiny-{other}-reference"),
            };
            let base = workspace().join("host/tests/data").join(from);
            let mut one = model(&base);
            let chosen = one.targets(&Targets::parse(targets).unwrap(), HeadMode::Train).unwrap();
            for (layer, (rank, scale, compensate)) in chosen.iter().zip(layers.iter().cycle()) {
                let ramp = |shape: [i64; 2], step: f64| {
                    let count = shape[0] * shape[1];
                    ((Tensor::arange(count, (Kind::Float, Device::Cpu)) * step).sin() * 0.2).reshape(shape)
                };
                let (a, b) = (ramp([*rank, layer.fan_in], 1.3), ramp([layer.fan_out, *rank], 0.7));
                let factors = Factors { compensate: *compensate, ..Factors::new(a, b, *scale) };
                one.attach(layer.index, factors).unwrap();
                // As training would: the factors are no longer those that were taken off.
                let linears = one.linears();
                let (a, b, _) = linears[layer.index].factors().unwrap();
                let _ = tch::no_grad(|| a.shallow_clone().g_add_scalar_(0.05));
                let _ = tch::no_grad(|| b.shallow_clone().g_mul_scalar_(0.5));
            }
            let about = About { fan_in_fan_out: one.has_transposed_factors(), ..About::default() };
            let content = one.peft_content(&std::collections::BTreeSet::new()).unwrap();
            let folder = tempfile::tempdir().unwrap();
            Files { content, about, head: None }.write(folder.path(), precision).unwrap();

            let mut other = model(&base);
            other.load_peft(&PeftFolder::open(folder.path()).unwrap(), 0.0).unwrap();
            let tolerance = match precision {
                Precision::Fp32 => 1e-4,
                Precision::Fp16 => 2e-2,
                Precision::Bf16 => 1e-1,
            };
            for row in ROWS {
                let (found, expected) = (logits_of(&other, row), logits_of(&one, row));
                let largest = expected.iter().fold(1.0_f64, |most, value| most.max(value.abs()));
                for (found, expected) in found.iter().zip(&expected) {
                    let off = (found - expected).abs() / largest;
                    prop_assert!(off <= tolerance, "{found}, expected {expected}");
                }
            }
        }
    }
}
