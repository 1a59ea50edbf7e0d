//! The experiment files of the original's four studies, with what lorahost brings along, cut to a step a run.

use serde_json::Value;

use crate::sandbox::{Sandbox, workspace};

/// Fewer runs, and one step in each.
const CUT: &str = "seed=42 lora.rank=[16,32] train.lr=1e-3 train.max_steps=1 data.train_size=64 \
                   data.validation_size=8 data.test_size=8";

#[test]
fn each_runs_with_the_embedded_models() {
    let sandbox = Sandbox::new();
    let classes = "model.path=builtin:tiny-bert data.path=builtin:topics";
    let blocks = "model.path=builtin:tiny-gpt2 data.path=builtin:prose data.block_size=64";
    let blocks = format!("{blocks} --plugin PLUGIN/causal_lm_head");
    for (study, embedded, headline) in [
        ("1_standard", classes, "test_acc"),
        ("2_language_model", blocks.as_str(), "test_ppl"),
        ("3_scaled_alpha", classes, "test_acc"),
        ("4_gaussian_init", classes, "test_acc"),
    ] {
        let file = workspace().join(format!("configs/{study}.toml"));
        let outcome = sandbox.lorahost(&format!(
            "--config {} --set {CUT} {embedded} --output {study}",
            file.display()
        ));
        assert_eq!(outcome.code, 0, "{study}: {}", outcome.err);
        assert_eq!(
            sandbox.runs(study).len(),
            3,
            "{study}: two ranks and FullFT"
        );
        let results = std::fs::read(sandbox.path(format!("{study}/full/results.json"))).unwrap();
        let results: Value = serde_json::from_slice(&results).unwrap();
        assert!(results["0.001"][headline].is_f64(), "{study}: {results}");
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
