//! Everything that a run needs, built from its job: data, model, plugins, factors.

use std::collections::HashMap;
use std::rc::Rc;

use lorahost_plugin_api::protocol::{AlphaReply, Factor, Layer, ParameterInfo, Role, Task};
use tch::Device;

use super::TrainError;
use super::trainer::Watch;
use crate::adapter::{Factors, LayerInfo, Targets};
use crate::data::TokenSplits;
use crate::model::{Model, ModelError, Options};
use crate::plugins::{
    AlphaPolicy, Component, InitScheme, LayerFactors, Library, Optimizer, OptimizerGroup,
    PluginError, TaskHead,
};
use crate::spec::{HeadMode, LoraSpec, Method, RunSpec, Selection};
use crate::sweep::RunJob;

/// A run before its first step.
pub struct Setup {
    pub tokens: TokenSplits,
    /// Shared with the passes that lend its head to the task head.
    pub model: Rc<Model>,
    pub head: TaskHead,
    pub optimizer: Optimizer,
    pub device: Device,
}

/// Opens and connects the parts of a run.
pub fn setup(job: &RunJob, device: Device, watch: &mut Watch<'_>) -> Result<Setup, TrainError> {
    let spec = &job.spec;
    let tokens = TokenSplits::map(&job.tokens)?;
    if tokens.train.rows() == 0 {
        return Err(TrainError::NoRows { split: "train" });
    }
    let options = Options {
        weights: spec.model.weights,
        dropout: spec.model.dropout,
        device,
        seeds: spec.seeds,
    };
    let mut model = Model::open(&job.model, options)?;
    if i64::try_from(tokens.vocab_size).map_or(true, |size| size > model.vocabulary()) {
        return Err(TrainError::Vocabulary {
            tokens: tokens.vocab_size,
            embedding: model.vocabulary(),
        });
    }
    let head = task_head(spec, &tokens, &mut model, watch)?;
    let multipliers = match &spec.lora {
        Some(lora) => attach_factors(spec, lora, &mut model, watch)?,
        None => Multipliers::new(),
    };
    let head_mode = spec
        .lora
        .as_ref()
        .map_or(HeadMode::Train, |lora| lora.head_mode);
    model.train(spec.method, head_mode);
    let group = group(&model, spec, &multipliers);
    if group.values.is_empty() {
        return Err(TrainError::NothingToTrain);
    }
    let component = component("optimizer", &spec.optimizer)?;
    let call = watch.call("optimizer", &spec.optimizer, "prepare", None);
    let optimizer = call.of(|| Optimizer::new(component, group, spec.seeds.init))?;
    Ok(Setup {
        tokens,
        model: Rc::new(model),
        head,
        optimizer,
        device,
    })
}

fn component(kind: &str, selection: &Selection) -> Result<Component, PluginError> {
    Component::create(
        Library::of(selection)?,
        kind,
        &selection.name,
        &selection.parameters,
    )
}

/// Creates the task head and gives the model the head that it asks for.
fn task_head(
    spec: &RunSpec,
    tokens: &TokenSplits,
    model: &mut Model,
    watch: &mut Watch<'_>,
) -> Result<TaskHead, TrainError> {
    let component = component("head", &spec.head)?;
    let head = TaskHead::new(component, spec.seeds.head, model.device());
    let task = Task {
        labels: tokens.label_names.clone(),
        vocab_size: tokens.vocab_size,
        mask_token: tokens.special.mask.map(i64::from),
        special_tokens: tokens.special.all.iter().map(|&id| i64::from(id)).collect(),
    };
    let plan = watch
        .call("head", &spec.head, "plan", None)
        .of(|| head.plan(&task))?;
    let outputs = plan.outputs.unwrap_or(tokens.vocab_size);
    let built = model
        .build_head(&plan.layout, i64::try_from(outputs).unwrap_or(i64::MAX))
        .map_err(|error| match error {
            ModelError::UnknownLayout { .. } | ModelError::NoOutputs { .. } => {
                TrainError::from(head.fault("plan", error.to_string()))
            }
            other => other.into(),
        })?;
    let layers = built.description().message();
    watch
        .call("head", &spec.head, "layers", None)
        .of(|| head.layers(&layers))?;
    Ok(head)
}

/// Factors on the learning rates of A and B, by the number of their pair.
type Multipliers = HashMap<usize, (f64, f64)>;

/// Asks the alpha policy and the init scheme for each chosen layer, and puts the factors on it.
fn attach_factors(
    spec: &RunSpec,
    lora: &LoraSpec,
    model: &mut Model,
    watch: &mut Watch<'_>,
) -> Result<Multipliers, TrainError> {
    let (Some(alpha), Some(init)) = (&spec.alpha, &spec.init) else {
        return Ok(Multipliers::new());
    };
    let policy = AlphaPolicy::new(component("alpha", alpha)?);
    let scheme = InitScheme::new(component("init", init)?, spec.seeds.init);
    let targets = Targets::parse(&lora.targets).map_err(ModelError::from)?;
    let chosen = model.targets(&targets, lora.head_mode)?;
    let mut multipliers = Multipliers::new();
    for (place, info) in chosen.iter().enumerate() {
        let mut layer = layer(info, place, lora.rank);
        let AlphaReply { scale, lr_a, lr_b } = watch
            .call("alpha", alpha, "scale", Some(&info.name))
            .of(|| policy.scale(&layer))?;
        layer.scale = scale;
        let weight = model.linears()[info.index].weight().shallow_clone();
        let factors = watch
            .call("init", init, "init", Some(&info.name))
            .of(|| scheme.init(&layer, &weight))?;
        model.attach(info.index, scaled(factors, scale, lora)?)?;
        multipliers.insert(info.index, (lr_a, lr_b));
    }
    Ok(multipliers)
}

fn layer(info: &LayerInfo, index: usize, rank: usize) -> Layer {
    Layer {
        name: info.name.clone(),
        index,
        fan_in: info.fan_in as usize,
        fan_out: info.fan_out as usize,
        rank,
        scale: 1.0,
        role: info.kind.name().to_owned(),
    }
}

fn scaled(factors: LayerFactors, scale: f64, lora: &LoraSpec) -> Result<Factors, tch::TchError> {
    let LayerFactors {
        a,
        b,
        compensate,
        frozen,
    } = factors;
    Ok(Factors {
        a: a.f_mul_scalar(lora.init_scale_a)?,
        b,
        scale,
        dropout: lora.dropout,
        compensate,
        train_a: frozen != Some(Factor::A),
        train_b: frozen != Some(Factor::B),
    })
}

/// The parameters that learn, as the optimizer gets them.
fn group(model: &Model, spec: &RunSpec, multipliers: &Multipliers) -> OptimizerGroup {
    let (mut infos, mut values) = (Vec::new(), Vec::new());
    for parameter in model.parameters() {
        let of_pair = parameter.pair.and_then(|pair| multipliers.get(&pair));
        let (of_a, of_b) = of_pair.copied().unwrap_or((1.0, 1.0));
        let lr = match (spec.method, parameter.role) {
            (Method::Lora, Role::A) => spec.train.lr_a * of_a,
            (Method::Lora, Role::B) => spec.train.lr_b * of_b,
            _ => 1.0,
        };
        infos.push(ParameterInfo {
            name: parameter.name,
            role: parameter.role,
            pair: parameter.pair,
            scale: parameter.scale,
            lr,
            decay: parameter.decay,
        });
        values.push(parameter.tensor);
    }
    OptimizerGroup { infos, values }
}
