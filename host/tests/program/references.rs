//! Whole runs, with every part from its plugin file, against transformers and PEFT: `scripts/references/encoders.py` and
//! `llama.py` made the losses.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use lorahost::data::order;
use lorahost::plugins::PluginFile;
use lorahost::record::{Event, Measured, Revisions};
use lorahost::spec::{
    DataSpec, HeadMode, LoraSpec, Method, ModelSpec, RunSpec, Save, Schedule, Seeds, Selection,
    TrainSpec, Weights,
};
use lorahost::sweep::{Executor, Outcome, RunJob};
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
    /// None where text is what is learnt.
    labels: Vec<Vec<u32>>,
    full_losses: Vec<f64>,
    lora_losses: Vec<f64>,
}

/// What `llama.py` writes.
#[derive(Deserialize)]
struct OfDecoder {
    rank: usize,
    alpha: f64,
    lr: f64,
    weight_decay: f64,
    batches: Vec<Vec<Vec<u32>>>,
    losses: BTreeMap<String, Vec<f64>>,
}

/// What is learnt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Task {
    Classes,
    /// The next token. The head belongs to the model, and LoRA leaves it as it is.
    Blocks,
}

impl Task {
    fn kind(self) -> DataKind {
        match self {
            Self::Classes => DataKind::Classes,
            Self::Blocks => DataKind::Blocks,
        }
    }

    /// Name and file of the head.
    fn head(self) -> (&'static str, PathBuf) {
        match self {
            Self::Classes => (
                "sequence-classification",
                plugin("sequence_classification_head"),
            ),
            Self::Blocks => ("causal-lm", plugin("causal_lm_head")),
        }
    }

    fn targets(self) -> (&'static str, HeadMode) {
        match self {
            Self::Classes => ("all", HeadMode::Train),
            Self::Blocks => ("layers", HeadMode::Lora),
        }
    }
}

#[test]
fn ten_steps_of_a_language_model_follow_transformers_and_peft() -> Result<(), Box<dyn Error>> {
    // PEFT leaves a head of its own as it is, which no mode of ours does: there, all of the model alone is compared.
    for (family, tied) in [
        ("llama", true),
        ("llama-untied", false),
        ("qwen2", true),
        ("qwen3", false),
    ] {
        let folder = workspace().join("host/tests/data/decoders").join(family);
        let of_decoder: OfDecoder =
            serde_json::from_slice(&fs::read(folder.join("reference.json"))?)?;
        let losses = |name: &str| of_decoder.losses[name].clone();
        let reference = Reference {
            rank: of_decoder.rank,
            alpha: of_decoder.alpha,
            full_lr: of_decoder.lr,
            lora_lr: of_decoder.lr,
            weight_decay: of_decoder.weight_decay,
            labels: Vec::new(),
            full_losses: losses("causal_full"),
            lora_losses: if tied {
                losses("causal_lora")
            } else {
                Vec::new()
            },
            batches: of_decoder.batches,
        };
        let factors = factors(&folder)?;
        follow(Task::Blocks, &folder, &reference, factors.path())?;
    }
    Ok(())
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
        let factors = factors(&folder)?;
        follow(Task::Classes, &folder, &reference, factors.path())?;
    }
    Ok(())
}

/// A folder with the A of each layer, as the test plugin reads them.
fn factors(model: &Path) -> Result<tempfile::TempDir, Box<dyn Error>> {
    let scratch = tempfile::tempdir()?;
    for (name, a) in tensors(&model.join("lora_a.safetensors")) {
        let values = Vec::<f32>::try_from(a.flatten(0, -1))?;
        let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
        fs::write(scratch.path().join(format!("{name}.f32")), bytes)?;
    }
    Ok(scratch)
}

/// Asserts that the model in `folder` trains as the reference did, all of it and with the A in `factors`.
pub fn follow(
    task: Task,
    folder: &Path,
    reference: &Reference,
    factors: &Path,
) -> Result<(), Box<dyn Error>> {
    let config: Value = serde_json::from_slice(&fs::read(folder.join("config.json"))?)?;
    let scratch = tempfile::tempdir()?;
    let tokens = scratch.path().join("tokens");
    fs::write(&tokens, token_file(task, reference, &config["vocab_size"]))?;
    let courses = [
        (Method::Full, &reference.full_losses),
        (Method::Lora, &reference.lora_losses),
    ];
    for (method, expected) in courses.into_iter().filter(|(_, losses)| !losses.is_empty()) {
        let job = RunJob {
            id: "0123456789abcdef".to_owned(),
            folder: scratch.path().join("run"),
            claim: "claim".into(),
            cell: "cell".to_owned(),
            spec: spec(task, method, folder, reference, factors)?,
            revisions: Revisions::default(),
            tokens: tokens.clone(),
            cache: scratch.path().join("cache"),
            model: folder.display().to_string(),
            device: lorahost::spec::Device::Cpu,
            threads: 1,
        };
        let (losses, measured) = execute(&job)?;
        close(&losses, expected, 1e-3);
        assert_eq!(measured.steps, expected.len());
        // The validation split is what the first step sees; evaluating it changes nothing.
        let untrained = measured.untrained_val_loss.into_iter().collect::<Vec<_>>();
        close(&untrained, &expected[..1], 1e-5);
    }
    Ok(())
}

