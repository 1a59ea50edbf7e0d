//! Whole runs, with every part from its plugin file, against transformers and PEFT: `scripts/references/encoders.py`
//! made the losses.

use std::error::Error;
use std::fs;
use std::path::Path;

use lorahost::data::order;
use lorahost::plugins::PluginFile;
use lorahost::record::{Event, Measured, Revisions};
use lorahost::spec::{
    DataSpec, HeadMode, LoraSpec, Method, ModelSpec, RunSpec, Save, Schedule, Seeds, Selection,
    TrainSpec, Weights,
};
use lorahost::sweep::{Executor, RunJob};
use lorahost::train::Trainer;
use lorahost_plugin_api::protocol::DataKind;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::sandbox::{close, plugin, tensors, test_plugin, workspace};

const SEED: u64 = 42;

#[derive(Deserialize)]
pub struct Reference {
    pub rank: usize,
    alpha: f64,
    full_lr: f64,
    lora_lr: f64,
    weight_decay: f64,
    pub batches: Vec<Vec<Vec<u32>>>,
    labels: Vec<Vec<u32>>,
    full_losses: Vec<f64>,
    lora_losses: Vec<f64>,
}

#[test]
fn twenty_steps_follow_transformers_and_peft() -> Result<(), Box<dyn Error>> {
    for family in [
        "tiny-bert-reference",
        "tiny-distilbert-reference",
        "tiny-roberta-reference",
        "tiny-gpt2-reference",
    ] {
        let folder = workspace().join("host/tests/data").join(family);
        let reference: Reference =
            serde_json::from_slice(&fs::read(folder.join("reference.json"))?)?;
        let scratch = tempfile::tempdir()?;
        for (name, a) in tensors(&folder.join("lora_a.safetensors")) {
            let values = Vec::<f32>::try_from(a.flatten(0, -1))?;
            let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
            fs::write(scratch.path().join(format!("{name}.f32")), bytes)?;
        }
        follow(&folder, &reference, scratch.path())?;
    }
    Ok(())
}

/// Asserts that the model in `folder` trains as the reference did, all of it and with the A in `factors`.
pub fn follow(folder: &Path, reference: &Reference, factors: &Path) -> Result<(), Box<dyn Error>> {
    let config: Value = serde_json::from_slice(&fs::read(folder.join("config.json"))?)?;
    let scratch = tempfile::tempdir()?;
    let tokens = scratch.path().join("tokens");
    fs::write(&tokens, token_file(reference, &config["vocab_size"]))?;
    for (method, expected) in [
        (Method::Full, &reference.full_losses),
        (Method::Lora, &reference.lora_losses),
    ] {
        let job = RunJob {
            id: "0123456789abcdef".to_owned(),
            folder: scratch.path().join("run"),
            cell: "cell".to_owned(),
            spec: spec(method, folder, reference, factors)?,
            revisions: Revisions::default(),
            tokens: tokens.clone(),
            cache: scratch.path().join("cache"),
            model: folder.display().to_string(),
            device: lorahost::spec::Device::Cpu,
            threads: 1,
        };
        let (losses, measured) = execute(&job)?;
        close(&losses, expected, 1e-3);
        assert_eq!(measured.steps, 20);
    }
    Ok(())
}

fn execute(job: &RunJob) -> Result<(Vec<f64>, Measured), Box<dyn Error>> {
    let mut losses = Vec::new();
    let measured = Trainer::default().execute(job, &mut |event| {
        if let Event::Step { loss, .. } = event {
            losses.extend(loss);
        }
    });
    Ok((losses, measured.map_err(|failure| failure.to_string())?))
}

