//! What a training step is made of, one by one: the layer, the loss, the optimizer, the packing.
//!
//!     scripts/build-plugins && cargo bench -p lorahost
//!
//! Where a plugin does the work, `host` beside it is the same work called directly: the difference is the boundary.
//!
//! One thread, sizes of all-MiniLM-L6-v2 on AG News: 32 rows of 53 tokens, width 384.

use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use lorahost::adapter::{Factors, Linear, ModuleKind};
use lorahost::data;
use lorahost::dropout;
use lorahost::model::{Model, Options};
use lorahost::native::dispatch::{Argument, Value as CallValue, call, resolve};
use lorahost::plugins::{
    Component, HeadAccess, HeadBatch, Library, Optimizer, OptimizerGroup, Pass, PluginFile,
    TaskHead,
};
use lorahost::spec::{Seeds, Weights};
use lorahost_plugin_api::protocol::{HeadLayers, ParameterInfo, Pooled, Role, Task};
use lorahost_plugin_api::sdk;
use mimalloc::MiMalloc;
use serde_json::{Value, json};
use tch::{Device, Kind, Reduction, Tensor};

/// That of the program.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const ROWS: i64 = 32;
const LENGTH: i64 = 53;
const WIDTH: i64 = 384;
const INNER: i64 = 1536;
const CLASSES: i64 = 4;

/// Numbers in -1 to 1 of that shape.
fn numbers(shape: &[i64]) -> Tensor {
    let count = Tensor::arange(shape.iter().product::<i64>(), (Kind::Double, Device::Cpu));
    (count * 0.7).sin().to_kind(Kind::Float).reshape(shape)
}

fn offsets() -> Vec<i64> {
    (0..=ROWS).map(|row| row * LENGTH).collect()
}

/// Forward and backward of the two shapes of layer, by rank; 0 is the whole layer trained.
fn layer(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("layer");
    for [fan_out, fan_in] in [[WIDTH, WIDTH], [INNER, WIDTH]] {
        for rank in [0, 1, 16, 128] {
            let weight = numbers(&[fan_out, fan_in]).set_requires_grad(rank == 0);
            let mut linear = Linear::new("layer", ModuleKind::Mlp, weight, None);
            if rank > 0 {
                let (a, b) = (numbers(&[rank, fan_in]), numbers(&[fan_out, rank]));
                linear
                    .attach(Factors::new(a, b, 2.0))
                    .expect("factors that fit");
            }
            let x = numbers(&[ROWS * LENGTH, fan_in]).set_requires_grad(true);
            let direction = numbers(&[ROWS * LENGTH, fan_out]);
            let pass = dropout::Pass::training(1, 1);
            group.bench_function(format!("{fan_out}x{fan_in}, r={rank}"), |bencher| {
                bencher.iter(|| {
                    let y = linear.forward(&x, &pass).expect("a product");
                    (y * &direction).sum(Kind::Float).backward();
                });
            });
        }
    }
}

/// The head of a BERT, pooler left out: one linear layer.
struct Classifier(Linear);

impl HeadAccess for Classifier {
    fn layer(&self, _name: &str, x: &Tensor) -> sdk::Result<Tensor> {
        let y = self.0.forward(x, &dropout::Pass::evaluation());
        y.map_err(|error| sdk::Error::new(error.to_string()))
    }

    fn dropout(&self, x: &Tensor, _p: f64) -> sdk::Result<Tensor> {
        Ok(x.shallow_clone())
    }

    fn parameters(&self, _name: &str) -> sdk::Result<Vec<Tensor>> {
        Ok(Vec::new())
    }
}

/// Pooling, classifier and cross-entropy, forward and backward.
fn loss(criterion: &mut Criterion) {
    let name = "sequence-classification";
    let component = component("sequence_classification_head", "head", name, &json!({}));
    let head = TaskHead::new(component.expect("the plugin"), 1, Device::Cpu);
    let task = Task {
        labels: (0..CLASSES).map(|class| class.to_string()).collect(),
        ..Task::default()
    };
    head.plan(&task).expect("a plan");
    let layers = HeadLayers {
        layers: vec![],
        pooled: Some(Pooled::First),
    };
    head.layers(&layers).expect("no layers");
    let hidden = numbers(&[ROWS * LENGTH, CLASSES]).set_requires_grad(true);
    let weight = numbers(&[CLASSES, CLASSES]);
    let classifier = Rc::new(Classifier(Linear::new(
        "classifier",
        ModuleKind::Head,
        weight,
        None,
    )));
    let batch = HeadBatch {
        tokens: Tensor::zeros([ROWS * LENGTH], (Kind::Int64, Device::Cpu)),
        offsets: Tensor::from_slice(&offsets()),
        labels: Some(Tensor::arange(ROWS, (Kind::Int64, Device::Cpu)).remainder(CLASSES)),
        bytes: None,
    };
    let mut group = criterion.benchmark_group("loss");
    group.bench_function("plugin", |bencher| {
        bencher.iter(|| {
            let access = Rc::clone(&classifier);
            let loss = head.forward(&hidden, &batch, access, Pass::Training(1));
            loss.expect("a loss").sum.backward();
        });
    });
    let labels = batch.labels.as_ref().expect("classes");
    group.bench_function("host", |bencher| {
        bencher.iter(|| {
            let pooled = hidden.index_select(0, &batch.offsets.slice(0, None, -1, 1));
            let logits = classifier.layer("classifier", &pooled).expect("logits");
            let none = None::<&Tensor>;
            let sum = logits.cross_entropy_loss(labels, none, Reduction::Sum, -100, 0.0);
            let _ = black_box(logits.detach());
            sum.backward();
        });
    });
}

