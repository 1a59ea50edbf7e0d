//! The decoders against transformers and PEFT: `scripts/references/llama.py` made the values.

mod support;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use lorahost::adapter::{Factors, Targets};
use lorahost::data::Tokenizer;
use lorahost::digest::sha256;
use lorahost::generate::{GenerateError, Sampling, Stop, Tokens};
use lorahost::model::{Cache, Model, Options, PackedBatch, Pass};
use lorahost::spec::{HeadMode, Method, Weights};
use serde::Deserialize;
use support::{AdamW, close, follow, options, pack, real, table};
use tch::{Device, Kind, Tensor};

type Outcome = Result<(), Box<dyn Error>>;

const MODELS: [&str; 4] = ["llama", "llama-untied", "qwen2", "qwen3"];
const LABELS: i64 = 3;

#[derive(Deserialize)]
struct Reference {
    rank: i64,
    alpha: f64,
    lr: f64,
    weight_decay: f64,
    rows: Vec<Vec<i64>>,
    pooled_logits: Vec<Vec<f64>>,
    causal_logits_sum: Vec<f64>,
    causal_logits_first: Vec<Vec<f64>>,
    batches: Vec<Vec<Vec<i64>>>,
    labels: Vec<Vec<i64>>,
    losses: BTreeMap<String, Vec<f64>>,
    prompt: Vec<i64>,
    greedy: Vec<i64>,
}

/// Of real weights on a paragraph of WikiText-2.
#[derive(Deserialize)]
struct Pretrained {
    tokens: usize,
    sha256: String,
    losses: Vec<f64>,
    logits: Vec<Vec<f64>>,
}

#[test]
fn packed_logits_are_those_of_each_row_alone() -> Outcome {
    for name in MODELS {
        let (mut model, reference) = open(name)?;
        let batch = pack(&model, &reference.rows)?;
        model.build_head("pooled", LABELS)?;
        let found = tch::no_grad(|| pooled(&model, &batch))?;
        close(&found, &table(&reference.pooled_logits), 1e-4, name);

        model.build_head("causal", 1)?;
        let scores = tch::no_grad(|| causal(&model, &batch))?;
        let first = scores.narrow(1, 0, 6);
        close(&first, &table(&reference.causal_logits_first), 1e-4, name);
        let sums = scores.sum_dim_intlist(1, false, Kind::Double);
        let expected = Tensor::from_slice(&reference.causal_logits_sum);
        close(&sums, &expected, 1e-3, name);
    }
    Ok(())
}

#[test]
fn steps_of_full_fine_tuning_follow_transformers() -> Outcome {
    for name in MODELS {
        for task in [Task::Classification, Task::Causal] {
            let (mut model, reference) = open(name)?;
            task.build_head(&mut model)?;
            model.train(Method::Full, HeadMode::Train);
            let losses = train(&model, &reference, task)?;
            follow(&losses, &reference.losses[task.name("full")], name);
        }
    }
    Ok(())
}

#[test]
fn steps_of_lora_follow_peft() -> Outcome {
    for name in MODELS {
        for task in [Task::Classification, Task::Causal] {
            let (mut model, reference) = open(name)?;
            task.build_head(&mut model)?;
            let factors = Tensor::read_safetensors(folder(name).join("lora_a.safetensors"))?;
            let layers = model.targets(&Targets::parse("all")?, HeadMode::Train)?;
            assert_eq!(layers.len(), factors.len());
            for layer in layers {
                let named = factors.iter().find(|(name, _)| *name == layer.name);
                let (_, a) = named.ok_or("no such layer")?;
                let b = Tensor::zeros([layer.fan_out, reference.rank], (Kind::Float, Device::Cpu));
                let scale = reference.alpha / reference.rank as f64;
                model.attach(layer.index, Factors::new(a.shallow_clone(), b, scale))?;
            }
            // PEFT trains the score, and leaves the words' scores as they are.
            let head = match task {
                Task::Classification => HeadMode::Train,
                Task::Causal => HeadMode::Lora,
            };
            model.train(Method::Lora, head);
            let losses = train(&model, &reference, task)?;
            follow(&losses, &reference.losses[task.name("lora")], name);
        }
    }
    Ok(())
}

