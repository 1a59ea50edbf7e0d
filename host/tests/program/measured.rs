//! What the host measures for init schemes, computed a second time in another way. Schemes keep what they make of it.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use lorahost::data::{TokenSplits, batch, order};
use lorahost::model::{Model, Options, Pass};
use lorahost::spec::{Seeds, Weights};
use tch::{Device, Kind, Tensor};

use crate::sandbox::{Sandbox, tensors};

type Outcome = Result<(), Box<dyn Error>>;

/// Layers of the sandbox's model that get LoRA.
const LAYERS: usize = 12;

fn within(folder: PathBuf) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// What the only scheme of the output folder `out` kept: its tensors `[0, 1, ..]`, layer by layer.
fn kept(sandbox: &Sandbox) -> Vec<Vec<Tensor>> {
    let folders = within(sandbox.path("out/cache"))
        .into_iter()
        .filter(|path| path.is_dir());
    let files = folders.flat_map(within);
    files
        .map(|file| tensors(&file).into_values().collect())
        .collect()
}

fn unit(matrix: &Tensor) -> Tensor {
    matrix / matrix.norm()
}

#[test]
fn the_gradient_is_the_step_of_full_fine_tuning() {
    let sandbox = Sandbox::new();
    let same = "--max-steps 1 --dropout 0";
    let scheme = "--plugin PLUGIN/lora_one_init --init lora-one:batches=2";
    sandbox.train_one(&format!("{scheme} {same}"));
    let kept = kept(&sandbox);
    assert_eq!(kept.len(), LAYERS);

    let flags = "--full-finetune --optimizer sgd --lrs 1 --set train.accumulate=2 --save full --output full";
    let run = sandbox.train_one(&format!("{flags} {same}"));
    let after = tensors(&run.folder.join("model/model.safetensors"));
    let before = tensors(&sandbox.path("model/model.safetensors"));
    let steps: Vec<(&String, Tensor)> = before
        .iter()
        .filter_map(|(name, before)| Some((name, after.get(name)? - before)))
        .collect();

    // -G over its largest singular value, whose direction is that of the step.
    let mut layers: Vec<&String> = kept
        .iter()
        .map(|parts| {
            let down = unit(&(&parts[0] * &parts[1]).matmul(&parts[2]));
            let same_shape = steps.iter().filter(|(_, step)| step.size() == down.size());
            let (cosine, name) = same_shape
                .map(|(name, step)| {
                    (
                        (unit(step) * &down).sum(Kind::Double).double_value(&[]),
                        name,
                    )
                })
                .max_by(|(a, _), (b, _)| a.total_cmp(b))
                .unwrap();
            assert!((cosine - 1.0).abs() < 1e-5, "{name}: {cosine}");
            *name
        })
        .collect();
    layers.sort();
    layers.dedup();
    assert_eq!(
        layers.len(),
        LAYERS,
        "each layer has a gradient of its own: {layers:?}"
    );
}

#[test]
fn the_covariance_is_that_of_the_inputs() -> Outcome {
    let sandbox = Sandbox::new();
    sandbox
        .train_one("--plugin PLUGIN/eva_init --init eva:batches=2 --head-mode lora --max-steps 1");
    let found = kept(&sandbox).into_iter().map(|parts| {
        let [values, vectors] = &parts[..] else {
            panic!("eigenvalues and eigenvectors")
        };
        (vectors.transpose(0, 1) * values).matmul(vectors)
    });

    // The pooler sees the first hidden state of each row.
    let tokens = within(sandbox.path("out/cache"))
        .into_iter()
        .find(|path| path.is_file());
    let tokens = TokenSplits::map(&tokens.ok_or("no token file")?)?;
    let seeds = Seeds {
        init: 42,
        data: 42,
        dropout: 42,
        head: 42,
    };
    let options = Options {
        weights: Weights::Pretrained,
        dropout: None,
        device: Device::Cpu,
        seeds,
    };
    let model = Model::open(sandbox.path("model").to_str().ok_or("path")?, options)?;
    let rows = 16;
    let plain = batch(
        &tokens.train,
        &order(tokens.train.rows(), seeds.data, 1)[..rows],
    );
    let packed = model.pack(&Tensor::from_slice(&plain.ids), &plain.offsets)?;
    let hidden = model.forward(&packed, &Pass::evaluation())?.detach();
    let first = hidden.index_select(0, &Tensor::from_slice(&plain.offsets[..rows]));
    let expected = first.transpose(0, 1).matmul(&first) / rows as f64;

    let size = expected.abs().max().double_value(&[]);
    let off = found
        .filter(|found| found.size() == expected.size())
        .map(|found| (found - &expected).abs().max().double_value(&[]))
        .fold(f64::INFINITY, f64::min);
    assert!(
        off < 1e-5 * size,
        "the nearest of all layers is off by {off} of {size}"
    );
    Ok(())
}
