//! Real weights against transformers and PEFT: `scripts/references/minilm.py` made the values.

use std::error::Error;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use lorahost::adapter::{Factors, Targets};
use lorahost::model::{Model, Options, Pass};
use lorahost::spec::{HeadMode, Seeds, Weights};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

use crate::references::{Reference, Task, follow};
use crate::sandbox::{real, workspace};

type Outcome = Result<(), Box<dyn Error>>;

const LABELS: i64 = 4;

#[test]
fn minilm_gives_the_padded_logits() -> Outcome {
    let Some(folder) = with_classifier("minilm_gives_the_padded_logits")? else {
        return Ok(());
    };
    let (reference, values) = reference()?;
    let mut model = open(folder.path())?;
    model.build_head("pooled", LABELS)?;
    let expected: Vec<Vec<Vec<f64>>> = serde_json::from_value(values["logits"].clone())?;
    let mut plain = Vec::new();
    for (batch, expected) in reference.batches.iter().zip(&expected) {
        let found = logits(&model, batch)?;
        for (row, expected) in expected.iter().enumerate() {
            let found = Vec::<f64>::try_from(found.get(row as i64).to_kind(Kind::Double))?;
            for (found, expected) in found.iter().zip(expected) {
                assert!(
                    (found - expected).abs() <= 1e-4,
                    "{found}, expected {expected}"
                );
            }
        }
        plain.push(found);
    }

    for layer in model.targets(&Targets::parse("all")?, HeadMode::Lora)? {
        let rank = reference.rank as i64;
        let a = noise(&layer.name, rank, layer.fan_in);
        let a = Tensor::from_slice(&a).reshape([rank, layer.fan_in]);
        let b = Tensor::zeros([layer.fan_out, rank], (Kind::Float, Device::Cpu));
        model.attach(layer.index, Factors::new(a, b, 2.0))?;
    }
    for (batch, plain) in reference.batches.iter().zip(&plain) {
        assert!(
            logits(&model, batch)?.equal(plain),
            "B = 0 must leave the logits as they are"
        );
    }
    Ok(())
}

#[test]
fn twenty_steps_of_minilm_follow_transformers_and_peft() -> Outcome {
    let Some(folder) = with_classifier("twenty_steps_of_minilm_follow_transformers_and_peft")?
    else {
        return Ok(());
    };
    let (reference, _) = reference()?;
    let factors = tempfile::tempdir()?;
    let model = open(folder.path())?;
    for layer in model.targets(&Targets::parse("all")?, HeadMode::Train)? {
        let a = noise(&layer.name, reference.rank as i64, layer.fan_in);
        let bytes: Vec<u8> = a.into_iter().flat_map(f32::to_le_bytes).collect();
        fs::write(factors.path().join(format!("{}.f32", layer.name)), bytes)?;
    }
    follow(Task::Classes, folder.path(), &reference, factors.path())
}

/// A folder with all-MiniLM-L6-v2 and a classifier, which it lacks: `noise`, and a bias of 0.
fn with_classifier(test: &str) -> Result<Option<tempfile::TempDir>, Box<dyn Error>> {
    let Some(minilm) = real(test, "LORAHOST_TEST_MODELS", "all-MiniLM-L6-v2") else {
        return Ok(None);
    };
    let folder = tempfile::tempdir()?;
    symlink(
        minilm.join("config.json"),
        folder.path().join("config.json"),
    )?;
    let mut tensors = Tensor::read_safetensors(minilm.join("model.safetensors"))?;
    let hidden = 384;
    let weight = Tensor::from_slice(&noise("classifier", LABELS, hidden)).reshape([LABELS, hidden]);
    let bias = Tensor::zeros([LABELS], (Kind::Float, Device::Cpu));
    tensors.push(("classifier.weight".to_owned(), weight));
    tensors.push(("classifier.bias".to_owned(), bias));
    Tensor::write_safetensors(&tensors, folder.path().join("model.safetensors"))?;
    Ok(Some(folder))
}

/// `[rows, columns]` within 1 / sqrt(columns), a function of the name; the script has the same.
fn noise(name: &str, rows: i64, columns: i64) -> Vec<f32> {
    let start = name.bytes().map(u64::from).sum::<u64>() * 65537;
    let residue = |k: u64| ((start + k).pow(2)).wrapping_mul(2654435761) % (1 << 32);
    let unit = |residue: u64| residue as f64 / f64::from(1_u32 << 31) - 1.0;
    (0..(rows * columns) as u64)
        .map(|k| (unit(residue(k)) / (columns as f64).sqrt()) as f32)
        .collect()
}

/// The pooler with its tanh, then the classifier.
fn logits(model: &Model, rows: &[Vec<u32>]) -> Result<Tensor, Box<dyn Error>> {
    let pass = Pass::evaluation();
    let ids: Vec<i64> = rows.concat().into_iter().map(i64::from).collect();
    let mut offsets = vec![0];
    for row in rows {
        offsets.push(offsets[offsets.len() - 1] + row.len() as i64);
    }
    let batch = model.pack(&Tensor::from_slice(&ids), &offsets)?;
    let hidden = model.forward(&batch, &pass)?;
    let first = hidden.index_select(0, &Tensor::from_slice(&offsets[..rows.len()]));
    let head = model.head()?;
    let pooled = head.linear("bert.pooler.dense", &first, &pass)?.tanh();
    Ok(head.linear("classifier", &pooled, &pass)?.detach())
}

fn open(folder: &Path) -> Result<Model, Box<dyn Error>> {
    let options = Options {
        weights: Weights::Pretrained,
        dropout: None,
        device: Device::Cpu,
        seeds: Seeds {
            init: 1,
            data: 1,
            dropout: 1,
            head: 1,
        },
    };
    Ok(Model::open(folder.to_str().ok_or("path")?, options)?)
}

fn reference() -> Result<(Reference, Value), Box<dyn Error>> {
    let path: PathBuf = workspace().join("host/tests/data/minilm.json");
    let values: Value = serde_json::from_slice(&fs::read(path)?)?;
    Ok((serde_json::from_value(values.clone())?, values))
}
