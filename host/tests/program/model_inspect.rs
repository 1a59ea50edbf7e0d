//! `lorahost model inspect`.

use std::fs;

use serde_json::Value;

use crate::sandbox::{Sandbox, copy_model, small};

#[test]
fn the_built_in_models_read_well() {
    let sandbox = Sandbox::new();
    for name in ["tiny-bert", "tiny-gpt2"] {
        let outcome = sandbox.lorahost(&format!("model inspect builtin:{name}"));
        assert_eq!((outcome.code, outcome.err.as_str()), (0, ""));
        let longest = outcome.out.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(100), "{longest:?}");
        insta::assert_snapshot!(name, outcome.out);
    }
}

#[test]
fn gpt2_reads_well() {
    let sandbox = Sandbox::new();
    copy_model("tiny-gpt2-reference", &sandbox.path("gpt2"));
    let outcome = sandbox.lorahost("model inspect gpt2");
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    insta::assert_snapshot!(outcome.out);
}

#[test]
fn settings_that_nobody_knows_are_refused() {
    let sandbox = Sandbox::new();
    let config = fs::read_to_string(sandbox.path("model/config.json")).unwrap();
    let strange = config.replacen(
        '{',
        "{\"norm_type\": \"rms\", \"softcap\": 30, \"alibi\": false,",
        1,
    );
    sandbox.write("model/config.json", strange);
    let outcome = sandbox.lorahost("model inspect model");
    assert!(
        outcome.out.contains("\nnot known     norm_type, softcap\n"),
        "{}",
        outcome.out
    );
    let said = "settings that are not known here and may change what the model computes: norm_type, softcap; \
                remove them from config.json if they have no effect\n";
    let outcome = sandbox.lorahost(&small("--max-steps 1"));
    assert_eq!(outcome.code, 2, "{}", outcome.err);
    assert_eq!(outcome.err.matches(said).count(), 1, "{}", outcome.err);
}

#[test]
fn json_lists_every_layer() {
    let sandbox = Sandbox::new();
    let outcome = sandbox.lorahost("model inspect model --json");
    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""));
    let value: Value = serde_json::from_str(&outcome.out).unwrap();
    let layers = value["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 12);
    assert_eq!(layers[4]["name"], "bert.encoder.layer.0.intermediate.dense");
    assert_eq!(
        (&layers[4]["fan_in"], &layers[4]["fan_out"]),
        (&48.into(), &96.into())
    );
    assert_eq!(layers[4]["targets"], serde_json::json!(["all", "mlp"]));
    // 2 blocks of 4 layers 48 x 48 and 2 layers 48 x 96.
    let forward = 2 * (4 * 48 * 48 + 2 * 48 * 96);
    let factors = 16 * 2 * (4 * (48 + 48) + 2 * (48 + 96));
    assert_eq!(value["operations"]["forward"], forward);
    assert_eq!(value["operations"]["full_step"], 3 * forward);
    assert_eq!(value["operations"]["lora_step"], 2 * forward + 3 * factors);
    assert_eq!(value["parameters"]["lora"]["parameters"], factors);
    // Biases of the layers come on top of the matrices.
    assert_eq!(value["parameters"]["mlp"], 2 * (2 * 48 * 96 + 48 + 96));
}

#[test]
fn what_cannot_be_inspected_is_bad_input() {
    let sandbox = Sandbox::new();
    let refused = |words: &str| {
        let outcome = sandbox.lorahost(words);
        assert_eq!((outcome.code, outcome.out.as_str()), (2, ""), "{words}");
        outcome.err
    };
    assert!(refused("model inspect absent").contains("no path `absent` is here"));
    sandbox.write("model/config.json", "{\"model_type\": \"mamba\"}");
    assert!(refused("model inspect model").contains("`mamba`"));
    fs::remove_file(sandbox.path("model/config.json")).unwrap();
    assert!(refused("model inspect model").contains("no config.json"));
}
