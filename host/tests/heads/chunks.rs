//! causal-lm in chunks against plain autograd, on a BERT whose output projection is its embedding.

use std::path::Path;
use std::rc::Rc;

use lorahost::adapter::{Factors, Targets};
use lorahost::dropout;
use lorahost::model::{Model, Options, PackedBatch, activation};
use lorahost::plugins::{HeadAccess, HeadBatch};
use lorahost::spec::{HeadMode, Method, Seeds, Weights};
use lorahost_plugin_api::sdk::{Error, Result as Lending};
use tch::{Device, Kind, Tensor};

use crate::lent::{Outcome, batch, chunk, forward, head, task, values};

const LENGTHS: [i64; 4] = [9, 1, 14, 6];

/// A model's own head, without dropout.
struct Own(Rc<Model>);

impl HeadAccess for Own {
    fn layer(&self, name: &str, x: &Tensor) -> Lending<Tensor> {
        let head = self.0.head().map_err(refused)?;
        head.linear(name, x, &dropout::Pass::evaluation())
            .map_err(refused)
    }

    fn dropout(&self, x: &Tensor, _p: f64) -> Lending<Tensor> {
        Ok(x.shallow_clone())
    }

    fn parameters(&self, name: &str) -> Lending<Vec<Tensor>> {
        let head = self.0.head().map_err(refused)?;
        head.trainable(name).map_err(refused)
    }
}

fn refused(error: impl std::fmt::Display) -> Error {
    Error::new(error.to_string())
}

#[test]
fn full_fine_tuning_with_a_tied_embedding() -> Outcome {
    compare(Method::Full, HeadMode::Train)
}

#[test]
fn lora_with_a_head_that_learns() -> Outcome {
    compare(Method::Lora, HeadMode::Train)
}

#[test]
fn lora_with_lora_on_the_head() -> Outcome {
    compare(Method::Lora, HeadMode::Lora)
}

/// Compares loss and gradients of chunks of several sizes with those of one plain pass.
fn compare(method: Method, head_mode: HeadMode) -> Outcome {
    let model = open(method, head_mode)?;
    let vocabulary = model.vocabulary();
    let batch = batch(&LENGTHS, None, vocabulary);
    let packed = model.pack(&batch.tokens, &Vec::<i64>::try_from(&batch.offsets)?)?;
    let parameters = model.parameters();
    let tied = "bert.embeddings.word_embeddings.weight";
    let learns = parameters.iter().any(|parameter| parameter.name == tied);
    assert_eq!(learns, method == Method::Full);
    let gradients = |loss: &Tensor| -> Result<Vec<(Tensor, f64)>, tch::TchError> {
        for parameter in &parameters {
            let mut tensor = parameter.tensor.shallow_clone();
            tensor.zero_grad();
        }
        loss.f_backward()?;
        let taken = parameters.iter().map(|parameter| {
            let gradient = parameter.tensor.grad().copy();
            let size = gradient.norm().double_value(&[]);
            (gradient, size)
        });
        Ok(taken.collect())
    };

    let plain = plain(&model, &packed, &batch)?;
    let expected = gradients(&plain)?;
    // Some are 0 on paper, such as that of a key's bias, which softmax does not see, and rounding else.
    let rounding = 1e-8 * expected.iter().map(|(_, norm)| norm).sum::<f64>();
    let access: Rc<dyn HeadAccess> = Rc::new(Own(Rc::clone(&model)));
    let layers = model.head()?.description().message();
    for size in [0, 1, 8, 25] {
        let head = head(
            "causal_lm_head",
            "causal-lm",
            &chunk(size),
            &task(&[], vocabulary as usize),
        )?;
        head.layers(&layers)?;
        let hidden = model.forward(&packed, &dropout::Pass::evaluation())?;
        let loss = forward(&head, &hidden, &batch, &access)?;
        assert_eq!(loss.count, 8 + 13 + 5);
        let mean = loss.sum / loss.count as f64;
        let difference = (&mean - &plain).abs().double_value(&[]);
        assert!(
            difference <= 1e-5 * plain.double_value(&[]),
            "loss in chunks of {size}"
        );
        for ((found, _), ((expected, norm), parameter)) in gradients(&mean)?
            .iter()
            .zip(expected.iter().zip(&parameters))
        {
            let difference = (found - expected).norm().double_value(&[]);
            assert!(
                difference <= 1e-5 * norm + rounding,
                "chunks of {size}, {}: {difference} of {norm}",
                parameter.name
            );
        }
        // In an evaluation, too.
        let alone = tch::no_grad(|| {
            let pass = lorahost::plugins::Pass::Evaluation(0);
            head.forward(&hidden, &batch, Rc::clone(&access), pass)
        })?;
        let difference = (alone.sum / alone.count as f64 - &plain).abs();
        assert!(difference.double_value(&[]) <= 1e-5 * plain.double_value(&[]));
    }
    Ok(())
}

/// The mean loss with all logits at once.
fn plain(
    model: &Model,
    packed: &PackedBatch,
    batch: &HeadBatch,
) -> Result<Tensor, Box<dyn std::error::Error>> {
    let pass = dropout::Pass::evaluation();
    let (mut sources, mut start) = (Vec::new(), 0);
    for length in LENGTHS {
        sources.extend(start..start + length - 1);
        start += length;
    }
    let sources = Tensor::from_slice(&sources);
    let head = model.head()?;
    let mut x = model.forward(packed, &pass)?.index_select(0, &sources);
    for layer in &head.description().layers {
        x = head.linear(&layer.name, &x, &pass)?;
        if let Some(function) = layer.activation {
            x = activation::apply(function, &x)?;
        }
    }
    let labels = batch.tokens.index_select(0, &(sources + 1));
    Ok(x.cross_entropy_for_logits(&labels))
}

fn open(method: Method, head_mode: HeadMode) -> Result<Rc<Model>, Box<dyn std::error::Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tiny-bert-reference");
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
    let mut model = Model::open(folder.to_str().ok_or("path")?, options)?;
    model.build_head("vocabulary", 1)?;
    if method == Method::Lora {
        let layers = model.targets(&Targets::parse("all")?, head_mode)?;
        let in_head = layers.iter().any(|layer| layer.name.starts_with("cls."));
        assert_eq!(in_head, head_mode == HeadMode::Lora);
        for layer in layers {
            let a = values(&[3, layer.fan_in], 1, Kind::Float) * 0.1;
            let b = values(&[layer.fan_out, 3], 2, Kind::Float) * 0.1;
            model.attach(layer.index, Factors::new(a, b, 2.0))?;
        }
    }
    model.train(method, head_mode);
    Ok(Rc::new(model))
}
