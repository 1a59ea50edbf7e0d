//! Every task in whole runs: what its head learns from, what it measures, what it refuses.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use serde_json::Value;

use crate::sandbox::{Run, Sandbox, copy_model, small};

/// A sandbox with a small random GPT-2 in `gpt2/` and a Llama in `llama/`, both with the words of `model/`.
fn with_decoders() -> Sandbox {
    let sandbox = Sandbox::new();
    let words = fs::read(sandbox.path("model/vocab.txt")).unwrap();
    for (family, name) in [("tiny-gpt2-reference", "gpt2"), ("decoders/llama", "llama")] {
        copy_model(family, &sandbox.path(name));
        sandbox.write(&format!("{name}/vocab.txt"), &words);
    }
    sandbox
}

/// Trains LoRA and all of the model with the plugin of a task head, and LoRA with the head under it: each learns, and is
/// measured by the figures that are named, the one that stands for the task first.
fn learns(sandbox: &Sandbox, head: &str, flags: &str, figures: &[&str]) -> BTreeMap<String, Run> {
    let model = flags.split_whitespace().nth(1).unwrap_or("model");
    let output = format!("{head}-{model}");
    let flags = format!("{flags} --plugin PLUGIN/{head}_head");
    let words = small(&format!("{flags} --with-full-finetune --output {output}"));
    let outcome = sandbox.lorahost(&words);
    assert_eq!(outcome.code, 0, "{words}\n{}", outcome.err);
    let title = format!("test {}", figures[0]);
    assert!(outcome.out.contains(&title), "{title}\n{}", outcome.out);

    let cells = sandbox.cells(&output);
    for (cell, run) in &cells {
        assert_learns(run);
        let name = format!("{output}/{cell}/results.json");
        let results: Value =
            serde_json::from_slice(&fs::read(sandbox.path(name)).unwrap()).unwrap();
        let of_rate = results.as_object().unwrap().values().next().unwrap();
        let test = run.record.result.measured.test.as_ref().unwrap();
        let headline = &of_rate[format!("test_{}", figures[0])];
        assert_eq!(
            headline.as_f64(),
            Some(test.metrics[figures[0]]),
            "{of_rate}"
        );
        let mut expected = figures.to_vec();
        expected.sort_unstable();
        assert_eq!(test.metrics.keys().collect::<Vec<_>>(), expected, "{cell}");
        assert!(
            test.metrics.values().all(|value| value.is_finite()),
            "{test:?}"
        );
    }

    let under = sandbox.train_one(&format!("{flags} --head-mode lora --output {output}-under"));
    assert_learns(&under);
    // The words' scores of a language model are its embedding, which gets no LoRA.
    let more = under.size().0 > cells["lora-r4"].size().0;
    assert_eq!(more, head != "causal_lm", "layers of the head under LoRA");
    cells
}

fn assert_learns(run: &Run) {
    let losses = run.losses();
    assert!(losses.iter().all(|loss| loss.is_finite()), "{losses:?}");
    let part = losses.len() / 4;
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let (first, last) = (mean(&losses[..part]), mean(&losses[losses.len() - part..]));
    let cell = &run.record.spec.cell;
    assert!(last < 0.9 * first, "{cell}: {losses:?}");
}

/// Lines of the text that bits per byte are counted on; two are a block.
const TEST_LINES: usize = 12;