#[test]
fn a_sequence_in_steps_is_the_sequence_at_once() -> Outcome {
    let row: Vec<i64> = (0..48).map(|place| 1 + place * 7 % 95).collect();
    let gpt2 = random_gpt2()?;
    let mut models = vec![("gpt2", open_at(gpt2.path(), Weights::Random)?)];
    for name in MODELS {
        models.push((name, open(name)?.0));
    }
    for (name, model) in models {
        let batch = pack(&model, std::slice::from_ref(&row))?;
        let whole = tch::no_grad(|| model.forward(&batch, &Pass::evaluation()))?;
        let mut cache = Cache::default();
        let mut parts = Vec::new();
        let pieces = [&row[..7], &row[7..8], &row[8..20]];
        for tokens in pieces.into_iter().chain(row[20..].chunks(1)) {
            parts.push(model.step(tokens, &mut cache)?);
        }
        close(&Tensor::cat(&parts, 0), &whole, 1e-5, name);
        assert_eq!(cache.ids(), row);

        let error = model.step(&[1], &mut cache).unwrap_err().to_string();
        assert_eq!(
            error,
            "batch: the sequence has 49 tokens, and the model has 48 positions"
        );
    }
    Ok(())
}

#[test]
fn greedy_tokens_are_those_of_transformers() -> Outcome {
    for name in MODELS {
        let (mut model, reference) = open(name)?;
        model.build_head("causal", model.vocabulary())?;
        let count = reference.greedy.len();
        let write = |count, end: &[i64]| -> Result<(Vec<i64>, Option<Stop>), GenerateError> {
            let greedy = Sampling::GREEDY;
            let mut tokens = Tokens::new(&model, &reference.prompt, count, greedy, 0, end)?;
            let written = tokens.by_ref().collect::<Result<_, _>>()?;
            Ok((written, tokens.stop()))
        };
        let expected = (reference.greedy.clone(), Some(Stop::MaxNewTokens));
        assert_eq!(write(count, &[])?, expected, "{name}");

        let end = reference.greedy[3];
        let first = reference.greedy.iter().position(|&token| token == end);
        let before = reference.greedy[..first.ok_or("end")?].to_vec();
        assert_eq!(write(count, &[end])?, (before, Some(Stop::EndOfText)));

        let (all, stop) = write(1000, &[])?;
        assert_eq!(stop, Some(Stop::Positions));
        // The last token needs no position of its own.
        assert_eq!(all.len() + reference.prompt.len(), 49);
    }
    Ok(())
}

#[test]
fn an_adapter_that_does_not_fit_is_refused() -> Outcome {
    let scratch = tempfile::tempdir()?;
    let file = scratch.path().join("adapter.safetensors");
    let refusal = |name: &str| -> Result<String, Box<dyn Error>> {
        let (mut model, _) = open(name)?;
        let error = model.load_adapter(&file).err().ok_or("it was taken")?;
        Ok(error.to_string())
    };
    std::fs::copy(folder("llama").join("lora_a.safetensors"), &file)?;
    assert!(refusal("llama")?.ends_with("its metadata has no entry `lorahost`"));

    let (mut model, reference) = open("llama")?;
    let layer = model.targets(&Targets::parse("0.mlp.down_proj")?, HeadMode::Train)?;
    let options = (Kind::Float, Device::Cpu);
    let a = Tensor::ones([reference.rank, layer[0].fan_in], options);
    let b = Tensor::ones([layer[0].fan_out, reference.rank], options);
    model.attach(layer[0].index, Factors::new(a, b, 0.5))?;
    model.build_head("pooled", LABELS)?;
    model.train(Method::Lora, HeadMode::Train);
    model.save_adapter(&file, &[])?;

    let (mut other, _) = open("llama")?;
    other.build_head("causal", 1)?;
    let names = other.load_adapter(&file)?;
    assert_eq!(names.len(), 3, "{names:?}");
    let batch = pack(&model, &reference.rows)?;
    let hidden = |model: &Model| tch::no_grad(|| model.forward(&batch, &Pass::evaluation()));
    assert!(hidden(&model)?.equal(&hidden(&other)?));
    assert!(!hidden(&model)?.equal(&hidden(&open("llama")?.0)?));

    let message = other.load_adapter(&file).unwrap_err().to_string();
    assert!(message.contains("it has factors already"), "{message}");
    let gpt2 = random_gpt2()?;
    let mut gpt2 = open_at(gpt2.path(), Weights::Random)?;
    let message = gpt2.load_adapter(&file).unwrap_err().to_string();
    let expected = "there is no layer `model.layers.0.mlp.down_proj`";
    assert!(message.ends_with(expected), "{message}");
    let bytes = std::fs::read(&file)?;
    std::fs::write(&file, &bytes[..bytes.len() - 1])?;
    assert!(refusal("llama")?.contains("is not an adapter of this model"));
    Ok(())
}

