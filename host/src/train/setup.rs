//! Everything that a run needs, built from its job: data, model, plugins, factors.

use std::rc::Rc;

use lorahost_plugin_api::protocol::{ParameterInfo, Role, Task};
use tch::Device;

use super::diagnostics::Meter;
use super::factors::{self, Multipliers, Start};
use super::trainer::Watch;
use super::{TrainError, checkpoint};
use crate::data::TokenSplits;
use crate::model::{Model, ModelError, Options};
use crate::plugins::{Component, Library, Optimizer, OptimizerGroup, PluginError, TaskHead};
use crate::spec::{HeadMode, Method, Precision, RunSpec, Selection};
use crate::sweep::RunJob;

/// A run before its first step.
pub struct Setup {
    pub tokens: Rc<TokenSplits>,
    /// Shared with the passes that lend its head to the task head.
    pub model: Rc<Model>,
    pub head: Rc<TaskHead>,
    pub optimizer: Optimizer,
    /// Digest of what the plugins made of the model, see [`checkpoint::start`].
    pub start: String,
    /// Has seen the model as it starts.
    pub meter: Meter,
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
    let head = Rc::new(task_head(
        &spec.head,
        spec.seeds.head,
        &tokens,
        &mut model,
        watch,
    )?);
    let (tokens, mut model) = (Rc::new(tokens), Rc::new(model));
    let Start { multipliers, whole } = factors::start(job, &mut model, &head, &tokens, watch)?;
    let head_mode = spec
        .lora
        .as_ref()
        .map_or(HeadMode::Train, |lora| lora.head_mode);
    model.train(spec.method, head_mode);
    model.train_also(&whole);
    if spec.model.precision == Some(Precision::Bfloat16) {
        model.lower()?;
    }
    let start = checkpoint::start(&model)?;
    let meter = Meter::new(&model)?;
    let group = group(&model, spec, &multipliers);
    if group.values.is_empty() {
        return Err(TrainError::NothingToTrain);
    }
    let component = component("optimizer", &spec.optimizer)?;
    let call = watch.call("optimizer", &spec.optimizer, "prepare", None);
    let optimizer = call.of(|| Optimizer::new(component, group, spec.seeds.init))?;
    Ok(Setup {
        tokens,
        model,
        head,
        optimizer,
        start,
        meter,
    })
}

pub fn component(kind: &str, selection: &Selection) -> Result<Component, PluginError> {
    Component::create(
        Library::of(selection)?,
        kind,
        &selection.name,
        &selection.parameters,
    )
}

/// Creates the task head and gives the model the head that it asks for.
pub(crate) fn task_head(
    selection: &Selection,
    seed: u64,
    tokens: &TokenSplits,
    model: &mut Model,
    watch: &mut Watch<'_>,
) -> Result<TaskHead, TrainError> {
    let component = component("head", selection)?;
    let head = TaskHead::new(component, seed, model.device());
    let task = Task {
        labels: tokens.label_names.clone(),
        vocab_size: tokens.vocab_size,
        mask_token: tokens.special.mask.map(i64::from),
        special_tokens: tokens.special.all.iter().map(|&id| i64::from(id)).collect(),
    };
    let plan = watch
        .call("head", selection, "plan", None)
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
        .call("head", selection, "layers", None)
        .of(|| head.layers(&layers))?;
    Ok(head)
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
