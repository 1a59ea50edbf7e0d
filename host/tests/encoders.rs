//! The encoders against transformers and PEFT: `scripts/references/encoders.py` made the values.

mod support;

use std::error::Error;
use std::path::{Path, PathBuf};

use lorahost::adapter::{Factors, Targets};
use lorahost::model::{Model, PackedBatch, Pass, Pooled, activation};
use lorahost::spec::{HeadMode, Method, Weights};
use serde::Deserialize;
use support::{AdamW, close, follow, options, pack, real, table};
use tch::{Device, Kind, Tensor};

type Outcome = Result<(), Box<dyn Error>>;

const FAMILIES: [&str; 4] = [
    "tiny-bert-reference",
    "tiny-distilbert-reference",
    "tiny-roberta-reference",
    "tiny-gpt2-reference",
];
const LABELS: i64 = 4;

#[derive(Deserialize)]
struct Reference {
    rank: i64,
    alpha: f64,
    full_lr: f64,
    lora_lr: f64,
    weight_decay: f64,
    rows: Vec<Vec<i64>>,
    classification_logits: Vec<Vec<f64>>,
    token_logits: Vec<Vec<f64>>,
    vocabulary_layout: String,
    vocabulary_logits_sum: Vec<f64>,
    vocabulary_logits_first: Vec<Vec<f64>>,
    batches: Vec<Vec<Vec<i64>>>,
    labels: Vec<Vec<i64>>,
    full_losses: Vec<f64>,
    lora_losses: Vec<f64>,
}

#[test]
fn packed_logits_are_the_padded_ones() -> Outcome {
    for family in FAMILIES {
        let (mut model, reference) = open(family)?;
        let batch = pack(&model, &reference.rows)?;
        model.build_head("pooled", LABELS)?;
        let found = logits(&model, &batch)?;
        close(
            &found,
            &table(&reference.classification_logits),
            1e-4,
            family,
        );

        model.build_head("tokens", LABELS)?;
        let hidden = model.forward(&batch, &Pass::evaluation())?;
        let found = through_head(&model, &hidden)?;
        close(&found, &table(&reference.token_logits), 1e-4, family);

        model.build_head(&reference.vocabulary_layout, 1)?;
        let scores = through_head(&model, &hidden)?;
        close(
            &scores.narrow(1, 0, 8),
            &table(&reference.vocabulary_logits_first),
            1e-4,
            family,
        );
        let sums = scores.sum_dim_intlist(1, false, Kind::Double);
        close(
            &sums,
            &Tensor::from_slice(&reference.vocabulary_logits_sum),
            2e-3,
            family,
        );
    }
    Ok(())
}

#[test]
fn twenty_steps_of_full_fine_tuning_follow_transformers() -> Outcome {
    for family in FAMILIES {
        let (mut model, reference) = open(family)?;
        model.build_head("pooled", LABELS)?;
        model.train(Method::Full, HeadMode::Train);
        let losses = twenty_steps(&model, &reference, reference.full_lr)?;
        follow(&losses, &reference.full_losses, family);
    }
    Ok(())
}

#[test]
fn twenty_steps_of_lora_follow_peft() -> Outcome {
    for family in FAMILIES {
        let (mut model, reference) = open(family)?;
        model.build_head("pooled", LABELS)?;
        let probe = pack(&model, &reference.rows)?;
        let before = logits(&model, &probe)?;
        let factors = Tensor::read_safetensors(folder(family).join("lora_a.safetensors"))?;
        let layers = model.targets(&Targets::parse("all")?, HeadMode::Train)?;
        assert_eq!(layers.len(), factors.len());
        for layer in layers {
            let (_, a) = factors
                .iter()
                .find(|(name, _)| *name == layer.name)
                .ok_or("no such layer")?;
            let b = Tensor::zeros([layer.fan_out, reference.rank], (Kind::Float, Device::Cpu));
            let scale = reference.alpha / reference.rank as f64;
            model.attach(layer.index, Factors::new(a.shallow_clone(), b, scale))?;
        }
        model.train(Method::Lora, HeadMode::Train);
        let after = logits(&model, &probe)?;
        assert!(
            before.equal(&after),
            "{family}: B = 0 must leave the logits as they are"
        );

        let losses = twenty_steps(&model, &reference, reference.lora_lr)?;
        follow(&losses, &reference.lora_losses, family);
    }
    Ok(())
}