#[test]
fn dropout_on_attention_needs_no_generator_and_keeps_causality() -> Outcome {
    let path = folder("llama");
    let options = Options {
        dropout: Some(0.5),
        ..options(Weights::Pretrained)
    };
    let model = Model::open(path.to_str().ok_or("path")?, options)?;
    let pass = Pass::training(7, 0);
    let hidden = |row: &[i64]| -> Result<Tensor, Box<dyn Error>> {
        let batch = pack(&model, &[row.to_vec()])?;
        Ok(tch::no_grad(|| model.forward(&batch, &pass))?)
    };
    let (one, other) = (hidden(&[5, 6, 7, 8])?, hidden(&[5, 6, 7, 9])?);
    assert!(one.equal(&hidden(&[5, 6, 7, 8])?));
    close(
        &one.narrow(0, 0, 3),
        &other.narrow(0, 0, 3),
        0.0,
        "before the change",
    );
    assert!(!one.get(3).equal(&other.get(3)));
    let batch = pack(&model, &[vec![5, 6, 7, 8]])?;
    let plain = tch::no_grad(|| model.forward(&batch, &Pass::evaluation()))?;
    assert!(!one.equal(&plain));
    Ok(())
}

#[test]
fn settings_that_are_not_served_are_named() -> Outcome {
    let refused = [
        ("llama", "pretraining_tp", "2"),
        ("llama", "quantization_config", r#"{"bits": 4}"#),
        ("llama", "hidden_act", "\"xielu\""),
        ("llama", "num_key_value_heads", "3"),
        ("llama", "partial_rotary_factor", "0.5"),
        ("llama", "rope_scaling", r#"{"type": "yarn", "factor": 4}"#),
        ("llama", "head_dim", "7"),
        ("qwen2", "use_sliding_window", "true"),
        (
            "qwen2",
            "layer_types",
            r#"["full_attention", "sliding_attention"]"#,
        ),
        ("qwen3", "head_dim", "null"),
    ];
    for (name, key, value) in refused {
        let copy = tempfile::tempdir()?;
        std::fs::copy(
            folder(name).join("model.safetensors"),
            copy.path().join("model.safetensors"),
        )?;
        let mut config: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&std::fs::read(folder(name).join("config.json"))?)?;
        config.insert(key.to_owned(), serde_json::from_str(value)?);
        std::fs::write(
            copy.path().join("config.json"),
            serde_json::to_vec(&config)?,
        )?;
        let error = Model::open(
            copy.path().to_str().ok_or("path")?,
            options(Weights::Pretrained),
        );
        let message = error.err().ok_or(key)?.to_string();
        assert!(message.contains(&format!("`{key}`")), "{message}");
    }
    Ok(())
}

#[test]
fn stories260k_scores_real_text_as_transformers_does() -> Outcome {
    let test = "stories260k_scores_real_text_as_transformers_does";
    let Some(model) = real(test, "LORAHOST_TEST_DATA", "../models/stories260K") else {
        return Ok(());
    };
    scores_real_text(test, &model, "stories260K")
}

#[test]
fn smollm2_scores_real_text_as_transformers_does() -> Outcome {
    let test = "smollm2_scores_real_text_as_transformers_does";
    let name = "smollm2-135m-instruct";
    let Some(model) = real(test, "LORAHOST_TEST_MODELS", name) else {
        return Ok(());
    };
    scores_real_text(test, &model, name)
}

fn scores_real_text(test: &str, folder: &Path, name: &str) -> Outcome {
    let Some(text) = real(test, "LORAHOST_TEST_DATA", "wikitext2/valid.txt") else {
        return Ok(());
    };
    let values: serde_json::Value =
        serde_json::from_slice(&std::fs::read(data().join("pretrained.json"))?)?;
    let line = values["line"].as_u64().ok_or("line")?;
    let reference: Pretrained = serde_json::from_value(values[name].clone())?;
    let text = std::fs::read_to_string(text)?;
    let paragraph = text.lines().nth(usize::try_from(line)?).ok_or("line")?;

    let tokenizer = Tokenizer::open(folder)?;
    let ids = &tokenizer.encode(paragraph)?[..reference.tokens];
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    assert_eq!(sha256(&bytes), reference.sha256, "token ids");

    let mut model = Model::open(folder.to_str().ok_or("path")?, options(Weights::Pretrained))?;
    assert!(tokenizer.vocab_size() as i64 <= model.vocabulary());
    model.build_head("causal", 1)?;
    let ids: Vec<i64> = ids.iter().copied().map(i64::from).collect();
    let batch = pack(&model, std::slice::from_ref(&ids))?;
    let logits = tch::no_grad(|| causal(&model, &batch))?;
    let some = logits.slice(0, 0, i64::MAX, 16).narrow(1, 0, 6);
    close(&some, &table(&reference.logits), 1e-3, name);
    let predicted = logits.narrow(0, 0, ids.len() as i64 - 1);
    let next = Tensor::from_slice(&ids[1..]);
    let losses =
        predicted.cross_entropy_loss::<Tensor>(&next, None, tch::Reduction::None, -100, 0.0);
    close(&losses, &Tensor::from_slice(&reference.losses), 1e-3, name);
    Ok(())
}

#[derive(Clone, Copy)]
enum Task {
    Classification,
    Causal,
}

impl Task {
    fn name(self, method: &str) -> &'static str {
        match (self, method) {
            (Self::Classification, "full") => "classification_full",
            (Self::Classification, _) => "classification_lora",
            (Self::Causal, "full") => "causal_full",
            (Self::Causal, _) => "causal_lora",
        }
    }

    fn build_head(self, model: &mut Model) -> Outcome {
        match self {
            Self::Classification => model.build_head("pooled", LABELS)?,
            Self::Causal => model.build_head("causal", 1)?,
        };
        Ok(())
    }

    /// The mean over rows, or over every token that is predicted.
    fn loss(
        self,
        model: &Model,
        rows: &[Vec<i64>],
        labels: &[i64],
    ) -> Result<Tensor, Box<dyn Error>> {
        let batch = pack(model, rows)?;
        if let Self::Classification = self {
            let labels = Tensor::from_slice(labels);
            return Ok(pooled(model, &batch)?.cross_entropy_for_logits(&labels));
        }
        let next: Vec<i64> = rows.iter().flat_map(|row| row[1..].to_vec()).collect();
        let ends: Vec<i64> = batch.offsets[1..].iter().map(|end| end - 1).collect();
        let total = batch.offsets.last().copied().unwrap_or(0);
        let predict: Vec<i64> = (0..total).filter(|place| !ends.contains(place)).collect();
        let logits = causal(model, &batch)?.index_select(0, &Tensor::from_slice(&predict));
        Ok(logits.cross_entropy_for_logits(&Tensor::from_slice(&next)))
    }
}

