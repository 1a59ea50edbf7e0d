//! Model folders that are wrong, and what a model writes.

#[path = "support/options.rs"]
mod options;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use lorahost::adapter::{Factors, Role, Targets};
use lorahost::model::{Model, ModelError, Options, PackedBatch, Pass};
use lorahost::spec::{HeadMode, Method, Seeds, Weights};
use options::options;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

type Outcome = Result<(), Box<dyn Error>>;

const FAMILIES: [&str; 2] = ["tiny-bert-reference", "tiny-distilbert-reference"];

#[test]
fn a_folder_that_is_not_a_model_says_what_it_lacks() -> Outcome {
    refused("no/such/folder", &["no folder no/such/folder"]);
    refused("builtin:nothing", &["no built-in model `nothing`"]);
    let copy = Copy::of("tiny-bert-reference")?;
    fs::remove_file(copy.file("model.safetensors"))?;
    copy.refused(&["has no model.safetensors"]);
    fs::write(copy.file("pytorch_model.bin"), b"PK")?;
    copy.refused(&["pytorch_model.bin", "only the safetensors format is read"]);
    fs::remove_file(copy.file("config.json"))?;
    copy.refused(&["has no config.json"]);
    Ok(())
}

#[test]
fn settings_that_are_not_served_are_named() -> Outcome {
    let copy = Copy::of("tiny-bert-reference")?;
    for (key, value) in [
        ("position_embedding_type", json!("relative_key")),
        ("is_decoder", json!(true)),
        ("add_cross_attention", json!(true)),
        ("hidden_act", json!("gelu_10")),
        ("num_attention_heads", json!(5)),
        ("hidden_size", json!("many")),
        ("hidden_dropout_prob", json!(1.5)),
        ("layer_norm_eps", json!(0)),
        ("pad_token_id", json!(200)),
        ("model_type", json!("t5")),
        ("vocab_size", json!(null)),
        ("quantization_config", json!({"bits": 4})),
    ] {
        copy.with_config(key, value)?;
        copy.refused(&["config.json", &format!("`{key}`")]);
    }
    fs::write(copy.file("config.json"), "{")?;
    copy.refused(&["not JSON"]);
    Ok(())
}

#[test]
fn weights_that_do_not_fit_are_listed() -> Outcome {
    let copy = Copy::of("tiny-bert-reference")?;
    copy.with_config("intermediate_size", json!(95))?;
    let shape =
        "`bert.encoder.layer.0.intermediate.dense.weight` has shape [96, 48], expected [95, 48]";
    copy.refused(&[
        "model.safetensors does not fit its config.json: 6 wrong: ",
        shape,
        "`bert.encoder.layer.1.intermediate.dense.bias` has shape [96], expected [95] and 1 more",
    ]);
    copy.with_config("num_hidden_layers", json!(3))?;
    copy.refused(&[
        "16 missing: bert.encoder.layer.2.attention.self.query.weight, ",
        " and 11 more",
    ]);
    copy.with_config("num_hidden_layers", json!(1))?;
    copy.refused(&["16 unexpected: bert.encoder.layer.1.", " and 11 more"]);
    Ok(())
}

