//! `lorahost generate`: text of a model, and of what a run has trained.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::sandbox::{Sandbox, real, workspace};

/// A sandbox with a small random Llama in `llama/`, which has words for the text of `data/`.
fn with_llama() -> Sandbox {
    let sandbox = Sandbox::new();
    copy(&sandbox, "llama");
    sandbox
}

fn copy(sandbox: &Sandbox, name: &str) {
    let from = workspace().join("host/tests/data/decoders").join(name);
    for file in ["config.json", "model.safetensors"] {
        let bytes = fs::read(from.join(file)).unwrap();
        sandbox.write(&format!("{name}/{file}"), bytes);
    }
    let all = fs::read_to_string(sandbox.path("model/vocab.txt")).unwrap();
    let words: Vec<&str> = all.lines().take(96).collect();
    sandbox.write(&format!("{name}/vocab.txt"), words.join("\n") + "\n");
}

fn written(sandbox: &Sandbox, words: &str) -> Value {
    let outcome = sandbox.lorahost(&format!("generate {words} --json"));
    assert_eq!(outcome.code, 0, "{words}: {}", outcome.err);
    serde_json::from_str(&outcome.out).unwrap()
}

#[test]
fn stories260k_tells_of_lily_token_by_token_as_transformers_does() {
    let test = "stories260k_tells_of_lily_token_by_token_as_transformers_does";
    if let Some(model) = real(test, "LORAHOST_TEST_DATA", "../models/stories260K") {
        writes_as_transformers_does(&model, "stories260K");
    }
}

#[test]
fn smollm2_knows_a_capital_token_by_token_as_transformers_does() {
    let test = "smollm2_knows_a_capital_token_by_token_as_transformers_does";
    let name = "smollm2-135m-instruct";
    if let Some(model) = real(test, "LORAHOST_TEST_MODELS", name) {
        writes_as_transformers_does(&model, name);
    }
}

/// Greedy tokens after the prompt of `scripts/references/llama.py`, and their text.
fn writes_as_transformers_does(model: &Path, name: &str) {
    let values = workspace().join("host/tests/data/decoders/pretrained.json");
    let values: Value = serde_json::from_slice(&fs::read(values).unwrap()).unwrap();
    let reference = &values[name];
    let prompt = reference["prompt"].as_str().unwrap();
    let sandbox = Sandbox::new();
    sandbox.write("prompt.txt", format!("{prompt}\n"));
    let (model, count) = (
        model.display(),
        reference["greedy"].as_array().unwrap().len(),
    );
    let flags = format!("{model} --prompt-file prompt.txt --max-new-tokens {count}");
    let value = written(&sandbox, &flags);
    assert_eq!(value["prompt_tokens"], reference["prompt_ids"]);
    assert_eq!(value["tokens"], reference["greedy"]);
    assert_eq!(value["stop"], "max-new-tokens");
    let text = format!("{prompt}{}", value["text"].as_str().unwrap());
    assert_eq!(text, reference["text"].as_str().unwrap());

    let streamed = sandbox.lorahost(&format!("generate {flags}"));
    assert_eq!(streamed.out, text + "\n");
}

#[test]
fn an_adapter_writes_what_the_merged_model_writes() {
    let sandbox = with_llama();
    let mut texts = Vec::new();
    for (name, init) in [
        ("zero", "uniform"),
        ("taken-off", "gaussian:std_b=0.3,compensate=true"),
    ] {
        let runs = ["adapter", "full"].map(|save| {
            sandbox.train_one(&format!(
                "--model llama --lrs 0.03 --init {init} --save {save} --output {name}-{save}"
            ))
        });
        let tokens = runs.map(|run| {
            let folder = run.folder.display().to_string();
            written(
                &sandbox,
                &format!("{folder} --prompt treaty --max-new-tokens 12"),
            )["tokens"]
                .clone()
        });
        assert_eq!(tokens[0], tokens[1], "{init}");
        texts.push(tokens[0].clone());
    }
    let base = written(&sandbox, "llama --prompt treaty --max-new-tokens 12");
    assert!(
        texts.iter().all(|tokens| *tokens != base["tokens"]),
        "nothing was learnt"
    );
}

#[test]
fn an_exported_adapter_writes_what_its_run_writes() {
    let sandbox = with_llama();
    sandbox.write(
        "tale/train.txt",
        "the goal of the coach says treaty\n".repeat(60),
    );
    let run = sandbox.train_one(
        "--model llama --data tale --set data.block_size=14 --plugin PLUGIN/causal_lm_head --head causal-lm --lrs 0.03 \
         --save adapter",
    );
    let run = run.folder.display();
    let tokens = |path: &str| {
        let words = format!("{path} --prompt treaty --max-new-tokens 12");
        written(&sandbox, &words)["tokens"].clone()
    };
    let expected = tokens(&run.to_string());
    assert_ne!(expected, tokens("llama"), "nothing was learnt");
    let outcome = sandbox.lorahost(&format!("export {run} adapter"));
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    assert_eq!(tokens("adapter"), expected);

    fs::rename(sandbox.path("llama"), sandbox.path("moved")).unwrap();
    let lost = sandbox.lorahost("generate adapter --prompt treaty");
    assert!(
        lost.refused().contains("--model names another place"),
        "{}",
        lost.err
    );
    assert_eq!(tokens("adapter --model moved"), expected);
}

