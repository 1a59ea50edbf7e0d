//! Adapters that leave and enter, against PEFT and transformers themselves where there is a Python that has them:
//! LORAHOST_TEST_PYTHON names it.

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
    let trained = Trained::find(path.to_str().unwrap(), base).unwrap();
    let mut model = trained.open(Device::Cpu).unwrap();
    model.build_head(head.0, head.1).unwrap();
    trained.complete(&mut model).unwrap();
    ROWS.iter().map(|row| logits_of(&model, row)).collect()
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
        let own = if flags.contains("--merged") {
            json!(folder)
        } else {
            json!(sandbox.path(base))
        };
        let adapter = if flags.contains("--merged") {
            Value::Null
        } else {
            json!(folder)
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