#[test]
fn malformed_safetensors_are_refused_at_every_cut() -> Outcome {
    let copy = Copy::of("tiny-distilbert-reference")?;
    let path = copy.file("model.safetensors");
    let bytes = fs::read(&path)?;
    let header = usize::try_from(u64::from_le_bytes(bytes[..8].try_into()?))?;
    for length in [
        0,
        1,
        7,
        8,
        9,
        header / 2,
        header + 7,
        header + 8,
        header + 100,
        bytes.len() - 1,
    ] {
        fs::write(&path, &bytes[..length])?;
        copy.refused(&["is not a safetensors file"]);
    }
    let mut longer = bytes.clone();
    longer.push(0);
    fs::write(&path, longer)?;
    copy.refused(&["is not a safetensors file"]);

    // Headers that lie: of their own length, of a range, of a type.
    let mut lie = bytes.clone();
    lie[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    fs::write(&path, &lie)?;
    copy.refused(&["is not a safetensors file"]);
    let text = std::str::from_utf8(&bytes[8..8 + header])?;
    for (from, to) in [
        ("\"data_offsets\":[0,", "\"data_offsets\":[9,"),
        ("\"F16\"", "\"F64\""),
    ] {
        assert!(text.contains(from));
        let mut lie = bytes.clone();
        lie[8..8 + header].copy_from_slice(text.replacen(from, to, 1).as_bytes());
        fs::write(&path, &lie)?;
        copy.refused(&["is not a safetensors file"]);
    }
    let mut lie = bytes.clone();
    lie[8..8 + header].copy_from_slice(text.replace("\"F16\"", "\"I16\"").as_bytes());
    fs::write(&path, &lie)?;
    copy.refused(&["has type I16, expected F32, F16 or BF16"]);
    Ok(())
}

#[test]
fn names_with_and_without_prefix_mean_the_same() -> Outcome {
    // One of the two references leaves the prefix out; both are opened by the other tests. Here: old norm names.
    let copy = Copy::of("tiny-bert-reference")?;
    let path = copy.file("model.safetensors");
    let before = logits(&Model::open(copy.path(), options(Weights::Pretrained))?)?;
    let old: Vec<(String, Tensor)> = Tensor::read_safetensors(&path)?
        .into_iter()
        .map(|(name, tensor)| {
            let name = name.replace("LayerNorm.weight", "LayerNorm.gamma");
            (name.replace("LayerNorm.bias", "LayerNorm.beta"), tensor)
        })
        .collect();
    Tensor::write_safetensors(&old, &path)?;
    assert!(before.equal(&logits(&Model::open(
        copy.path(),
        options(Weights::Pretrained)
    )?)?));
    let mut twice = old;
    let words = "embeddings.word_embeddings.weight";
    let same = twice
        .iter()
        .find(|(name, _)| name.ends_with(words))
        .map(|(_, words)| words.shallow_clone());
    twice.push((words.to_owned(), same.ok_or("no words")?));
    Tensor::write_safetensors(&twice, &path)?;
    copy.refused(&["two tensors mean `bert.embeddings.word_embeddings.weight`"]);
    Ok(())
}

#[test]
fn random_weights_depend_on_seed_and_name_alone() -> Outcome {
    for family in FAMILIES {
        let copy = Copy::of(family)?;
        fs::remove_file(copy.file("model.safetensors"))?;
        let first = Model::open(copy.path(), options(Weights::Random))?;
        tch::manual_seed(77);
        let _ = Tensor::rand([100], (Kind::Float, Device::Cpu));
        let mut second = Model::open(copy.path(), options(Weights::Random))?;
        assert!(logits(&first)?.equal(&logits(&second)?));
        let drawn = second
            .build_head("pooled", 3)?
            .description()
            .layers
            .iter()
            .all(|layer| !layer.pretrained);
        assert!(drawn);
        let other = Options {
            seeds: Seeds {
                init: 9,
                ..options(Weights::Random).seeds
            },
            ..options(Weights::Random)
        };
        assert!(!logits(&first)?.equal(&logits(&Model::open(copy.path(), other)?)?));
    }
    Ok(())
}

#[test]
fn a_head_of_other_outputs_starts_anew() -> Outcome {
    let mut model = open(FAMILIES[0])?;
    let pretrained = |model: &mut Model, outputs| -> Result<Vec<bool>, ModelError> {
        let head = model.build_head("pooled", outputs)?;
        Ok(head
            .description()
            .layers
            .iter()
            .map(|layer| layer.pretrained)
            .collect())
    };
    assert_eq!(pretrained(&mut model, 4)?, [true, true]);
    assert_eq!(pretrained(&mut model, 7)?, [true, false]);
    assert!(model.build_head("pooled", 0).is_err());
    let error = model.build_head("spans", 2).unwrap_err().to_string();
    assert_eq!(
        error,
        "architecture `bert` has no head of layout `spans`; it has pooled, vocabulary, tokens"
    );
    let error = model
        .head()?
        .linear("score", &Tensor::new(), &Pass::evaluation())
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "the head has no layer `score`; it has bert.pooler.dense, classifier"
    );
    Ok(())
}

#[test]
fn targets_choose_by_part_and_by_name() -> Outcome {
    for family in FAMILIES {
        let mut model = open(family)?;
        model.build_head("pooled", 4)?;
        let count = |text: &str, head| -> Result<usize, Box<dyn Error>> {
            Ok(model.targets(&Targets::parse(text)?, head)?.len())
        };
        assert_eq!(count("all", HeadMode::Train)?, 12);
        assert_eq!(count("all", HeadMode::Lora)?, 14);
        assert_eq!(count("attention", HeadMode::Train)?, 8);
        assert_eq!(count("mlp", HeadMode::Train)?, 4);
        assert_eq!(count(r"layer\.1\.", HeadMode::Train)?, 6);
        let error = count("nothing", HeadMode::Lora).unwrap_err().to_string();
        assert!(
            error.starts_with(
                "targets `nothing` fits none of the model's linear layers, which are "
            ),
            "{error}"
        );
        assert!(Targets::parse("(").is_err());
    }
    Ok(())
}