#[test]
fn draws_belong_to_the_seed() {
    let sandbox = with_llama();
    let draw = |seed: u32| {
        let flags = "--prompt treaty --temperature 1 --top-k 50 --top-p 0.9 --max-new-tokens 20";
        written(&sandbox, &format!("llama {flags} --seed {seed}"))["tokens"].clone()
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}

#[test]
fn what_cannot_be_written_is_said() {
    let sandbox = with_llama();
    copy(&sandbox, "llama-untied");
    let untied = sandbox.path("llama-untied/model.safetensors");
    without(&untied, "lm_head.weight");
    let words = fs::read_to_string(sandbox.path("llama/vocab.txt")).unwrap();
    copy(&sandbox, "qwen2");
    let mut more = String::new();
    (0..96).for_each(|number| writeln!(more, "more{number}").unwrap());
    sandbox.write("qwen2/vocab.txt", words + &more);
    copy(&sandbox, "qwen3");
    sandbox.write("qwen3/generation_config.json", r#"{"eos_token_id": "end"}"#);
    let nothing = sandbox.train_one("--model llama --output nothing");
    let adapter = sandbox.train_one("--model llama --save adapter --output adapter");
    let moved = sandbox.train_one("--model llama --save adapter --output moved --lrs 1e-2");
    fs::write(moved.folder.join("adapter.safetensors"), "").unwrap();
    let long = "treaty ".repeat(60);
    sandbox.write("long.txt", long);
    sandbox.write("empty.txt", "\n");

    let mut text = String::new();
    for words in [
        "model --prompt a".to_owned(),
        "builtin:tiny-bert --prompt a".to_owned(),
        "nowhere --prompt a".to_owned(),
        "llama".to_owned(),
        "llama --prompt-file nowhere.txt".to_owned(),
        "llama --prompt-file empty.txt".to_owned(),
        "llama --prompt-file long.txt".to_owned(),
        "llama --prompt a --temperature -1".to_owned(),
        "llama --prompt a --top-k 3".to_owned(),
        "llama --prompt a --temperature 1 --top-p 0".to_owned(),
        "llama-untied --prompt a".to_owned(),
        "qwen2 --prompt a".to_owned(),
        "qwen3 --prompt a".to_owned(),
        format!("{} --prompt a", nothing.folder.display()),
        format!("{} --prompt a", moved.folder.display()),
    ] {
        let outcome = sandbox.lorahost(&format!("generate {words}"));
        assert_eq!(outcome.code, 2, "{words}: {}", outcome.err);
        assert_eq!(outcome.out, "", "{words}");
        let first = outcome.err.lines().take_while(|line| !line.is_empty());
        let message: Vec<&str> = first.collect();
        let words = words
            .replace(&nothing.folder.display().to_string(), "nothing/runs/ID")
            .replace(&moved.folder.display().to_string(), "moved/runs/ID");
        writeln!(text, "{words}\n    {}", message.join("\n    ")).unwrap();
    }
    insta::assert_snapshot!(text);

    fs::remove_file(adapter.folder.join("done.json")).unwrap();
    let outcome = sandbox.lorahost(&format!("generate {} --prompt a", adapter.folder.display()));
    assert_eq!(outcome.code, 2);
    assert!(
        outcome
            .err
            .contains("is not done: it has no completion record"),
        "{}",
        outcome.err
    );
}

#[test]
fn an_adapter_on_other_weights_is_refused() {
    let sandbox = with_llama();
    let run = sandbox.train_one("--model llama --save adapter");
    let words = format!(
        "generate {} --prompt treaty --max-new-tokens 2",
        run.folder.display()
    );
    let outcome = sandbox.lorahost(&words);
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    // The same shapes, so nothing but the hash can tell.
    let path = sandbox.path("llama/model.safetensors");
    let tensors = tch::Tensor::read_safetensors(&path).unwrap();
    let other: Vec<(String, tch::Tensor)> = tensors
        .into_iter()
        .map(|(name, tensor)| (name, tensor * 2.0))
        .collect();
    tch::Tensor::write_safetensors(&other, &path).unwrap();
    assert_eq!(
        sandbox.lorahost(&words).refused(),
        "the run SANDBOX/out/runs/ID was trained on the model llama with the sha256 SHA256, and that of what lies there \
         now is SHA256: its adapter belongs to the former"
    );
}

/// Writes a safetensors file anew without the tensor `name`.
fn without(path: &Path, name: &str) {
    let tensors = tch::Tensor::read_safetensors(path).unwrap();
    let kept: Vec<(&str, &tch::Tensor)> = tensors
        .iter()
        .filter(|(known, _)| known != name)
        .map(|(known, tensor)| (known.as_str(), tensor))
        .collect();
    tch::Tensor::write_safetensors(&kept, path).unwrap();
}