/// Medians of the times of two functions that take turns, so that what disturbs the machine disturbs both.
fn medians(turns: usize, mut one: impl FnMut(), mut other: impl FnMut()) -> [Duration; 2] {
    let time = |call: &mut dyn FnMut()| {
        let start = Instant::now();
        call();
        start.elapsed()
    };
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..turns {
        times[0].push(time(&mut one));
        times[1].push(time(&mut other));
    }
    times.map(|mut times| {
        times.sort_unstable();
        times[turns / 2]
    })
}

/// One step of AdamW over the factors of 36 layers, the same tensors for both.
#[expect(clippy::print_stdout, reason = "a figure that Criterion does not make")]
fn optimizer(criterion: &mut Criterion) {
    let parameters = json!({"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.001});
    let component = component("adamw_optimizer", "optimizer", "adamw", &parameters);
    let mut group = OptimizerGroup {
        infos: vec![],
        values: vec![],
    };
    for pair in 0..36 {
        for (role, shape) in [(Role::A, [16, WIDTH]), (Role::B, [WIDTH, 16])] {
            let value = numbers(&shape).set_requires_grad(true);
            value.square().sum(Kind::Float).backward();
            group.values.push(value);
            group.infos.push(ParameterInfo {
                name: format!("{pair}.{role:?}"),
                role,
                pair: Some(pair),
                scale: 2.0,
                lr: 1.0,
                decay: true,
            });
        }
    }
    let values: Vec<Tensor> = group.values.iter().map(Tensor::shallow_clone).collect();
    let optimizer = Optimizer::new(component.expect("the plugin"), group, 1).expect("an optimizer");
    let mut step = 0;
    let mut plugin = || {
        step += 1;
        optimizer.step(step, 1e-4).expect("a step");
    };
    // The same moments: where they lie in memory moves the operator's time as well.
    let state = optimizer.state().expect("a state");
    let part = |name: &str| -> Vec<Tensor> {
        let of_part = state.iter().filter(|(full, _)| full.ends_with(name));
        of_part.map(|(_, tensor)| tensor.shallow_clone()).collect()
    };
    let [means, squares] = [".mean", ".square"].map(part);
    let full = resolve("aten::full", "").expect("the operator");
    let fused = resolve("aten::_fused_adamw_", "").expect("the operator");
    let mut age = 0.0;
    let mut host = || {
        let grads: Vec<Tensor> = values.iter().map(Tensor::grad).collect();
        let _unrecorded = tch::no_grad_guard();
        age += 1.0;
        let scalar = [Argument::Ints(&[]), Argument::Float(age)];
        let steps = call(full, &scalar, &[]).expect("a count");
        let [CallValue::Tensor(steps)] = steps.as_slice() else {
            panic!("a tensor");
        };
        let lists = [&values, &grads, &means, &squares, &vec![]];
        let lists = lists.map(|tensors| Argument::Tensors(tensors.iter().collect()));
        let steps = Argument::Tensors(vec![steps; values.len()]);
        let lists: Vec<_> = lists.into_iter().chain([steps]).collect();
        let settings = [
            ("lr", 1e-4),
            ("beta1", 0.9),
            ("beta2", 0.999),
            ("weight_decay", 0.001),
            ("eps", 1e-8),
        ];
        let settings = settings.map(|(name, value)| (name, Argument::Float(value)));
        let flags = ["amsgrad", "maximize"].map(|name| (name, Argument::Bool(false)));
        let named: Vec<_> = settings.into_iter().chain(flags).collect();
        call(fused, &lists, &named).expect("a step");
    };
    let mut group = criterion.benchmark_group("optimizer");
    group.bench_function("plugin", |bencher| bencher.iter(&mut plugin));
    group.bench_function("host", |bencher| bencher.iter(&mut host));
    let [plugin, host] = medians(10_000, plugin, host);
    let ratio = plugin.as_secs_f64() / host.as_secs_f64();
    println!("optimizer, taking turns: plugin {plugin:?}, host {host:?}, {ratio:.3} times");
}

/// Rows in an epoch's order, and token ids checked and packed for a model.
fn packing(criterion: &mut Criterion) {
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
    let model = Model::open("builtin:tiny-bert", options).expect("the built-in model");
    let ids = Tensor::ones([ROWS * LENGTH], (Kind::Int64, Device::Cpu));
    let offsets = offsets();
    criterion.bench_function("packing", |bencher| {
        bencher.iter(|| black_box(model.pack(&ids, &offsets).expect("a batch")));
    });
    criterion.bench_function("order of 10,000 rows", |bencher| {
        bencher.iter(|| black_box(data::order(10_000, 42, 1)));
    });
}

/// A component of plugins/NAME.so.
fn component(
    file: &str,
    kind: &str,
    name: &str,
    parameters: &Value,
) -> Result<Component, Box<dyn Error>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../plugins/{file}.so"));
    let library = Library::open(PluginFile::read(&path)?)?;
    let parameters = parameters.as_object().cloned().unwrap_or_default();
    Ok(Component::create(library, kind, name, &parameters)?)
}

fn one_thread() -> Criterion {
    tch::set_num_threads(1);
    Criterion::default().sample_size(20)
}

criterion_group! {
    name = step;
    config = one_thread();
    targets = layer, loss, optimizer, packing
}
criterion_main!(step);