#[test]
fn compensation_keeps_the_model_and_merging_keeps_the_update() -> Outcome {
    for family in FAMILIES {
        let mut model = open(family)?;
        let before = logits(&model)?;
        wrap(&mut model, true, 0.0)?;
        close(&logits(&model)?, &before, 1e-4);

        let mut model = open(family)?;
        model.build_head("pooled", 4)?;
        wrap(&mut model, false, 0.0)?;
        let changed = logits(&model)?;
        let scratch = tempfile::tempdir()?;
        let folder = scratch.path().join("saved");
        model.save_full(&folder, &["a".to_owned(), "b".to_owned()])?;
        assert!(
            model.save_full(&folder, &[]).is_err(),
            "a folder that is there is not overwritten"
        );
        let saved = Model::open(folder.to_str().ok_or("path")?, options(Weights::Pretrained))?;
        close(&logits(&saved)?, &changed, 1e-4);
        assert_eq!(
            saved.config().values()["id2label"],
            json!({"0":"a","1":"b","2":"LABEL_2","3":"LABEL_3"})
        );
        assert_eq!(
            fs::read_dir(scratch.path())?.count(),
            1,
            "nothing temporary is left"
        );
    }
    Ok(())
}

#[test]
fn an_adapter_file_holds_what_learns() -> Outcome {
    let mut model = open(FAMILIES[1])?;
    model.build_head("pooled", 4)?;
    wrap(&mut model, true, 0.0)?;
    model.train(Method::Lora, HeadMode::Train);
    let scratch = tempfile::tempdir()?;
    let path = scratch.path().join("adapter.safetensors");
    model.save_adapter(&path, &[])?;
    let bytes = fs::read(&path)?;
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes)?;
    let extra = metadata.metadata().clone().ok_or("no metadata")?;
    let of_lorahost: serde_json::Value = serde_json::from_str(&extra["lorahost"])?;
    assert_eq!(of_lorahost["format"], "lorahost-adapter/1");
    assert_eq!(
        of_lorahost["scales"]["distilbert.transformer.layer.0.ffn.lin1"],
        0.5
    );
    let again = scratch.path().join("again.safetensors");
    model.save_adapter(&again, &[])?;
    assert!(fs::read(&again)? == bytes, "equal adapters are equal files");
    let names = metadata.offset_keys();
    // A, B, A0 and B0 of 12 layers, weight and bias of two head layers.
    assert_eq!(names.len(), 12 * 4 + 4);
    assert!(names.contains(&"pre_classifier.bias".to_owned()));
    Ok(())
}

#[test]
fn parameters_have_roles_and_pairs() -> Outcome {
    let mut model = open(FAMILIES[0])?;
    model.build_head("vocabulary", 1)?;
    model.train(Method::Full, HeadMode::Train);
    let full = model.parameters();
    let count = |role| {
        full.iter()
            .filter(|parameter| parameter.role == role)
            .count()
    };
    let roles = [
        Role::Embedding,
        Role::Norm,
        Role::Base,
        Role::Bias,
        Role::Head,
    ];
    // The decoder's weight is the table of words and counts once.
    assert_eq!(roles.map(count), [3, 10, 12, 12, 5]);
    assert_eq!(
        full.last().map(|parameter| parameter.name.as_str()),
        Some("cls.predictions.bias")
    );
    assert_eq!(model.describe().trainable, model.describe().total);

    let mut model = open(FAMILIES[0])?;
    model.build_head("pooled", 4)?;
    wrap(&mut model, false, 0.0)?;
    model.train(Method::Lora, HeadMode::Lora);
    let lora = model.parameters();
    assert_eq!(lora.len(), 24);
    for pair in lora.chunks(2) {
        assert_eq!((pair[0].role, pair[1].role), (Role::A, Role::B));
        assert!(pair[0].pair.is_some() && pair[0].pair == pair[1].pair);
        assert!((pair[0].scale - 0.5).abs() < f64::EPSILON);
    }
    let text = model.describe().to_string();
    assert!(
        text.starts_with("wrapped 12 of 14 linear layers; trainable "),
        "{text}"
    );
    Ok(())
}