#[test]
fn causal_lm_learns_from_blocks_and_counts_bytes() {
    let sandbox = with_decoders();
    // 7 tokens a line, with [CLS] and [SEP]; a word of 5 bytes that is unknown.
    let line = |row: usize| {
        let class = [["goal", "coach"], ["chip", "robot"]][row % 2];
        format!("the {} k\u{e4}se {}  new\n", class[0], class[1])
    };
    let text = |rows: usize| (0..rows).map(line).collect::<String>();
    let test = text(TEST_LINES);
    sandbox.write("tale/train.txt", text(96));
    sandbox.write("tale/validation.txt", text(8));
    sandbox.write("tale/test.txt", &test);
    let figures = ["ppl", "perplexity", "nll", "bits_per_byte"];
    for model in ["gpt2", "llama"] {
        let flags = format!(
            "--model {model} --data tale --set data.block_size=14 --lrs 1e-2 --epochs 4 --batch-size 6"
        );
        let cells = learns(&sandbox, "causal_lm", &flags, &figures);
        for run in cells.values() {
            let test_result = run.record.result.measured.test.as_ref().unwrap();
            let metrics = &test_result.metrics;
            // Each block begins with [CLS], which covers nothing: all bytes are predicted.
            let predicted = (TEST_LINES / 2 * 13) as f64;
            let bits = metrics["nll"] * predicted / std::f64::consts::LN_2;
            let expected = bits / test.len() as f64;
            let found = metrics["bits_per_byte"];
            assert!((found / expected - 1.0).abs() < 1e-6, "{found}, {expected}");
            assert_eq!(metrics["nll"], test_result.loss);
            assert_eq!(metrics["perplexity"], test_result.loss.exp());
        }
    }
}

#[test]
fn masked_lm_learns_from_text() {
    let sandbox = Sandbox::new();
    let flags = "--model model --lrs 1e-2 --epochs 4";
    learns(&sandbox, "masked_lm", flags, &["ppl", "perplexity", "nll"]);
}

/// Words with the tag of each.
const SENTENCES: [[(&str, &str); 4]; 4] = [
    [
        ("the", "O"),
        ("goal", "B-SPORT"),
        ("coach", "I-SPORT"),
        ("says", "O"),
    ],
    [
        ("new", "O"),
        ("bank", "B-MONEY"),
        ("of", "O"),
        ("market", "B-MONEY"),
    ],
    [
        ("striker", "B-SPORT"),
        ("in", "O"),
        ("two", "O"),
        ("big", "O"),
    ],
    [
        ("after", "O"),
        ("profit", "B-MONEY"),
        ("merger", "I-MONEY"),
        ("the", "O"),
    ],
];

#[test]
fn token_classification_learns_from_words_with_tags() {
    let sandbox = with_decoders();
    let rows = |count: usize| {
        let row = |at: usize| {
            let pairs = &SENTENCES[at % 4][..2 + at % 3];
            let (words, tags): (Vec<&str>, Vec<&str>) = pairs.iter().copied().unzip();
            serde_json::json!({"tokens": words, "tags": tags}).to_string() + "\n"
        };
        (0..count).map(row).collect::<String>()
    };
    for (split, count) in [("train", 64), ("validation", 8), ("test", 12)] {
        sandbox.write(&format!("tags/{split}.jsonl"), rows(count));
    }
    for model in ["model", "gpt2"] {
        let flags = format!("--model {model} --data tags --lrs 1e-2 --epochs 2");
        let figures = ["f1", "accuracy", "precision", "recall"];
        let cells = learns(&sandbox, "token_classification", &flags, &figures);
        let test = cells["full"].record.result.measured.test.as_ref().unwrap();
        assert!(test.metrics["accuracy"] > 0.8, "{test:?}");
    }
}

#[test]
fn regression_learns_from_numbers() {
    let sandbox = with_decoders();
    let rows = |count: usize| {
        let row = |text: &mut String, at: usize| {
            let words = ["goal", "coach", "bank", "profit"][at % 4];
            let number = 0.25 * (at % 4) as f64 - 0.5;
            writeln!(text, "{number},the {words} of {}", ["two", "new"][at % 2]).unwrap();
        };
        let mut text = "score,text\n".to_owned();
        (0..count).for_each(|at| row(&mut text, at));
        text
    };
    for (split, count) in [("train", 64), ("validation", 8), ("test", 12)] {
        sandbox.write(&format!("numbers/{split}.csv"), rows(count));
    }
    for model in ["model", "llama"] {
        let flags = format!("--model {model} --data numbers --lrs 3e-3 --epochs 4");
        let figures = ["pearson", "spearman", "mse", "mae"];
        learns(&sandbox, "regression", &flags, &figures);
    }
}

