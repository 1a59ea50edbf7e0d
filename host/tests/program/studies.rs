//! The experiment files of the original's four studies with every source of models and data that their headers name, cut
//! to a few steps a run.

use std::fs;
use std::sync::Arc;

use lorahost::spec::Method;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::Value;

use crate::hub_server::Repository;
use crate::hub_world::{World, files_of};
use crate::sandbox::{Outcome, Run, Sandbox, copy_model, workspace};

/// Fewer runs, and few steps in each.
const CUT: &str = "seed=42 lora.rank=[16,32] train.lr=1e-3 train.max_steps=2 data.train_size=64 \
                   data.validation_size=8 data.test_size=8";
const STEPS: usize = 2;

/// A study, and what shows in its runs.
struct Study {
    name: &'static str,
    headline: &'static str,
    alpha: &'static str,
    init: &'static str,
}

impl Study {
    const fn new(
        name: &'static str,
        headline: &'static str,
        alpha: &'static str,
        init: &'static str,
    ) -> Self {
        Self {
            name,
            headline,
            alpha,
            init,
        }
    }

    fn is_of_text(&self) -> bool {
        self.headline == "test_ppl"
    }
}

const STUDIES: [Study; 4] = [
    Study::new("1_standard", "test_acc", "constant", "uniform"),
    Study::new("2_language_model", "test_ppl", "constant", "uniform"),
    Study::new("3_scaled_alpha", "test_acc", "proportional", "uniform"),
    Study::new("4_gaussian_init", "test_acc", "constant", "gaussian"),
];

/// Runs a study with these settings and asserts that each of its cells has trained and left its records.
fn train(
    sandbox: &Sandbox,
    study: &Study,
    settings: &str,
    call: impl Fn(&str) -> Outcome,
) -> Vec<Run> {
    let name = study.name;
    let file = workspace().join(format!("configs/{name}.toml"));
    let head = if study.is_of_text() {
        "--plugin PLUGIN/causal_lm_head"
    } else {
        ""
    };
    let outcome = call(&format!(
        "--config {} --set {CUT} {settings} {head} --output {name}",
        file.display()
    ));
    assert_eq!(outcome.code, 0, "{name}: {}", outcome.err);
    let cells = sandbox.cells(name);
    let names: Vec<&str> = cells.keys().map(String::as_str).collect();
    assert_eq!(names, ["full", "lora-r16", "lora-r32"], "{name}");
    for (cell, run) in &cells {
        let spec = &run.record.spec.spec;
        if spec.method == Method::Lora {
            assert_eq!(spec.alpha.as_ref().unwrap().name, study.alpha, "{name}");
            assert_eq!(spec.init.as_ref().unwrap().name, study.init, "{name}");
        }
        let measured = &run.record.result.measured;
        assert_eq!((measured.steps, run.losses().len()), (STEPS, STEPS));
        let (before, after) = (measured.untrained_val_loss, measured.val_losses.last());
        assert!(
            before.is_some() && before.as_ref() != after,
            "{name} {cell}"
        );
        let results = sandbox.path(format!("{name}/{cell}/results.json"));
        let results: Value = serde_json::from_slice(&fs::read(results).unwrap()).unwrap();
        assert!(results["0.001"][study.headline].is_f64(), "{name} {cell}");
    }
    cells.into_values().collect()
}

#[test]
fn each_runs_with_what_is_embedded() {
    let sandbox = Sandbox::new();
    for study in &STUDIES {
        let settings = if study.is_of_text() {
            "model.path=builtin:tiny-gpt2 data.path=builtin:prose data.block_size=64"
        } else {
            "model.path=builtin:tiny-bert data.path=builtin:topics"
        };
        train(&sandbox, study, settings, |words| sandbox.lorahost(words));
    }
}

#[test]
fn each_runs_with_local_folders() {
    let sandbox = Sandbox::new();
    write_models(&sandbox);
    for (split, rows) in tables(&sandbox) {
        let lines: String = rows.into_iter().map(|(_, text)| text + "\n").collect();
        sandbox.write(&format!("prose/{split}.txt"), lines);
    }
    for study in &STUDIES {
        let settings = if study.is_of_text() {
            "model.path=gpt2 data.path=prose data.block_size=16"
        } else {
            "model.path=distilbert data.path=data"
        };
        train(&sandbox, study, settings, |words| sandbox.lorahost(words));
    }
}