#[test]
fn factors_that_do_not_fit_are_refused() -> Outcome {
    let mut model = open(FAMILIES[0])?;
    let ones = |shape: [i64; 2]| Tensor::ones(shape, (Kind::Float, Device::Cpu));
    let mut attach = |a, b, scale| {
        model
            .attach(0, Factors::new(a, b, scale))
            .unwrap_err()
            .to_string()
    };
    let layer = "bert.encoder.layer.0.attention.self.query";
    let error = attach(ones([2, 47]), ones([48, 2]), 1.0);
    assert_eq!(
        error,
        format!("factor A of layer `{layer}` has shape [2, 47], expected [2, 48]")
    );
    let error = attach(ones([2, 48]), ones([48, 3]), 1.0);
    assert_eq!(
        error,
        format!("factor B of layer `{layer}` has shape [48, 3], expected [48, 2]")
    );
    let error = attach(ones([2, 48]) * f64::NAN, ones([48, 2]), 1.0);
    assert_eq!(
        error,
        format!("factor A of layer `{layer}` holds a value that is not finite")
    );
    assert!(
        attach(ones([2, 48]), ones([48, 2]), f64::INFINITY).contains("expected a finite number")
    );
    assert!(attach(ones([0, 48]), ones([48, 0]), 1.0).contains("expected [1, 48]"));
    Ok(())
}

#[test]
fn dropout_repeats_and_does_not_ask_the_global_generator() -> Outcome {
    for family in FAMILIES {
        let run = |forward| -> Result<(Tensor, Tensor), Box<dyn Error>> {
            let model = open(family)?;
            model.train(Method::Full, HeadMode::Train);
            let hidden = model.forward(&batch(&model)?, &Pass::training(5, forward))?;
            hidden.square().sum(Kind::Float).backward();
            let gradient = model.parameters()[0].tensor.grad();
            Ok((hidden.detach(), gradient))
        };
        let (first, gradient) = run(0)?;
        let _ = Tensor::rand([100], (Kind::Float, Device::Cpu));
        let (again, same_gradient) = run(0)?;
        assert!(first.equal(&again) && gradient.equal(&same_gradient));
        assert!(!first.equal(&run(1)?.0));
        // With every probability at 0, a training pass is an evaluation.
        let still = Options {
            dropout: Some(0.0),
            ..options(Weights::Pretrained)
        };
        let model = Model::open(path(family).to_str().ok_or("path")?, still)?;
        let trained = model.forward(&batch(&model)?, &Pass::training(5, 0))?;
        assert!(trained.equal(&model.forward(&batch(&model)?, &Pass::evaluation())?));
    }
    Ok(())
}

#[test]
fn attention_with_dropout_is_the_same_attention() -> Outcome {
    for family in FAMILIES {
        // So small that nothing is dropped, yet the way with dropout is taken.
        let tiny = Options {
            dropout: Some(1e-9),
            ..options(Weights::Pretrained)
        };
        let model = Model::open(path(family).to_str().ok_or("path")?, tiny)?;
        let by_hand = model.forward(&batch(&model)?, &Pass::training(5, 0))?;
        close(&by_hand, &logits(&model)?, 1e-5);
    }
    Ok(())
}

#[test]
fn packing_does_not_change_a_sequence() -> Outcome {
    // 40 = 10 heads of 4: rows of 160 bytes, so that sequences start off 64 bytes.
    let copy = Copy::of("tiny-bert-reference")?;
    copy.with_config("hidden_size", json!(40))?;
    let model = Model::open(copy.path(), options(Weights::Random))?;
    let together = logits(&model)?;
    let alone = model.pack(&Tensor::from_slice(&[8_i64, 9, 10]), &[0, 3])?;
    let alone = model.forward(&alone, &Pass::evaluation())?;
    close(&together.narrow(0, 4, 3), &alone, 1e-5);
    model.train(Method::Full, HeadMode::Train);
    model
        .forward(&batch(&model)?, &Pass::evaluation())?
        .square()
        .sum(Kind::Float)
        .backward();
    let learnt = model
        .parameters()
        .iter()
        .all(|parameter| parameter.tensor.grad().defined());
    assert!(learnt);
    Ok(())
}