#[test]
fn minilm_gives_the_hidden_states_of_transformers() -> Outcome {
    let name = "minilm_gives_the_hidden_states_of_transformers";
    let Some(path) = real(name, "LORAHOST_TEST_MODELS", "all-MiniLM-L6-v2") else {
        return Ok(());
    };
    let mut model = Model::open(path.to_str().ok_or("path")?, options(Weights::Pretrained))?;
    let reference = Tensor::read_safetensors(data().join("minilm.safetensors"))?;
    let get = |wanted: &str| {
        reference
            .iter()
            .find(|(name, _)| name == wanted)
            .map(|(_, tensor)| tensor)
    };
    let numbers = |name| -> Result<Vec<i64>, Box<dyn Error>> {
        Ok(Vec::try_from(
            get(name).ok_or("reference")?.to_kind(Kind::Int64),
        )?)
    };
    let offsets = numbers("offsets")?;
    let batch = model.pack(&Tensor::from_slice(&numbers("ids")?), &offsets)?;

    let pass = Pass::evaluation();
    let hidden = tch::no_grad(|| model.forward(&batch, &pass))?;
    let first = hidden.index_select(0, &Tensor::from_slice(&offsets[..batch.rows()]));
    close(
        &first,
        get("first_token").ok_or("reference")?,
        1e-4,
        "first token",
    );
    let means: Vec<Tensor> = hidden
        .split_with_sizes(&batch.lengths, 0)
        .iter()
        .map(|row| row.mean_dim(Some(&[0_i64][..]), false, Kind::Float))
        .collect();
    close(
        &Tensor::stack(&means, 0),
        get("mean").ok_or("reference")?,
        1e-4,
        "mean",
    );

    // The pooler comes with the model, the classifier does not.
    let head = model.build_head("pooled", LABELS)?;
    let pretrained: Vec<bool> = head
        .description()
        .layers
        .iter()
        .map(|layer| layer.pretrained)
        .collect();
    assert_eq!(pretrained, [true, false]);
    let pooled = tch::no_grad(|| head.linear("bert.pooler.dense", &first, &pass))?.tanh();
    close(&pooled, get("pooled").ok_or("reference")?, 1e-4, "pooled");
    assert_eq!(
        model
            .targets(&Targets::parse("all")?, HeadMode::Train)?
            .len(),
        36
    );
    assert_eq!(
        model
            .targets(&Targets::parse("mlp")?, HeadMode::Train)?
            .len(),
        12
    );
    Ok(())
}

/// One AdamW step after another over the reference's batches, with dropout off; the loss of each.
fn twenty_steps(model: &Model, reference: &Reference, lr: f64) -> Result<Vec<f64>, Box<dyn Error>> {
    let mut optimizer = AdamW::new(model.parameters(), lr, reference.weight_decay);
    let mut losses = Vec::new();
    for step in 0..reference.full_losses.len() {
        let which = step % reference.batches.len();
        let batch = pack(model, &reference.batches[which])?;
        let labels = Tensor::from_slice(&reference.labels[which]);
        let loss = logits(model, &batch)?.cross_entropy_for_logits(&labels);
        optimizer.step(&loss);
        losses.push(loss.double_value(&[]));
    }
    Ok(losses)
}

fn logits(model: &Model, batch: &PackedBatch) -> Result<Tensor, Box<dyn Error>> {
    let pass = Pass::evaluation();
    let pooled = if model.head()?.description().pooled == Some(Pooled::Last) {
        let lasts: Vec<i64> = batch.offsets[1..].iter().map(|end| end - 1).collect();
        (model.forward(batch, &pass)?).index_select(0, &Tensor::from_slice(&lasts))
    } else {
        model.forward_first(batch, &pass)?
    };
    through_head(model, &pooled)
}

/// All layers of the head in order, as the plugins' `through` has it: there is no head to run without a plugin.
fn through_head(model: &Model, x: &Tensor) -> Result<Tensor, Box<dyn Error>> {
    let head = model.head()?;
    let mut x = x.shallow_clone();
    for layer in &head.description().layers {
        x = head.linear(&layer.name, &x, &Pass::evaluation())?;
        if let Some(function) = layer.activation {
            x = activation::apply(function, &x)?;
        }
    }
    Ok(x)
}

fn open(family: &str) -> Result<(Model, Reference), Box<dyn Error>> {
    let folder = folder(family);
    let reference = serde_json::from_slice(&std::fs::read(folder.join("reference.json"))?)?;
    let model = Model::open(folder.to_str().ok_or("path")?, options(Weights::Pretrained))?;
    Ok((model, reference))
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

fn folder(family: &str) -> PathBuf {
    data().join(family)
}
