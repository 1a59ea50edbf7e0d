//! What a checkpoint holds of a run, and putting it back.
//!
//! Kept are the parameters that learn, the optimizer's state and [`Progress`]. All else is made again by the set-up: the
//! weights of the model, LoRA's start, the weights W - s B A of compensating init schemes. A digest of that start stands
//! in the checkpoint, so that a run never goes on from another one. Random streams have no state: each is seeded by its
//! name and a number that counts forward passes or epochs.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, View};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, TchError, Tensor};

use super::diagnostics::StepNorms;
use super::setup::Setup;
use super::trainer::Watch;
use crate::digest::sha256;
use crate::model::Model;
use crate::record::{Checkpoint, Measured};
use crate::spec::RunSpec;

/// How far a run is, at a step boundary.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// The epoch in work, from 1.
    pub epoch: usize,
    /// Groups of batches done in it, each a step.
    pub groups: usize,
    /// Forward passes of training.
    pub forwards: u64,
    /// Steps of the optimizer: those whose batches counted something.
    pub updates: u64,
    /// Sum and number of the means of the epoch's batches.
    pub means: (f64, u64),
    /// Evaluations in a row whose loss lies above the untrained model's.
    pub above_untrained: usize,
    /// Of the step that an evaluation follows.
    pub last_step: Option<StepNorms>,
    pub measured: Measured,
}

/// The checkpoint's entry `progress`.
#[derive(Serialize, Deserialize)]
struct Kept {
    progress: Progress,
    /// Of [`start`].
    start: String,
    /// Names of the parameters, of which number `n` is the tensor `parameter.n`.
    parameters: Vec<String>,
    /// As `parameters`, of the tensors `optimizer.n`.
    optimizer: Vec<StateTensor>,
}

#[derive(Serialize, Deserialize)]
struct StateTensor {
    name: String,
    /// The layout in memory, on which the last bits of a product may depend; files hold rows one after the other.
    strides: Vec<i64>,
}

/// Types of tensors that can be kept.
const TYPES: [(Kind, Dtype); 10] = [
    (Kind::Float, Dtype::F32),
    (Kind::Double, Dtype::F64),
    (Kind::Half, Dtype::F16),
    (Kind::BFloat16, Dtype::BF16),
    (Kind::Int64, Dtype::I64),
    (Kind::Int, Dtype::I32),
    (Kind::Int16, Dtype::I16),
    (Kind::Int8, Dtype::I8),
    (Kind::Uint8, Dtype::U8),
    (Kind::Bool, Dtype::BOOL),
];

/// Digest of LoRA's factors before the first step: of what the plugins made, since the rest follows from the run's
/// identity.
pub fn start(model: &Model) -> Result<String, TchError> {
    let mut text = String::new();
    for linear in model.linears() {
        let Some((a, b, scale)) = linear.factors() else {
            continue;
        };
        let [a, b] = [bytes_of(a)?, bytes_of(b)?].map(|bytes| sha256(&bytes));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{} {a} {b} {scale:e}", linear.name());
    }
    Ok(sha256(text.as_bytes()))
}

/// Keeps the run as it is. A disk that is full, or a state of the optimizer that cannot be kept, does not end the run: it
/// is said, and an older checkpoint stays.
pub fn keep(spec: &RunSpec, setup: &Setup, progress: &Progress, watch: &mut Watch<'_>) {
    if let Err(why) = try_to_keep(spec, setup, progress, watch) {
        tracing::warn!("no checkpoint at step {}: {why}", progress.measured.steps);
    }
}

fn try_to_keep(
    spec: &RunSpec,
    setup: &Setup,
    progress: &Progress,
    watch: &mut Watch<'_>,
) -> Result<(), String> {
    let state = watch
        .call("optimizer", &spec.optimizer, "state", None)
        .of(|| setup.optimizer.state())
        .map_err(|error| error.to_string())?;
    let group = setup.optimizer.group();
    let kept = Kept {
        progress: progress.clone(),
        start: setup.start.clone(),
        parameters: group.infos.iter().map(|info| info.name.clone()).collect(),
        optimizer: state
            .iter()
            .map(|(name, tensor)| StateTensor {
                name: name.clone(),
                strides: tensor.stride(),
            })
            .collect(),
    };
    let parameters = group.values.iter().enumerate();
    let parameters = parameters.map(|(n, tensor)| (format!("parameter.{n}"), tensor));
    let states = state.iter().enumerate();
    let states = states.map(|(n, (_, tensor))| (format!("optimizer.{n}"), tensor));
    let views: Vec<_> = parameters
        .chain(states)
        .map(|(key, tensor)| Ok((key, Stored::of(tensor)?)))
        .collect::<Result<_, String>>()?;
    let progress = serde_json::to_value(kept).map_err(|error| error.to_string())?;
    let write = |path: &Path| {
        safetensors::serialize_to_file(views.iter().map(|(key, view)| (key, view)), None, path)
            .map_err(io::Error::other)
    };
    watch
        .keep(progress, &mut { write })
        .map_err(|error| error.to_string())
}