fn pairs(count: usize) -> String {
    let row = |at: usize| {
        let (chosen, rejected) = [("goal coach", "bank"), ("striker", "profit merger")][at % 2];
        let common = ["the", "new", "of", "in"][at % 4];
        serde_json::json!({
            "chosen": format!("{common} {chosen}"),
            "rejected": format!("{common} {rejected}"),
        })
        .to_string()
            + "\n"
    };
    (0..count).map(row).collect()
}

#[test]
fn reward_learns_from_pairs() {
    let sandbox = with_decoders();
    for (split, count) in [("train", 64), ("validation", 8), ("test", 12)] {
        sandbox.write(&format!("pairs/{split}.jsonl"), pairs(count));
    }
    for model in ["model", "gpt2"] {
        let flags = format!("--model {model} --data pairs --lrs 1e-2 --epochs 2");
        let figures = ["acc", "accuracy", "nll"];
        let cells = learns(&sandbox, "reward", &flags, &figures);
        let test = cells["full"].record.result.measured.test.as_ref().unwrap();
        assert!(test.metrics["accuracy"] > 0.9, "{test:?}");
    }
    // What an init scheme measures is measured on pairs too.
    let eva = "--plugin PLUGIN/reward_head --plugin PLUGIN/eva_init --data pairs --output eva";
    let run = sandbox.train_one(&format!("{eva} --lrs 1e-2 --epochs 2"));
    assert_learns(&run);
}

#[test]
fn models_without_the_layers_of_a_head_are_refused() {
    let sandbox = with_decoders();
    sandbox.write("tale/train.txt", "the goal of the coach\n".repeat(60));
    let mut lines = String::new();
    for (head, model) in [
        ("causal_lm", "model"),
        ("masked_lm", "gpt2"),
        ("masked_lm", "llama"),
    ] {
        let flags = format!("--plugin PLUGIN/{head}_head --model {model} --data tale");
        let flags = format!("{flags} --set data.block_size=12 --output {head}-{model}");
        let outcome = sandbox.lorahost(&small(&flags));
        assert_eq!(outcome.code, 3, "{}", outcome.err);
        let [failure] = outcome.failures()[..] else {
            panic!("{}", outcome.err)
        };
        writeln!(lines, "{head} on {model}\n    {failure}").unwrap();
    }
    insta::assert_snapshot!(lines);
}

#[test]
fn labels_of_another_task_are_refused() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "numbers.csv",
        "score,text\n0.5,the goal\n1.5,the bank\n-1,a chip\n",
    );
    let names = ["sport,the goal", "money,the bank", "sport,the coach"];
    sandbox.write("names.csv", format!("label,text\n{}\n", names.join("\n")));
    sandbox.write("pairs.jsonl", pairs(4));
    let tags = r#"{"tokens": ["the", "goal"], "tags": ["O", "B-SPORT"]}"#;
    sandbox.write("tags.jsonl", format!("{tags}\n{tags}\n{tags}\n"));
    let few = tags.replace("\"O\", ", "");
    sandbox.write("few.jsonl", format!("{tags}\n{few}\n{tags}\n"));
    sandbox.write("plain.txt", "the goal\nthe bank\nthe coach\n");
    let mut lines = String::new();
    for (head, data) in [
        (
            "sequence_classification",
            "numbers.csv --label-column score",
        ),
        ("sequence_classification", "tags.jsonl --text-column tokens"),
        ("sequence_classification", "pairs.jsonl"),
        ("regression", "names.csv"),
        ("regression", "plain.txt"),
        ("regression", "pairs.jsonl"),
        ("token_classification", "names.csv"),
        ("token_classification", "few.jsonl"),
        ("token_classification", "plain.txt"),
        ("reward", "names.csv"),
        ("reward", "tags.jsonl"),
        ("reward", "plain.txt"),
        ("causal_lm", "tags.jsonl"),
    ] {
        let words = small(&format!("--plugin PLUGIN/{head}_head --data {data}"));
        let outcome = sandbox.lorahost(&words);
        writeln!(lines, "{head} on {data}\n    {}", outcome.refused()).unwrap();
    }
    insta::assert_snapshot!(lines);
}