fn spec(
    method: Method,
    model: &Path,
    reference: &Reference,
    factors: &Path,
) -> Result<RunSpec, Box<dyn Error>> {
    let lora = method == Method::Lora;
    let folder = factors.display().to_string();
    let adamw = json!({"weight_decay": reference.weight_decay});
    let of_lora =
        |kind, name, file, own| lora.then(|| selection(kind, name, file, &own)).transpose();
    Ok(RunSpec {
        method,
        model: ModelSpec {
            path: model.display().to_string(),
            weights: Weights::Pretrained,
            dropout: Some(0.0),
        },
        data: no_data(),
        lora: lora.then(|| LoraSpec {
            rank: reference.rank,
            targets: "all".to_owned(),
            dropout: 0.0,
            head_mode: HeadMode::Train,
            init_scale_a: 1.0,
        }),
        init: of_lora(
            "init",
            "given",
            &test_plugin("given_init"),
            json!({"folder": folder}),
        )?,
        alpha: of_lora(
            "alpha",
            "constant",
            &plugin("constant_alpha"),
            json!({"alpha": reference.alpha}),
        )?,
        optimizer: selection("optimizer", "adamw", &plugin("adamw_optimizer"), &adamw)?,
        head: selection(
            "head",
            "sequence-classification",
            &plugin("sequence_classification_head"),
            &json!({}),
        )?,
        train: TrainSpec {
            lr: if lora {
                reference.lora_lr
            } else {
                reference.full_lr
            },
            lr_a: 1.0,
            lr_b: 1.0,
            epochs: 1,
            batch_size: reference.batches[0].len(),
            accumulate: 1,
            max_steps: None,
            eval_every: None,
            schedule: Schedule::Constant,
            warmup: 0,
            grad_clip: None,
            save: Save::None,
        },
        seeds: Seeds {
            init: SEED,
            data: SEED,
            dropout: SEED,
            head: SEED,
        },
    })
}

/// A component with its defaults, and what is given in their place.
fn selection(
    kind: &str,
    name: &str,
    file: &Path,
    own: &Value,
) -> Result<Selection, Box<dyn Error>> {
    let file = PluginFile::read(file)?;
    let mut components = file.manifest.components.iter();
    let component = components
        .find(|component| component.kind == kind && component.name == name)
        .ok_or("no such component")?;
    let defaults = component.parameters.iter();
    let mut parameters: Map<String, Value> = defaults
        .map(|parameter| (parameter.name.clone(), parameter.default.clone()))
        .collect();
    parameters.extend(own.as_object().cloned().unwrap_or_default());
    Ok(Selection {
        name: name.to_owned(),
        parameters,
        sha256: file.sha256,
        file: file.path,
    })
}

/// The data lie in the token file.
fn no_data() -> DataSpec {
    DataSpec {
        kind: DataKind::Classes,
        path: None,
        train_file: None,
        validation_file: None,
        test_file: None,
        text_column: None,
        label_column: None,
        rejected_column: None,
        block_size: None,
        stride: None,
        train_size: None,
        validation_size: None,
        test_size: None,
        validation_fraction: 0.1,
        split_seed: 36,
        max_length: 40,
    }
}

/// The reference's batches, over and over, as the rows of one epoch: each lies where the order of the epoch finds it.
fn token_file(reference: &Reference, vocabulary: &Value) -> Vec<u8> {
    let steps = (0..reference.full_losses.len()).map(|step| step % reference.batches.len());
    let wanted: Vec<(&Vec<u32>, u32)> = steps
        .flat_map(|batch| {
            let labels = reference.labels[batch].iter().copied();
            reference.batches[batch].iter().zip(labels)
        })
        .collect();
    let mut rows = vec![wanted[0]; wanted.len()];
    for (row, &place) in wanted.iter().zip(&order(wanted.len(), SEED, 1)) {
        rows[place as usize] = *row;
    }

    // The layout is that of `lorahost::data`'s token files.
    let total: usize = rows.iter().map(|(ids, _)| ids.len()).sum();
    let header = json!({
        "kind": "classes",
        "vocab_size": vocabulary,
        "label_names": ["0", "1", "2", "3"],
        "special": {"mask": null, "all": []},
        "splits": [
            {"rows": rows.len(), "tokens": total, "labelled": true},
            {"rows": 0, "tokens": 0, "labelled": false},
            {"rows": 0, "tokens": 0, "labelled": false},
        ],
    })
    .to_string();
    let mut bytes = b"lorahost".to_vec();
    bytes.extend(2_u32.to_le_bytes());
    bytes.extend(u32::try_from(header.len()).unwrap().to_le_bytes());
    bytes.extend(header.bytes());
    let mut end = 0_u64;
    bytes.extend(end.to_le_bytes());
    for (ids, _) in &rows {
        end += ids.len() as u64;
        bytes.extend(end.to_le_bytes());
    }
    let ids = rows.iter().flat_map(|(ids, _)| ids.iter().copied());
    let labels = rows.iter().map(|(_, label)| *label);
    bytes.extend(ids.chain(labels).flat_map(u32::to_le_bytes));
    // The empty splits have their one offset.
    bytes.extend([0; 16]);
    bytes
}