fn execute(job: &RunJob) -> Result<(Vec<f64>, Measured), Box<dyn Error>> {
    let mut losses = Vec::new();
    let mut hear = |event| {
        if let Event::Step { loss, .. } = event {
            losses.extend(loss);
        }
    };
    let outcome = Trainer::default().execute(job, None, &mut hear);
    match outcome.map_err(|failure| failure.to_string())? {
        Outcome::Measured(measured) => Ok((losses, measured)),
        other => Err(format!("{other:?}").into()),
    }
}

fn spec(
    task: Task,
    method: Method,
    model: &Path,
    reference: &Reference,
    factors: &Path,
) -> Result<RunSpec, Box<dyn Error>> {
    let lora = method == Method::Lora;
    let (head, head_file) = task.head();
    let (targets, head_mode) = task.targets();
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
            precision: None,
            adapter: None,
            adapter_sha256: None,
        },
        data: no_data(task.kind()),
        lora: lora.then(|| LoraSpec {
            rank: reference.rank,
            targets: targets.to_owned(),
            dropout: 0.0,
            head_mode,
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
        head: selection("head", head, &head_file, &json!({}))?,
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
            diverged_after: None,
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
fn no_data(kind: DataKind) -> DataSpec {
    DataSpec {
        kind,
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

/// The reference's batches, over and over, as the rows of one epoch: each lies where the order of the epoch finds it. The
/// first batch is the validation split too.
fn token_file(task: Task, reference: &Reference, vocabulary: &Value) -> Vec<u8> {
    type Row<'a> = (&'a Vec<u32>, Option<u32>);
    let rows_of = |batch: usize| -> Vec<Row<'_>> {
        let labels = reference.labels.get(batch);
        let label = |row: usize| labels.map(|labels| labels[row]);
        let rows = reference.batches[batch].iter().enumerate();
        rows.map(|(row, ids)| (ids, label(row))).collect()
    };
    let steps = (0..reference.full_losses.len()).map(|step| step % reference.batches.len());
    let wanted: Vec<Row<'_>> = steps.flat_map(rows_of).collect();
    let mut train = vec![wanted[0]; wanted.len()];
    for (row, &place) in wanted.iter().zip(&order(wanted.len(), SEED, 1)) {
        train[place as usize] = *row;
    }

    // The layout is that of `lorahost::data`'s token files.
    let splits = [train, rows_of(0), Vec::new()];
    let headers: Vec<Value> = splits
        .iter()
        .map(|rows| {
            let tokens: usize = rows.iter().map(|(ids, _)| ids.len()).sum();
            let labelled = rows.iter().any(|(_, label)| label.is_some());
            json!({"rows": rows.len(), "tokens": tokens, "labelled": labelled})
        })
        .collect();
    let names: &[&str] = match task {
        Task::Classes => &["0", "1", "2", "3"],
        Task::Blocks => &[],
    };
    let header = json!({
        "kind": task.kind(),
        "vocab_size": vocabulary,
        "label_names": names,
        "special": {"mask": null, "all": []},
        "truncation": {"texts": 0, "cut": 0, "longest": 0},
        "splits": headers,
    })
    .to_string();
    let mut bytes = b"lorahost".to_vec();
    bytes.extend(3_u32.to_le_bytes());
    bytes.extend(u32::try_from(header.len()).unwrap().to_le_bytes());
    bytes.extend(header.bytes());
    for rows in &splits {
        let mut end = 0_u64;
        bytes.extend(end.to_le_bytes());
        for (ids, _) in rows {
            end += ids.len() as u64;
            bytes.extend(end.to_le_bytes());
        }
        let ids = rows.iter().flat_map(|(ids, _)| ids.iter().copied());
        let labels = rows.iter().filter_map(|(_, label)| *label);
        bytes.extend(ids.chain(labels).flat_map(u32::to_le_bytes));
        if task == Task::Blocks {
            // These tokens are no text: one byte a row will do.
            bytes.extend(rows.iter().flat_map(|_| 1_u64.to_le_bytes()));
        }
    }
    bytes
}
