use std::error::Error;
use std::fs;

use lorahost::model::ModelFiles;
use serde_json::{Map, Value, json};
use tch::Tensor;

use crate::folder::{Copy, FAMILIES, Outcome, hidden, open};

const INDEX: &str = "model.safetensors.index.json";
const FIRST: &str = "model-00001-of-00002.safetensors";
const SECOND: &str = "model-00002-of-00002.safetensors";

#[test]
fn several_files_are_one_model() -> Outcome {
    let decoders = ["decoders/llama", "decoders/qwen2", "decoders/qwen3"];
    for family in FAMILIES.into_iter().chain(decoders) {
        let copy = split(family)?;
        assert!(hidden(&open(family)?)?.equal(&hidden(&copy.open()?)?));
    }
    Ok(())
}

#[test]
fn every_shard_and_no_index_counts_for_the_identity() -> Outcome {
    let copy = split(FAMILIES[0])?;
    let sha256 = || ModelFiles::find(copy.path())?.sha256(true);
    let before = sha256()?;
    let mut index = read_index(&copy)?;
    index["metadata"] = json!({"total_size": 7});
    fs::write(copy.file(INDEX), index.to_string())?;
    assert_eq!(sha256()?, before);
    for name in [FIRST, SECOND] {
        let bytes = fs::read(copy.file(name))?;
        let mut other = bytes.clone();
        *other.last_mut().ok_or("empty")? ^= 1;
        fs::write(copy.file(name), other)?;
        assert_ne!(sha256()?, before);
        fs::write(copy.file(name), bytes)?;
    }
    fs::remove_file(copy.file(SECOND))?;
    assert!(sha256().is_err());
    Ok(())
}

#[test]
fn a_shard_that_is_missing_or_broken_is_named() -> Outcome {
    let copy = split(FAMILIES[0])?;
    fs::write(copy.file(SECOND), b"not these")?;
    copy.refused(&[SECOND, "is not a safetensors file"]);
    fs::remove_file(copy.file(SECOND))?;
    copy.refused(&[INDEX, "1 of 2 files missing: ", SECOND]);
    fs::remove_file(copy.file(FIRST))?;
    copy.refused(&["2 of 2 files missing: ", FIRST, SECOND]);
    Ok(())
}

#[test]
fn an_index_that_does_not_fit_its_files_is_refused() -> Outcome {
    let copy = split(FAMILIES[0])?;
    let mut index = read_index(&copy)?;
    index["weight_map"]["bert.absent"] = json!(FIRST);
    fs::write(copy.file(INDEX), index.to_string())?;
    copy.refused(&["1 not in the file that it says: `bert.absent`", FIRST]);

    let copy = split(FAMILIES[0])?;
    let mut tensors = Tensor::read_safetensors(copy.file(SECOND))?;
    let first = Tensor::read_safetensors(copy.file(FIRST))?;
    let (name, tensor) = first.first().ok_or("empty")?;
    tensors.push((name.clone(), tensor.shallow_clone()));
    Tensor::write_safetensors(&tensors, copy.file(SECOND))?;
    copy.refused(&[INDEX, &format!("`{name}` is in both "), FIRST, SECOND]);
    Ok(())
}

#[test]
fn an_index_cannot_point_elsewhere() -> Outcome {
    let copy = split(FAMILIES[0])?;
    let index = read_index(&copy)?;
    for elsewhere in [
        "../model.safetensors",
        "/model.safetensors",
        "sub/model.safetensors",
        "..",
        "",
        "pytorch_model-00001-of-00002.bin",
    ] {
        let mut wrong = index.clone();
        wrong["weight_map"]["bert.embeddings.LayerNorm.bias"] = json!(elsewhere);
        fs::write(copy.file(INDEX), wrong.to_string())?;
        copy.refused(&[
            INDEX,
            "`bert.embeddings.LayerNorm.bias`",
            "not the name of a safetensors file beside it",
        ]);
    }
    for (text, why) in [
        ("{", "is not an index"),
        ("{}", "weight_map"),
        (r#"{"weight_map":{}}"#, "`weight_map` is empty"),
        (r#"{"weight_map":{"a":1}}"#, "is not an index"),
        ("[]", "is not an index"),
    ] {
        fs::write(copy.file(INDEX), text)?;
        copy.refused(&[INDEX, why]);
    }
    Ok(())
}

#[test]
fn files_that_may_be_pickle_are_never_opened() -> Outcome {
    let copy = Copy::of(FAMILIES[0])?;
    fs::remove_file(copy.file("model.safetensors"))?;
    for name in [
        "pytorch_model-00001-of-00002.bin",
        "pytorch_model-00002-of-00002.bin",
    ] {
        fs::write(copy.file(name), b"PK")?;
    }
    copy.refused(&[
        "pytorch_model-00001-of-00002.bin, pytorch_model-00002-of-00002.bin",
        "never pickle",
        "save_pretrained",
    ]);
    Ok(())
}

/// A reference model whose weights lie in two files, every other tensor in the second.
fn split(family: &str) -> Result<Copy, Box<dyn Error>> {
    let copy = Copy::of(family)?;
    let whole = copy.file("model.safetensors");
    let mut halves = [Vec::new(), Vec::new()];
    let mut map = Map::new();
    let mut tensors = Tensor::read_safetensors(&whole)?;
    tensors.sort_by(|(left, _), (right, _)| left.cmp(right));
    for (place, (name, tensor)) in tensors.into_iter().enumerate() {
        map.insert(name.clone(), json!([FIRST, SECOND][place % 2]));
        halves[place % 2].push((name, tensor));
    }
    for (half, name) in halves.iter().zip([FIRST, SECOND]) {
        Tensor::write_safetensors(half, copy.file(name))?;
    }
    fs::write(copy.file(INDEX), json!({"weight_map": map}).to_string())?;
    fs::remove_file(whole)?;
    Ok(copy)
}

fn read_index(copy: &Copy) -> Result<Value, Box<dyn Error>> {
    Ok(serde_json::from_slice(&fs::read(copy.file(INDEX))?)?)
}