#[test]
fn each_runs_with_the_ids_that_it_names() {
    let world = World::new();
    write_models(&world.sandbox);
    let [distilbert, gpt2] = ["distilbert", "gpt2"].map(|name| files_of(&world.sandbox.path(name)));
    let (mut news, mut prose) = (
        vec![("README.md".to_owned(), AG_NEWS.into())],
        vec![("README.md".to_owned(), WIKITEXT.into())],
    );
    for (split, rows) in tables(&world.sandbox) {
        let file = format!("{split}-00000-of-00001.parquet");
        prose.push((format!("wikitext-2-raw-v1/{file}"), parquet(&rows, false)));
        // Its validation rows are taken from the others.
        if split != "validation" {
            news.push((format!("data/{file}"), parquet(&rows, true)));
        }
    }
    // The studies have the names of old.
    let put = |name, now, files: Vec<(String, Vec<u8>)>| {
        let moved = Repository {
            moved_to: Some(now),
            ..Repository::default()
        };
        world.server.put(name, moved);
        Some(world.server.put(now, Repository::of(files)))
    };
    let distilbert = put(
        "models/distilbert-base-uncased",
        "models/distilbert/distilbert-base-uncased",
        distilbert,
    );
    let gpt2 = put("models/distilgpt2", "models/distilbert/distilgpt2", gpt2);
    let news = put("datasets/ag_news", "datasets/fancyzhx/ag_news", news);
    let prose = put("datasets/wikitext", "datasets/Salesforce/wikitext", prose);

    for study in &STUDIES {
        let (settings, paths, commits) = if study.is_of_text() {
            let paths = ("distilgpt2", "wikitext:wikitext-2-raw-v1");
            ("data.block_size=16", paths, (&gpt2, &prose))
        } else {
            (
                "",
                ("distilbert-base-uncased", "ag_news"),
                (&distilbert, &news),
            )
        };
        let call = |words: &str| world.online(words, &[]);
        for run in train(&world.sandbox, study, settings, call) {
            let spec = &run.record.spec.spec;
            let found = (spec.model.path.as_str(), spec.data.path.as_deref());
            assert_eq!(found, (paths.0, Some(paths.1)));
            let revisions = &run.record.result.provenance.revisions;
            assert_eq!((&revisions.model, &revisions.data), commits);
        }
    }
}

#[test]
fn a_stride_gives_more_train_blocks_and_no_other() {
    let sandbox = Sandbox::new();
    let blocks = |stride: &str| {
        let outcome = sandbox.lorahost(&format!(
            "data inspect builtin:prose --model builtin:tiny-gpt2 --plugin PLUGIN/causal_lm_head \
             --head causal-lm --block-size 64 {stride} --json"
        ));
        assert_eq!(outcome.code, 0, "{}", outcome.err);
        let found: Value = serde_json::from_str(&outcome.out).unwrap();
        let splits = found["splits"].as_array().unwrap().clone();
        splits
            .iter()
            .map(|split| split["blocks"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    let (apart, overlapping) = (blocks(""), blocks("--stride 32"));
    let difference = overlapping[0].abs_diff(2 * apart[0]);
    assert!(difference <= 2, "{overlapping:?}, {apart:?}");
    assert_eq!(overlapping[1..], apart[1..]);
}

/// What the two data sets say of themselves, as far as it is read.
const AG_NEWS: &str = "---
dataset_info:
  features:
  - name: text
    dtype: string
  - name: label
    dtype:
      class_label:
        names:
          '0': World
          '1': Sports
          '2': Business
          '3': Sci/Tech
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*
  - split: test
    path: data/test-*
---
";
const WIKITEXT: &str = "---
configs:
- config_name: wikitext-103-raw-v1
  data_files:
  - split: train
    path: wikitext-103-raw-v1/train-*
- config_name: wikitext-2-raw-v1
  data_files:
  - split: test
    path: wikitext-2-raw-v1/test-*
  - split: train
    path: wikitext-2-raw-v1/train-*
  - split: validation
    path: wikitext-2-raw-v1/validation-*
---
";

/// The small models that stand for those of the studies, with words for the text of `data/`.
fn write_models(sandbox: &Sandbox) {
    let words = fs::read(sandbox.path("model/vocab.txt")).unwrap();
    for name in ["distilbert", "gpt2"] {
        copy_model(&format!("tiny-{name}-reference"), &sandbox.path(name));
        sandbox.write(&format!("{name}/vocab.txt"), &words);
    }
}

/// The rows of each split of `data/`: label and text.
fn tables(sandbox: &Sandbox) -> Vec<(String, Vec<(i64, String)>)> {
    let splits = ["train", "validation", "test"].into_iter();
    let split = |name: &str| {
        let table = fs::read_to_string(sandbox.path(format!("data/{name}.csv"))).unwrap();
        let rows = table.lines().skip(1).map(|line| {
            let (label, text) = line.split_once(',').unwrap();
            (label.parse().unwrap(), text.to_owned())
        });
        (name.to_owned(), rows.collect())
    };
    splits.map(split).collect()
}

/// As Parquet, as the hub has it.
fn parquet(rows: &[(i64, String)], has_labels: bool) -> Vec<u8> {
    let label = if has_labels {
        "REQUIRED INT64 label;"
    } else {
        ""
    };
    let schema = format!("message rows {{ REQUIRED BYTE_ARRAY text (UTF8); {label} }}");
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let mut bytes = Vec::new();
    let mut file = SerializedFileWriter::new(&mut bytes, schema, Arc::default()).unwrap();
    let mut group = file.next_row_group().unwrap();
    let texts: Vec<ByteArray> = rows.iter().map(|(_, text)| text.as_str().into()).collect();
    let labels: Vec<i64> = rows.iter().map(|(label, _)| *label).collect();
    let mut column = group.next_column().unwrap().unwrap();
    let written = column
        .typed::<ByteArrayType>()
        .write_batch(&texts, None, None);
    assert_eq!(written.unwrap(), rows.len());
    column.close().unwrap();
    if let Some(mut column) = group.next_column().unwrap() {
        let written = column.typed::<Int64Type>().write_batch(&labels, None, None);
        assert_eq!(written.unwrap(), rows.len());
        column.close().unwrap();
    }
    group.close().unwrap();
    file.close().unwrap();
    bytes
}
