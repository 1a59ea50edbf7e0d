//! LoRA's start: scales and factors of every chosen layer, from their plugins onto the model.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use lorahost_plugin_api::protocol::{AlphaReply, Factor, Layer};

use super::TrainError;
use super::probe::Probe;
use super::setup::component;
use super::trainer::Watch;
use crate::adapter::peft::PeftFolder;
use crate::adapter::{Factors, LayerInfo, Linear, ModuleKind, Targets};
use crate::data::TokenSplits;
use crate::model::{Model, ModelError};
use crate::plugins::{AlphaPolicy, InitAccess, InitScheme, LayerFactors, TaskHead, TensorCache};
use crate::spec::{HeadMode, LoraSpec, Selection};
use crate::sweep::RunJob;

/// Factors on the learning rates of A and B, by the number of their pair.
pub type Multipliers = HashMap<usize, (f64, f64)>;

/// What LoRA starts with.
#[derive(Default)]
pub struct Start {
    pub multipliers: Multipliers,
    /// Full names of the parameters that an adapter replaced, which learn on with its factors.
    pub whole: BTreeSet<String>,
}

/// Puts on the model what LoRA starts with: the adapter that the run goes on from, or new factors. Full fine-tuning goes
/// on from an adapter that is merged.
pub fn start(
    job: &RunJob,
    model: &mut Rc<Model>,
    head: &Rc<TaskHead>,
    tokens: &Rc<TokenSplits>,
    watch: &mut Watch<'_>,
) -> Result<Start, TrainError> {
    let spec = &job.spec;
    let Some(folder) = &spec.model.adapter else {
        let multipliers = attach(job, model, head, tokens, watch)?;
        return Ok(Start {
            multipliers,
            ..Start::default()
        });
    };
    let found = PeftFolder::sha256(folder).map_err(ModelError::from)?;
    if spec.model.adapter_sha256.as_deref() != Some(&found) {
        return Err(TrainError::AdapterChanged {
            folder: folder.clone(),
        });
    }
    let peft = PeftFolder::open(folder).map_err(ModelError::from)?;
    let model = Rc::get_mut(model).expect("nobody else has the model yet");
    let dropout = spec.lora.as_ref().map_or(0.0, |lora| lora.dropout);
    let whole = model.load_peft(&peft, dropout)?;
    let Some(lora) = &spec.lora else {
        model.merge()?;
        return Ok(Start::default());
    };
    let linears = model.linears();
    let in_head = |linear: &&&Linear| linear.kind() == ModuleKind::Head && linear.is_wrapped();
    if let Some(linear) = linears.iter().find(in_head)
        && lora.head_mode == HeadMode::Train
    {
        return Err(TrainError::AdapterOnHead {
            folder: folder.clone(),
            layer: linear.name().to_owned(),
        });
    }
    Ok(Start {
        whole,
        ..Start::default()
    })
}

/// Asks the alpha policy and the init scheme for each chosen layer, then puts the factors on all of them: no layer's
/// factors depend on another's, also where the scheme looks at what the model makes of the data.
fn attach(
    job: &RunJob,
    model: &mut Rc<Model>,
    head: &Rc<TaskHead>,
    tokens: &Rc<TokenSplits>,
    watch: &mut Watch<'_>,
) -> Result<Multipliers, TrainError> {
    let spec = &job.spec;
    let (Some(lora), Some(alpha), Some(init)) = (&spec.lora, &spec.alpha, &spec.init) else {
        return Ok(Multipliers::new());
    };
    let policy = AlphaPolicy::new(component("alpha", alpha)?);
    let targets = Targets::parse(&lora.targets).map_err(ModelError::from)?;
    let chosen = model.targets(&targets, lora.head_mode)?;
    let access = InitAccess {
        measure: Rc::new(Probe::new(spec, model, head, tokens, &chosen)),
        cache: Rc::new(TensorCache::new(&job.cache, init)),
    };
    let scheme = InitScheme::new(component("init", init)?, spec.seeds.init, access);
    let mut multipliers = Multipliers::new();
    let mut factors = Vec::new();
    for (info, mut layer) in ranked(chosen, lora, init, &scheme, model, watch)? {
        let AlphaReply { scale, lr_a, lr_b } = watch
            .call("alpha", alpha, "scale", Some(&info.name))
            .of(|| policy.scale(&layer))?;
        layer.scale = scale;
        let weight = model.linears()[info.index].weight().shallow_clone();
        let of_layer = watch
            .call("init", init, "init", Some(&info.name))
            .of(|| scheme.init(&layer, &weight))?;
        factors.push((info.index, scaled(of_layer, scale, lora)?));
        multipliers.insert(info.index, (lr_a, lr_b));
    }
    drop(scheme);
    let model = Rc::get_mut(model).expect("the scheme's access to the model ended with it");
    for (index, factors) in factors {
        model.attach(index, factors)?;
    }
    Ok(multipliers)
}

/// The layers that get factors, with their ranks: the run's, or what the scheme makes of it.
fn ranked(
    chosen: Vec<LayerInfo>,
    lora: &LoraSpec,
    init: &Selection,
    scheme: &InitScheme,
    model: &Model,
    watch: &mut Watch<'_>,
) -> Result<Vec<(LayerInfo, Layer)>, TrainError> {
    let described = chosen.iter().enumerate();
    let mut layers: Vec<Layer> = described
        .map(|(place, info)| layer(info, place, lora.rank))
        .collect();
    if scheme.chooses_ranks() {
        let ranks = watch
            .call("init", init, "ranks", None)
            .of(|| scheme.ranks(&layers, model.device()))?;
        for (layer, rank) in layers.iter_mut().zip(ranks.into_iter().flatten()) {
            layer.rank = rank;
        }
    }
    let kept = chosen.into_iter().zip(layers);
    let mut kept: Vec<_> = kept.filter(|(_, layer)| layer.rank > 0).collect();
    for (place, (_, layer)) in kept.iter_mut().enumerate() {
        layer.index = place;
    }
    Ok(kept)
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