/// One AdamW step after another over the reference's batches; the loss of each.
fn train(model: &Model, reference: &Reference, task: Task) -> Result<Vec<f64>, Box<dyn Error>> {
    let mut optimizer = AdamW::new(model.parameters(), reference.lr, reference.weight_decay);
    let mut losses = Vec::new();
    for step in 0..reference.losses[task.name("full")].len() {
        let which = step % reference.batches.len();
        let loss = task.loss(model, &reference.batches[which], &reference.labels[which])?;
        optimizer.step(&loss);
        losses.push(loss.double_value(&[]));
    }
    Ok(losses)
}

fn pooled(model: &Model, batch: &PackedBatch) -> Result<Tensor, Box<dyn Error>> {
    let hidden = model.forward(batch, &Pass::evaluation())?;
    let last: Vec<i64> = batch.offsets[1..].iter().map(|end| end - 1).collect();
    let x = hidden.index_select(0, &Tensor::from_slice(&last));
    Ok(model.head()?.linear("score", &x, &Pass::evaluation())?)
}

fn causal(model: &Model, batch: &PackedBatch) -> Result<Tensor, Box<dyn Error>> {
    let hidden = model.forward(batch, &Pass::evaluation())?;
    Ok(model
        .head()?
        .linear("lm_head", &hidden, &Pass::evaluation())?)
}

fn open(name: &str) -> Result<(Model, Reference), Box<dyn Error>> {
    let folder = folder(name);
    let reference = serde_json::from_slice(&std::fs::read(folder.join("reference.json"))?)?;
    Ok((open_at(&folder, Weights::Pretrained)?, reference))
}

fn open_at(folder: &Path, weights: Weights) -> Result<Model, Box<dyn Error>> {
    let options = Options {
        weights,
        ..options(Weights::Pretrained)
    };
    Ok(Model::open(folder.to_str().ok_or("path")?, options)?)
}

/// A folder with the settings of a small GPT-2.
fn random_gpt2() -> Result<tempfile::TempDir, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let config = r#"{"model_type": "gpt2", "vocab_size": 96, "n_positions": 48, "n_embd": 32, "n_layer": 2, "n_head": 4,
        "initializer_range": 0.2}"#;
    std::fs::write(folder.path().join("config.json"), config)?;
    Ok(folder)
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/decoders")
}

fn folder(name: &str) -> PathBuf {
    data().join(name)
}