#[test]
fn first_tokens_alone_are_what_they_are_among_all() -> Outcome {
    // With the same masks where anything is dropped: those of the model and those of LoRA.
    for (dropout, pass) in [
        (0.0, Pass::evaluation()),
        (0.0, Pass::training(5, 1)),
        (0.3, Pass::training(5, 1)),
    ] {
        for family in FAMILIES {
            let mut model = open(family)?;
            wrap(&mut model, false, dropout)?;
            model.train(Method::Full, HeadMode::Train);
            let batch = batch(&model)?;
            let among_all = batch.of_first(&model.forward(&batch, &pass)?)?;
            let alone = model.forward_first(&batch, &pass)?;
            close(&alone, &among_all, 1e-5);
            let parameters = model.parameters();
            let learning: Vec<&Tensor> = parameters.iter().map(|one| &one.tensor).collect();
            let gradients = |hidden: &Tensor| {
                let loss = hidden.square().sum(Kind::Float);
                Tensor::run_backward(&[loss], &learning, true, false)
            };
            for (found, expected) in gradients(&alone).iter().zip(&gradients(&among_all)) {
                close(found, expected, 1e-4);
            }
        }
    }
    Ok(())
}

#[test]
fn a_batch_that_does_not_fit_is_refused() -> Outcome {
    let model = open(FAMILIES[0])?;
    let pack = |ids: &[i64]| model.pack(&Tensor::from_slice(ids), &[0, ids.len() as i64]);
    let error = pack(&[200]).unwrap_err().to_string();
    assert_eq!(error, "token 200 is not one of the model's 200");
    let error = pack(&[1; 41]).unwrap_err().to_string();
    assert_eq!(
        error,
        "batch: row 0 has 41 tokens, and the model has 40 positions"
    );
    Ok(())
}

/// Rank 2 on every linear layer of the encoder, A and B different from 0, s = 0.5.
fn wrap(model: &mut Model, compensate: bool, dropout: f64) -> Outcome {
    for layer in model.targets(&Targets::parse("all")?, HeadMode::Train)? {
        let ramp = |shape: [i64; 2]| {
            let count = shape[0] * shape[1];
            (Tensor::arange(count, (Kind::Float, Device::Cpu)).sin() * 0.2).reshape(shape)
        };
        let factors = Factors::new(ramp([2, layer.fan_in]), ramp([layer.fan_out, 2]), 0.5);
        model.attach(
            layer.index,
            Factors {
                compensate,
                dropout,
                ..factors
            },
        )?;
    }
    Ok(())
}

/// A model folder that a test may spoil.
struct Copy(tempfile::TempDir);

impl Copy {
    fn of(family: &str) -> Result<Self, Box<dyn Error>> {
        let copy = tempfile::tempdir()?;
        for name in ["config.json", "model.safetensors"] {
            fs::copy(path(family).join(name), copy.path().join(name))?;
        }
        Ok(Self(copy))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn path(&self) -> &str {
        self.0.path().to_str().unwrap_or_default()
    }

    /// The reference's configuration with one other setting.
    fn with_config(&self, key: &str, value: Value) -> Outcome {
        let mut config: Value =
            serde_json::from_slice(&fs::read(path("tiny-bert-reference").join("config.json"))?)?;
        config[key] = value;
        Ok(fs::write(self.file("config.json"), config.to_string())?)
    }

    fn refused(&self, parts: &[&str]) {
        refused(self.path(), parts);
    }
}

/// Opening `path` must fail with all of `parts` in one line.
fn refused(path: &str, parts: &[&str]) {
    match Model::open(path, options(Weights::Pretrained)) {
        Ok(_) => panic!("{path} was opened; expected an error with {parts:?}"),
        Err(error) => {
            let text = error.to_string();
            assert!(!text.contains('\n'), "{text}");
            for part in parts {
                assert!(text.contains(part), "{text}\nlacks {part}");
            }
        }
    }
}

fn open(family: &str) -> Result<Model, Box<dyn Error>> {
    Ok(Model::open(
        path(family).to_str().ok_or("path")?,
        options(Weights::Pretrained),
    )?)
}

fn path(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(family)
}

fn batch(model: &Model) -> Result<PackedBatch, ModelError> {
    let ids = Tensor::from_slice(&[4_i64, 5, 6, 7, 8, 9, 10, 11]);
    model.pack(&ids, &[0, 4, 7, 8])
}

fn logits(model: &Model) -> Result<Tensor, ModelError> {
    tch::no_grad(|| model.forward(&batch(model)?, &Pass::evaluation()))
}

fn close(found: &Tensor, expected: &Tensor, tolerance: f64) {
    let difference = (found - expected).abs().max().double_value(&[]);
    assert!(difference <= tolerance, "differs by {difference}");
}
