//! Real text and real weights through the program.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::sandbox::{Sandbox, real, workspace};

#[test]
fn minilm_learns_ag_news() {
    let test = "minilm_learns_ag_news";
    let Some(model) = real(test, "LORAHOST_TEST_MODELS", "all-MiniLM-L6-v2") else {
        return;
    };
    let Some(data) = real(test, "LORAHOST_TEST_DATA", "ag_news") else {
        return;
    };
    let sandbox = Sandbox::new();
    let (model, data) = (model.display(), data.display());
    let outcome = sandbox.lorahost(&format!(
        "--model {model} --data {data} --train-size 320 --validation-size 40 --test-size 200 --max-length 64 \
         --rank 16 --alpha-policy constant:alpha=32 --lrs 1e-3 --epochs 1 --batch-size 16 --workers 1 --output out"
    ));
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    let measured = &sandbox.runs("out")[0].record.result.measured;
    let accuracy = measured.test.as_ref().unwrap().metrics["accuracy"];
    // Guessing gives 0.25.
    assert!(accuracy > 0.7, "accuracy is {accuracy}");
}

#[test]
fn stories260k_scores_wikitext_as_transformers_does() {
    let test = "stories260k_scores_wikitext_as_transformers_does";
    let Some(model) = real(test, "LORAHOST_TEST_DATA", "../models/stories260K") else {
        return;
    };
    let Some(data) = real(test, "LORAHOST_TEST_DATA", "wikitext2") else {
        return;
    };
    trained_on_wikitext(&model, &data, "stories260K", 64);
}

#[test]
fn smollm2_scores_wikitext_as_transformers_does_and_learns() {
    let test = "smollm2_scores_wikitext_as_transformers_does_and_learns";
    let name = "smollm2-135m-instruct";
    let Some(model) = real(test, "LORAHOST_TEST_MODELS", name) else {
        return;
    };
    let Some(data) = real(test, "LORAHOST_TEST_DATA", "wikitext2") else {
        return;
    };
    trained_on_wikitext(&model, &data, name, 8);
}

/// LoRA on blocks of the validation file of WikiText-2, measured on the test file: before the first step the loss is that
/// of transformers on the same blocks (`scripts/references/wikitext.py`), and training lowers it.
fn trained_on_wikitext(model: &Path, data: &Path, name: &str, train_blocks: usize) {
    let values = fs::read(workspace().join("host/tests/data/wikitext2.json")).unwrap();
    let values: Value = serde_json::from_slice(&values).unwrap();
    let reference = &values[name];
    let sandbox = Sandbox::new();
    let (valid, test) = (data.join("valid.txt"), data.join("test.txt"));
    let outcome = sandbox.lorahost(&format!(
        "--model {} --plugin PLUGIN/causal_lm_head --train-file {} --validation-file {} --set data.block_size={} \
         --train-size {train_blocks} --validation-size {} --rank 16 --alpha-policy constant:alpha=32 --lrs 1e-3 \
         --epochs 1 --batch-size 4 --workers 1 --output out",
        model.display(),
        valid.display(),
        test.display(),
        reference["block_size"],
        reference["blocks"],
    ));
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    let run = sandbox.runs("out").remove(0);
    let expected = reference["loss"].as_f64().unwrap();
    let measured = &run.record.result.measured;
    let untrained = measured.untrained_val_loss.unwrap();
    assert!(
        (untrained - expected).abs() < 1e-3,
        "{untrained}, transformers has {expected}"
    );
    let learnt = measured.best_val_loss();
    assert!(learnt < untrained - 0.01, "{untrained} became {learnt}");
}