/// Puts a checkpoint back into a run that was just set up, and returns how far it is.
///
/// # Errors
/// Why the checkpoint does not fit the run, as text; what was set up is then of no use any more.
pub fn load(
    checkpoint: &Checkpoint,
    spec: &RunSpec,
    setup: &Setup,
    watch: &mut Watch<'_>,
) -> Result<Progress, String> {
    let kept: Kept = serde_json::from_value(checkpoint.progress().clone())
        .map_err(|error| format!("its progress cannot be read: {error}"))?;
    let group = setup.optimizer.group();
    let names = group.infos.iter().map(|info| &info.name);
    if !names.eq(kept.parameters.iter()) {
        return Err("it holds other parameters than learn in this run".to_owned());
    }
    if kept.start != setup.start {
        return Err("LoRA starts from other factors than it did".to_owned());
    }
    let path = checkpoint.tensors();
    let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let file =
        SafeTensors::deserialize(&bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    for (n, (value, name)) in group.values.iter().zip(&kept.parameters).enumerate() {
        let tensor = read(&file, &format!("parameter.{n}"))?;
        if (tensor.size(), tensor.kind()) != (value.size(), value.kind()) {
            return Err(format!("{name} has another shape or type there"));
        }
        // In place: the model's own memory, wherever it starts.
        tch::no_grad(|| value.shallow_clone().f_copy_(&tensor))
            .map_err(|error| error.to_string())?;
    }
    let device = group.values.first().map_or(Device::Cpu, Tensor::device);
    let mut state = Vec::new();
    for (n, StateTensor { name, strides }) in kept.optimizer.into_iter().enumerate() {
        let tensor = read(&file, &format!("optimizer.{n}"))?;
        let tensor = laid_out(&tensor, &strides, device).map_err(|error| error.to_string())?;
        state.push((name, tensor));
    }
    drop(bytes);
    watch
        .call("optimizer", &spec.optimizer, "load", None)
        .of(|| setup.optimizer.load(&state))
        .map_err(|error| error.to_string())?;
    Ok(kept.progress)
}

/// A tensor as it goes into a file, copied when its turn comes: at no time is there a copy of all.
struct Stored<'a> {
    tensor: &'a Tensor,
    dtype: Dtype,
    shape: Vec<usize>,
}

impl<'a> Stored<'a> {
    fn of(tensor: &'a Tensor) -> Result<Self, String> {
        let kind = tensor.kind();
        let known = TYPES.iter().find(|(known, _)| *known == kind);
        let (_, dtype) = known.ok_or_else(|| format!("the type {kind:?} is not kept in files"))?;
        Ok(Self {
            tensor,
            dtype: *dtype,
            shape: tensor.size().iter().map(|&size| size as usize).collect(),
        })
    }
}

impl View for &Stored<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        // The interface knows no errors: the file is then too short, and its reader refuses it.
        bytes_of(self.tensor).unwrap_or_default().into()
    }

    fn data_len(&self) -> usize {
        self.tensor.numel() * self.tensor.kind().elt_size_in_bytes()
    }
}

/// The numbers row by row.
fn bytes_of(tensor: &Tensor) -> Result<Vec<u8>, TchError> {
    let tensor = tensor
        .f_detach()?
        .f_to_device(Device::Cpu)?
        .f_contiguous()?;
    let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
    tensor.f_copy_data_u8(&mut bytes, tensor.numel())?;
    Ok(bytes)
}

fn read(file: &SafeTensors<'_>, key: &str) -> Result<Tensor, String> {
    let view = file
        .tensor(key)
        .map_err(|error| format!("{key}: {error}"))?;
    let known = TYPES.iter().find(|(_, dtype)| *dtype == view.dtype());
    let (kind, _) = known.ok_or_else(|| format!("{key} is {:?}", view.dtype()))?;
    let shape: Vec<i64> = view.shape().iter().map(|&size| size as i64).collect();
    Tensor::f_from_data_size(view.data(), &shape, *kind).map_err(|error| format!("{key}: {error}"))
}

/// A copy in memory of its own, laid out as it was. Elements that shared memory get each their own.
fn laid_out(tensor: &Tensor, strides: &[i64], device: Device) -> Result<Tensor, TchError> {
    let size = tensor.size();
    let shared = strides.len() != size.len() || strides.contains(&0);
    let options = (tensor.kind(), device);
    let mut copy = if shared {
        Tensor::f_empty(size, options)?
    } else {
        Tensor::f_empty_strided(size, strides, options)?
    };
    copy.f_copy_(tensor)?;
    Ok(copy)
}
