//! Data of every format through the program: what `data inspect` shows, and that runs learn from it.

use crate::sandbox::{Sandbox, workspace};

const ROWS: &str = r#"{"text": "goal of the coach", "label": "sport", "id": 1}
{"text": "bank says profit", "label": "money", "id": 2}
{"text": "medal", "label": "sport", "id": 3}
{"text": "market in the new bank after big merger", "label": "money", "id": 4}
"#;

#[test]
fn inspect_shows_the_built_in_topics() {
    let sandbox = Sandbox::new();
    let outcome =
        sandbox.lorahost("data inspect builtin:topics --model builtin:tiny-bert --max-length 32");
    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""));
    insta::assert_snapshot!(outcome.out);
}

#[test]
fn inspect_shows_columns_classes_and_lengths() {
    let sandbox = Sandbox::new();
    sandbox.write("set/train.jsonl", ROWS);
    sandbox.write("set/test.csv", "label,text\nsport,medal\nmoney,coach\n");
    let outcome = sandbox.lorahost("data inspect set");
    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""));
    insta::assert_snapshot!(outcome.out);

    let outcome = sandbox.lorahost("data inspect set --json --model model --head masked-lm");
    let found: serde_json::Value = serde_json::from_str(&outcome.out).unwrap();
    assert_eq!(found["kind"], "text");
    assert_eq!(found["splits"][0]["rows"], 3);
    assert_eq!(found["label_names"], serde_json::json!([]));
    assert_eq!(found["test_rows_in_train"], 1);
}

#[test]
fn inspect_refuses_what_a_run_would_refuse() {
    let sandbox = Sandbox::new();
    sandbox.write("set.jsonl", ROWS);
    let cases = [
        "data inspect absent",
        "data inspect set.jsonl --text-column words",
        "data inspect set.jsonl --label-column text --head sequence-clasification",
        "data inspect set.jsonl --model absent",
        "data inspect set.jsonl --max-length 0",
    ];
    let lines = cases.map(|words| format!("{words}\n  => {}\n", sandbox.lorahost(words).refused()));
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn every_format_gives_the_same_run() {
    let sandbox = Sandbox::new();
    let rows: Vec<(usize, String)> = (0..24)
        .map(|row| (row % 2, format!("goal {row} bank")))
        .collect();
    let csv = rows.iter().map(|(label, text)| format!("{label},{text}\n"));
    let tsv = rows
        .iter()
        .map(|(label, text)| format!("{label}\t{text}\n"));
    let json = rows
        .iter()
        .map(|(label, text)| format!("{{\"text\": \"{text}\", \"label\": {label}}}\n"));
    sandbox.write(
        "rows.csv",
        format!("label,text\n{}", csv.collect::<String>()),
    );
    sandbox.write(
        "rows.tsv",
        format!("label\ttext\n{}", tsv.collect::<String>()),
    );
    sandbox.write("rows.jsonl", json.collect::<String>());
    let losses = ["csv", "tsv", "jsonl"].map(|format| {
        let run = sandbox.train_one(&format!("--data rows.{format} --output {format}"));
        run.record.result.measured.train_losses
    });
    assert_eq!(losses[0], losses[1]);
    assert_eq!(losses[0], losses[2]);
}

#[test]
fn parquet_of_datasets_trains() {
    let sandbox = Sandbox::new();
    let set = workspace().join("host/src/data/references/parquet/reviews");
    let run = sandbox.train_one(&format!("--data {} --epochs 1", set.display()));
    assert_eq!(run.record.result.measured.steps, 1);
    assert!(run.record.result.measured.test.is_none());
}
