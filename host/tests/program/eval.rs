//! `lorahost eval`: metrics and predictions of what was trained, on data of every kind.

use std::fmt::Write as _;
use std::fs;

use serde_json::{Value, json};

use crate::sandbox::{Run, Sandbox, copy_model};

/// What `eval` prints of `run` with these flags, and the predictions that it writes: as JSON Lines, and as a CSV whose
/// first row is the header.
fn predicted(sandbox: &Sandbox, run: &Run, flags: &str) -> (Value, Vec<Value>, Vec<Vec<String>>) {
    let words = format!("eval {} --json {flags}", run.folder.display());
    let found = sandbox.json(&format!("{words} --predictions rows.jsonl"));
    assert_eq!(
        sandbox.json(&format!("{words} --predictions rows.csv")),
        found
    );
    let lines = fs::read_to_string(sandbox.path("rows.jsonl")).unwrap();
    let lines = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_path(sandbox.path("rows.csv"))
        .unwrap();
    let table = reader.records().map(|row| {
        let row = row.unwrap();
        row.iter().map(str::to_owned).collect()
    });
    (found, lines.collect(), table.collect())
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn close(found: f64, expected: f64) {
    assert!(
        (found - expected).abs() < 1e-5,
        "{found}, expected {expected}"
    );
}

#[test]
fn a_run_is_measured_as_it_measured_itself() {
    let sandbox = Sandbox::new();
    for save in ["adapter", "full"] {
        let run = sandbox.train_one(&format!("--lrs 1e-2 --save {save} --output {save}"));
        let words = format!(
            "eval {} --json --predictions {save}.jsonl",
            run.folder.display()
        );
        let found = sandbox.json(&words);
        let off = found["loss"].as_f64().unwrap() - run.test_loss();
        // Merged weights are rounded once more.
        assert!(
            off.abs() <= if save == "full" { 1e-5 } else { 0.0 },
            "{save}: {off}"
        );
        let metrics = &run.record.result.measured.test.as_ref().unwrap().metrics;
        assert_eq!(found["metrics"]["accuracy"], metrics["accuracy"]);
        assert_eq!(found["rows"], 32);
        let rows = fs::read_to_string(sandbox.path(format!("{save}.jsonl"))).unwrap();
        let rows: Vec<Value> = rows
            .lines()
            .map(|row| serde_json::from_str(row).unwrap())
            .collect();
        assert_eq!(rows.len(), 32);
        let right = rows
            .iter()
            .filter(|row| row["label"] == row["predicted"])
            .count();
        assert_eq!(right as f64 / 32.0, metrics["accuracy"]);
        let counts: Vec<Vec<usize>> =
            serde_json::from_value(found["confusion"]["counts"].clone()).unwrap();
        assert_eq!(counts.iter().flatten().sum::<usize>(), 32);
        assert_eq!(
            (0..4).map(|class| counts[class][class]).sum::<usize>(),
            right
        );
        let first = &rows[0];
        let sum: f64 = first["probabilities"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_f64)
            .sum();
        assert!((sum - 1.0).abs() < 1e-9);
    }
    let run = sandbox.runs("adapter").remove(0);
    let words = format!("export {} exported", run.folder.display());
    assert_eq!(sandbox.lorahost(&words).code, 0);
    let by_folder = sandbox.lorahost("eval exported --data data/test.csv --predictions rows.csv");
    assert_eq!(by_folder.code, 0, "{}", by_folder.err);
    let loss = format!("loss      {:.4}", run.test_loss());
    assert!(by_folder.out.contains(&loss), "{}", by_folder.out);
    assert!(
        by_folder.out.contains("true \\ predicted"),
        "{}",
        by_folder.out
    );
    let rows = fs::read_to_string(sandbox.path("rows.csv")).unwrap();
    assert_eq!(rows.lines().count(), 33);
    assert!(
        rows.starts_with("text,label,predicted,p(0),p(1),p(2),p(3)"),
        "{rows}"
    );
}

#[test]
fn tags_stay_with_their_words() {
    let sandbox = Sandbox::new();
    // The tokenizer makes nothing of the second word.
    let row = |first: &str, last: &str| {
        let tags = ["O", "X", first, "O", last];
        let words = [
            "the",
            "\u{1}",
            if first == "A" { "goal" } else { "bank" },
            "of",
            "chip",
        ];
        json!({"tokens": words, "tags": tags}).to_string() + "\n"
    };
    for (split, count) in [("train", 32), ("validation", 4), ("test", 8)] {
        let rows = (0..count).map(|at| row(["A", "B"][at % 2], ["A", "O"][at % 4 / 2]));
        sandbox.write(&format!("tags/{split}.jsonl"), rows.collect::<String>());
    }
    let flags = "--plugin PLUGIN/token_classification_head --data tags --lrs 1e-2 --epochs 4 --save adapter";
    let run = sandbox.train_one(flags);
    let plugin = "--plugin PLUGIN/token_classification_head";
    let (found, lines, table) = predicted(&sandbox, &run, plugin);
    close(number(&found["loss"]), run.test_loss());
    assert_eq!(table[0], ["words", "labels", "predicted"]);
    let (mut right, mut words) = (0.0, 0.0);
    for (line, cells) in lines.iter().zip(&table[1..]) {
        let predicted = line["predicted"].as_array().unwrap();
        assert_eq!(
            (predicted.len(), &predicted[1]),
            (5, &Value::Null),
            "{line}"
        );
        // This much is learnt: where the words are told apart.
        assert_eq!(
            (&predicted[0], &predicted[2]),
            (&line["labels"][0], &line["labels"][2])
        );
        for (tag, label) in predicted.iter().zip(line["labels"].as_array().unwrap()) {
            words += f64::from(u8::from(!tag.is_null()));
            right += f64::from(u8::from(tag == label));
        }
        let as_text = |list: &Value| {
            let tags = list.as_array().unwrap().iter();
            tags.map(|tag| tag.as_str().unwrap_or("_").to_owned())
                .collect::<Vec<_>>()
                .join(" ")
        };
        let expected = ["words", "labels", "predicted"].map(|key| as_text(&line[key]));
        assert_eq!(cells[..], expected);
    }
    assert_eq!((lines.len(), table.len(), words), (8, 9, 32.0));
    close(number(&found["metrics"]["accuracy"]), right / words);
    let counts: Vec<Vec<u64>> =
        serde_json::from_value(found["confusion"]["counts"].clone()).unwrap();
    assert_eq!(counts.iter().flatten().sum::<u64>(), 32);
    let diagonal = (0..counts.len()).map(|tag| counts[tag][tag]).sum::<u64>();
    assert_eq!(diagonal as f64, right);

    // [CLS] the goal [SEP]
    let (_, lines, _) = predicted(
        &sandbox,
        &run,
        &format!("{plugin} --data tags --max-length 4"),
    );
    let tags = lines[0]["predicted"].as_array().unwrap();
    let seen: Vec<bool> = tags.iter().map(|tag| !tag.is_null()).collect();
    assert_eq!(seen, [true, false, true, false, false]);
}

#[test]
fn numbers_are_predicted_from_the_columns_that_are_named() {
    let sandbox = Sandbox::new();
    let rows = |count: usize| {
        (0..count).fold("score,title,body\n".to_owned(), |mut text, at| {
            let word = ["goal", "coach", "bank", "profit"][at % 4];
            writeln!(text, "{},the,{word} of", 0.25 * (at % 4) as f64 - 0.5).unwrap();
            text
        })
    };
    for (split, count) in [("train", 64), ("validation", 8), ("test", 12)] {
        sandbox.write(&format!("numbers/{split}.csv"), rows(count));
    }
    let columns = "--text-column title+body --label-column score";
    let head = "--plugin PLUGIN/regression_head";
    let run = sandbox.train_one(&format!(
        "{head} --data numbers {columns} --lrs 3e-3 --save adapter"
    ));
    let (found, lines, table) = predicted(&sandbox, &run, head);
    close(number(&found["loss"]), run.test_loss());
    assert_eq!((lines.len(), &found["confusion"]), (12, &Value::Null));
    assert_eq!(table[0], ["text", "label", "predicted"]);
    assert_eq!(table[2][..2], ["the coach of", "-0.25"]);
    let mut squares = 0.0;
    for (line, cells) in lines.iter().zip(&table[1..]) {
        assert_eq!(cells[2].parse::<f64>().ok(), line["predicted"].as_f64());
        squares += (number(&line["predicted"]) - number(&line["label"])).powi(2);
    }
    close(number(&found["metrics"]["mse"]), squares / 12.0);

    // The same rows by themselves, under other names.
    let renamed = rows(12).replace("score,title,body", "grade,one,two");
    sandbox.write("renamed.csv", renamed);
    let columns = "--text-column one+two --label-column grade";
    let again = predicted(
        &sandbox,
        &run,
        &format!("{head} --data renamed.csv {columns}"),
    );
    assert_eq!((&again.1, &again.2), (&lines, &table));
    assert_eq!(again.0["loss"], found["loss"]);
}

#[test]
fn pairs_are_scored_and_blocks_are_measured_alone() {
    let sandbox = Sandbox::new();
    let pairs = |count: usize, names: [&str; 2]| {
        (0..count).fold(String::new(), |text, at| {
            let (good, bad) = [("goal coach", "bank"), ("striker", "profit merger")][at % 2];
            text + &json!({names[0]: format!("the {good}"), names[1]: format!("the {bad}")})
                .to_string()
                + "\n"
        })
    };
    for (split, count) in [("train", 32), ("validation", 4), ("test", 6)] {
        sandbox.write(
            &format!("pairs/{split}.jsonl"),
            pairs(count, ["chosen", "rejected"]),
        );
    }
    let head = "--plugin PLUGIN/reward_head";
    let run = sandbox.train_one(&format!("{head} --data pairs --lrs 1e-2 --save adapter"));
    let (found, lines, table) = predicted(&sandbox, &run, head);
    close(number(&found["loss"]), run.test_loss());
    assert_eq!(
        table[0],
        ["chosen", "rejected", "chosen_score", "rejected_score"]
    );
    assert_eq!(table[1][..2], ["the goal coach", "the bank"]);
    let nll = lines.iter().zip(&table[1..]).map(|(line, cells)| {
        let scores = ["chosen_score", "rejected_score"].map(|key| number(&line[key]));
        assert_eq!(scores.map(|score| score.to_string())[..], cells[2..]);
        (1.0 + (scores[1] - scores[0]).exp()).ln()
    });
    close(number(&found["loss"]), nll.sum::<f64>() / 6.0);

    sandbox.write("renamed.jsonl", pairs(6, ["good", "bad"]));
    let columns = "--text-column good --rejected-column bad";
    let again = predicted(
        &sandbox,
        &run,
        &format!("{head} --data renamed.jsonl {columns}"),
    );
    assert_eq!((again.1, again.2), (lines, table));

    copy_model("decoders/llama", &sandbox.path("llama"));
    let words = fs::read(sandbox.path("model/vocab.txt")).unwrap();
    sandbox.write("llama/vocab.txt", words);
    sandbox.write("tale/train.txt", "the goal of the coach\n".repeat(60));
    sandbox.write("tale/test.txt", "the bank of the coach\n".repeat(8));
    let head = "--plugin PLUGIN/causal_lm_head";
    let flags = format!(
        "{head} --model llama --data tale --set data.block_size=14 --save adapter --output lm"
    );
    let run = sandbox.train_one(&flags);
    let words = format!("eval {} {head}", run.folder.display());
    let found = sandbox.json(&format!("{words} --json"));
    close(number(&found["loss"]), run.test_loss());
    assert_eq!(found["confusion"], Value::Null);
    let refused = sandbox.lorahost(&format!("{words} --predictions rows.jsonl"));
    assert_eq!(
        refused.refused(),
        "the head causal-lm gives scores of words, of which no predictions are written"
    );
}

#[test]
fn a_run_in_bfloat16_is_measured_in_bfloat16() {
    let sandbox = Sandbox::new();
    let run = sandbox.train_one("--set model.precision=bfloat16 --lrs 1e-2 --save adapter");
    let found = sandbox.json(&format!("eval {} --json", run.folder.display()));
    assert_eq!(found["loss"], run.test_loss());
}

#[test]
fn metrics_need_no_predictions() {
    let sandbox = Sandbox::new();
    let plugin = "--plugin TEST/hostile_head";
    let run = sandbox.train_one(&format!("{plugin} --head looks-twice --save adapter"));
    let words = format!("eval {} {plugin}", run.folder.display());
    let measured = sandbox.lorahost(&words);
    assert_eq!(measured.code, 0, "{}", measured.err);
    assert!(
        measured
            .out
            .contains(&format!("nll   {:.4}", run.test_loss())),
        "{}",
        measured.out
    );
    let why = "the head looks-twice applied `classifier` to 64 rows of numbers, expected 32";
    assert!(
        measured
            .err
            .contains(&format!("no confusion matrix: {why}")),
        "{}",
        measured.err
    );
    let asked = sandbox.lorahost(&format!("{words} --predictions rows.csv"));
    assert_eq!(asked.code, 1);
    assert!(asked.err.contains(why), "{}", asked.err);
    assert!(!sandbox.path("rows.csv").exists());
}

#[test]
fn what_cannot_be_measured_is_said() {
    let sandbox = Sandbox::new();
    let own = fs::read(crate::sandbox::plugin("sequence_classification_head")).unwrap();
    sandbox.write("own/head.so", own);
    fs::remove_file(sandbox.path("kit/sequence_classification_head.so")).unwrap();
    let run = sandbox.train_one("--plugin own/head.so --save adapter");
    fs::remove_file(sandbox.path("own/head.so")).unwrap();
    copy_model("decoders/qwen3", &sandbox.path("small"));
    let vocabulary = (0..1000).map(|word| format!("word{word}\n"));
    let special = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n".to_owned();
    sandbox.write("small/vocab.txt", special + &vocabulary.collect::<String>());
    let folder = run.folder.display();
    let mut text = String::new();
    for words in [
        format!("eval {folder}"),
        format!(
            "eval {folder} --plugin PLUGIN/sequence_classification_head --data data/test.csv --split test"
        ),
        "eval small --plugin PLUGIN/sequence_classification_head --data data".to_owned(),
        "eval builtin:tiny-bert --plugin PLUGIN/sequence_classification_head --data data"
            .to_owned(),
    ] {
        let outcome = sandbox.lorahost(&words);
        let words = words.replace(&folder.to_string(), "RUN");
        writeln!(text, "{words}\n    {}", outcome.refused()).unwrap();
    }
    insta::assert_snapshot!(text);
}
