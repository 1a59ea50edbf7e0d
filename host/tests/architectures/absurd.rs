//! Sizes of `config.json` that no memory holds: refused before any is taken.

use std::fs;

use lorahost::model::Model;
use lorahost::spec::Weights;
use serde_json::{Value, json};

use crate::folder::{Outcome, options, says};

fn refused(config: &Value, parts: &[&str]) -> Outcome {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("config.json"), config.to_string())?;
    let path = folder.path().to_str().unwrap_or_default();
    match Model::open(path, options(Weights::Random)) {
        Ok(_) => panic!("opened; expected an error with {parts:?}"),
        Err(error) => says(&error, parts),
    }
    Ok(())
}

#[test]
fn drawn_weights_beyond_all_memory() -> Outcome {
    let config = json!({
        "model_type": "bert", "vocab_size": 2147483647_i64, "hidden_size": 120, "num_attention_heads": 2,
        "num_hidden_layers": 1, "intermediate_size": 64, "max_position_embeddings": 16, "type_vocab_size": 2,
    });
    refused(
        &config,
        &["config.json describes 257", "parameters", "bytes of memory"],
    )
}

#[test]
fn heads_beyond_all_memory() -> Outcome {
    let config = json!({
        "model_type": "llama", "vocab_size": 30, "hidden_size": 2, "num_attention_heads": 1, "num_hidden_layers": 1,
        "intermediate_size": 2, "max_position_embeddings": 16, "head_dim": 2147483646_i64,
    });
    refused(&config, &["`head_dim` is 2147483646", "at most 65536"])
}
