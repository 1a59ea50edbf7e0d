//! Adapters and exports that cannot be: one clear error, and nothing is written.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::sandbox::{Sandbox, copy_model, workspace};

/// A sandbox with a small random GPT-2 in `gpt2/` and in `adapter/` what PEFT made for it.
fn with_adapter() -> Sandbox {
    let sandbox = Sandbox::new();
    copy_model("tiny-gpt2-reference", &sandbox.path("gpt2"));
    fs::create_dir(sandbox.path("adapter")).unwrap();
    let from = workspace().join("host/tests/data/peft/gpt2-classes");
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        fs::copy(from.join(name), sandbox.path("adapter").join(name)).unwrap();
    }
    sandbox
}

/// Changes the adapter's configuration.
fn configure(sandbox: &Sandbox, key: &str, value: Value) {
    let path = sandbox.path("adapter/adapter_config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config[key] = value;
    fs::write(path, config.to_string()).unwrap();
}

/// Header and data of a safetensors file.
fn parts(path: &Path) -> (Value, Vec<u8>) {
    let bytes = fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    (header, bytes[8 + length..].to_vec())
}

fn assemble(path: &Path, header: &Value, data: &[u8]) {
    let mut header = header.to_string();
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    let length = (header.len() as u64).to_le_bytes();
    fs::write(path, [&length, header.as_bytes(), data].concat()).unwrap();
}

const KEY: &str = "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight";

/// The message of `import`, which must refuse the adapter and write nothing.
fn refused(sandbox: &Sandbox) -> String {
    let outcome = sandbox.lorahost("import adapter --model gpt2 --output plain");
    assert!(!sandbox.path("plain").exists());
    outcome.refused().to_owned()
}

#[test]
fn a_sound_adapter_is_shown_and_made_plain() {
    let sandbox = with_adapter();
    let outcome = sandbox.lorahost("import adapter --model gpt2 --output plain");
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    assert!(outcome.out.contains("pooled, 4 outputs"), "{}", outcome.out);
    let shown = |folder: &str| {
        let outcome = sandbox.lorahost(&format!("import {folder} --model gpt2 --json"));
        let value: Value = serde_json::from_str(&outcome.out).unwrap();
        (value["layers"].clone(), value["modules_to_save"].clone())
    };
    assert_eq!(shown("plain"), shown("adapter"));
    let again = sandbox.lorahost("import nothing --output plain");
    assert!(
        again.refused().contains("is there already"),
        "before all else"
    );
}

#[test]
fn what_would_load_to_no_effect_is_refused() {
    let mut text = String::new();
    let mut case = |what: &str, spoil: &dyn Fn(&mut Value)| {
        let sandbox = with_adapter();
        let path = sandbox.path("adapter/adapter_model.safetensors");
        let (mut header, data) = parts(&path);
        spoil(&mut header);
        assemble(&path, &header, &data);
        writeln!(text, "{what}\n    {}", refused(&sandbox)).unwrap();
    };
    let rename = |header: &mut Value, from: &str, to: &str| {
        let entry = header.as_object_mut().unwrap().remove(from).unwrap();
        header[to] = entry;
    };
    case("no prefix", &|header| {
        rename(header, KEY, &KEY["base_model.model.".len()..]);
    });
    case("half of a layer", &|header| {
        rename(header, KEY, &KEY.replace("h.0", "h.7"));
    });
    case("another layer", &|header| {
        for factor in ["A", "B"] {
            let key = KEY.replace("lora_A", &format!("lora_{factor}"));
            rename(header, &key, &key.replace("h.0", "../../etc"));
        }
    });
    case("a magnitude of DoRA", &|header| {
        rename(
            header,
            KEY,
            &KEY.replace("lora_A.weight", "lora_magnitude_vector"),
        );
    });
    case("a parameter of nobody", &|header| {
        rename(
            header,
            "base_model.model.score.weight",
            "base_model.model.sc\nore.weight",
        );
    });
    case("another shape", &|header| {
        header[KEY]["shape"] = json!([1, 64]);
    });
    case("another type", &|header| {
        header[KEY]["dtype"] = json!("I32");
    });
    case("overlapping data", &|header| {
        let other = KEY.replace("lora_A", "lora_B");
        let [start, end] = [0, 1].map(|i| header[&other]["data_offsets"][i].as_u64().unwrap());
        // Equal offsets would be told of either.
        header[KEY]["data_offsets"] = json!([start, end + 4]);
    });
    case("data beyond the end", &|header| {
        header[KEY]["data_offsets"] = json!([0, 1_u64 << 60]);
    });
    case("a shape beyond numbers", &|header| {
        header[KEY]["shape"] = json!([u64::MAX, u64::MAX]);
    });
    insta::assert_snapshot!(text);
}

#[test]
fn configurations_that_do_not_fit_are_refused() {
    let mut text = String::new();
    for (key, value) in [
        ("use_dora", json!(true)),
        ("bias", json!("all")),
        ("peft_type", json!("LOHA")),
        ("init_lora_weights", json!("pissa")),
        ("r", json!(3)),
        ("target_modules", json!(["c_attn", "c_fc", "c_proj", "wte"])),
        (
            "target_modules",
            json!(["c_attn", "c_fc", "c_proj", "ln_1"]),
        ),
        ("target_modules", json!(".*")),
        ("modules_to_save", json!(["score", "ln_f"])),
        ("a_new_setting", json!(0.5)),
        ("base_model_name_or_path", json!(7)),
    ] {
        let sandbox = with_adapter();
        configure(&sandbox, key, value.clone());
        let outcome = sandbox.lorahost("import adapter --model gpt2 --output plain");
        let message = if outcome.code == 0 {
            "fits".to_owned()
        } else {
            outcome.refused().to_owned()
        };
        writeln!(text, "{key} = {value}\n    {message}").unwrap();
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let sandbox = with_adapter();
    let path = sandbox.path("adapter/adapter_model.safetensors");
    let whole = fs::read(&path).unwrap();
    for length in [0, 1, 7, 8, 9, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        let message = refused(&sandbox);
        assert!(
            message.contains("adapter_model.safetensors"),
            "{length}: {message}"
        );
    }
    // A header that says it is as long as any memory.
    for length in [u64::MAX, 1 << 40, 100_000_001] {
        let mut spoilt = whole.clone();
        spoilt[..8].copy_from_slice(&length.to_le_bytes());
        fs::write(&path, spoilt).unwrap();
        assert!(refused(&sandbox).contains("not a safetensors file"));
    }
    fs::remove_file(&path).unwrap();
    fs::write(sandbox.path("adapter/adapter_model.bin"), "pickle").unwrap();
    assert!(refused(&sandbox).contains("never pickle"));
}

#[test]
fn a_full_disk_is_the_machine_s_fault() {
    let sandbox = with_adapter();
    let run = sandbox.train_one("--save adapter");
    let run = run.folder.display();
    for words in [
        format!("export {run} new"),
        format!("export {run} new --merged"),
        "import adapter --model gpt2 --output new".to_owned(),
    ] {
        let outcome = sandbox.lorahost_on_a_full_disk(&words);
        assert_eq!(outcome.code, 1, "{words}: {}", outcome.err);
        assert!(
            outcome.err.contains("cannot write") && outcome.err.contains("too large"),
            "{}",
            outcome.err
        );
        assert!(!sandbox.path("new").exists());
    }
}

#[test]
fn numbers_beyond_a_type_are_refused_by_name() {
    let sandbox = Sandbox::new();
    let run = sandbox.train_one("--save adapter");
    let path = run.folder.join("adapter.safetensors");
    let (header, mut data) = parts(&path);
    let of_a_factor = |(name, entry): (&String, &Value)| {
        let start = entry["data_offsets"][0].as_u64()?;
        name.ends_with("0.attention.self.query.lora_A.weight")
            .then_some(start as usize)
    };
    let start = header.as_object().unwrap().iter().find_map(of_a_factor);
    let start = start.unwrap();
    data[start..start + 4].copy_from_slice(&1e6_f32.to_le_bytes());
    assemble(&path, &header, &data);
    let words = format!("export {} new --dtype", run.folder.display());
    let outcome = sandbox.lorahost(&format!("{words} fp16"));
    insta::assert_snapshot!(outcome.refused(), @"`base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight` has numbers beyond the range of float16: write it with --dtype fp32");
    assert!(!sandbox.path("new").exists());
    let outcome = sandbox.lorahost(&format!("{words} bf16"));
    assert_eq!(outcome.code, 0, "{}", outcome.err);
}

#[test]
fn what_cannot_be_exported_or_measured_is_said() {
    let sandbox = with_adapter();
    let nothing = sandbox.train_one("--output nothing");
    let adapter = sandbox.train_one("--save adapter --output kept");
    let merged = sandbox.train_one("--save full --output merged");
    let full = sandbox.train_one("--save full --full-finetune --output full");
    let random = sandbox.train_one("--save adapter --set model.weights=random --output random");
    sandbox.write("there/file", "");
    sandbox.write("other.csv", "label,text\nart,the goal\nlaw,the bank\n");
    let mut text = String::new();
    for (words, run) in [
        ("export RUN new", &nothing),
        ("export RUN new", &merged),
        ("export RUN new", &full),
        ("export RUN new", &random),
        ("export RUN new --full", &adapter),
        ("export RUN new --merged", &full),
        ("export RUN there", &adapter),
        ("export model new", &adapter),
        ("export RUN new --merged --for vllm", &adapter),
        ("eval RUN", &nothing),
        ("eval model", &adapter),
        (
            "eval model --data data --head masked-lm --predictions p.jsonl",
            &adapter,
        ),
        ("eval RUN --predictions p.txt", &adapter),
        ("eval RUN --data other.csv", &adapter),
        ("eval RUN --model model", &adapter),
        ("eval adapter --data data", &adapter),
        ("import model", &adapter),
        ("import RUN", &adapter),
    ] {
        let folder = run.folder.display().to_string();
        let outcome = sandbox.lorahost(&words.replace("RUN", &folder));
        assert_eq!(outcome.code, 2, "{words}: {}{}", outcome.out, outcome.err);
        let first = outcome.err.lines().take_while(|line| !line.is_empty());
        let message: Vec<&str> = first.collect();
        writeln!(text, "{words}\n    {}", message.join("\n    ")).unwrap();
        assert!(
            !sandbox.path("new").exists() && !sandbox.path("p.jsonl").exists(),
            "{words}"
        );
    }
    insta::assert_snapshot!(text);
}
