//! Writing tensors as safetensors files, in the type that is asked for.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Map, Value, json};
use tch::{Device, Kind, TchError, Tensor};

use super::ModelError;
use crate::atomic;

/// The type of numbers in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    #[default]
    Fp32,
    Bf16,
    Fp16,
}

impl Precision {
    /// As torch and `config.json` name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "float32",
            Self::Bf16 => "bfloat16",
            Self::Fp16 => "float16",
        }
    }

    fn kind(self) -> Kind {
        match self {
            Self::Fp32 => Kind::Float,
            Self::Bf16 => Kind::BFloat16,
            Self::Fp16 => Kind::Half,
        }
    }

    fn dtype(self) -> Dtype {
        match self {
            Self::Fp32 => Dtype::F32,
            Self::Bf16 => Dtype::BF16,
            Self::Fp16 => Dtype::F16,
        }
    }

    /// Says so in a `config.json`: transformers computes in the type that stands there.
    pub(super) fn note(self, config: &mut Map<String, Value>) {
        for key in ["dtype", "torch_dtype"] {
            if config.contains_key(key) {
                config.insert(key.to_owned(), json!(self.name()));
            }
        }
        if self != Self::Fp32 && !config.contains_key("dtype") {
            config.insert("torch_dtype".to_owned(), json!(self.name()));
        }
    }
}

/// Writes tensors to `path`, with one entry of metadata.
///
/// # Errors
/// Where the file cannot be written; a tensor with numbers beyond what `precision` has.
pub fn write_tensors(
    path: &Path,
    tensors: &[(String, Tensor)],
    (key, value): (&str, String),
    precision: Precision,
) -> Result<(), ModelError> {
    let failed = |reason: String| ModelError::Write {
        path: path.to_owned(),
        reason,
    };
    let mut copies = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let narrow = tensor.f_detach()?.f_to_kind(precision.kind())?;
        if precision != Precision::Fp32 && !is_finite(&narrow)? && is_finite(tensor)? {
            return Err(ModelError::Overflow {
                name: name.clone(),
                precision: precision.name(),
            });
        }
        copies.push((name.as_str(), tensor.size(), bytes_of(&narrow)?));
    }
    let views = copies
        .iter()
        .map(|(name, shape, bytes)| {
            let shape = shape
                .iter()
                .map(|&size| usize::try_from(size).unwrap_or(0))
                .collect();
            Ok((*name, TensorView::new(precision.dtype(), shape, bytes)?))
        })
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|error| failed(error.to_string()))?;
    let metadata = HashMap::from([(key.to_owned(), value)]);
    atomic::write(path, |file| {
        safetensors::serialize_to_file(views, Some(metadata), file.path()).map_err(io::Error::other)
    })
    .map_err(|error| failed(error.to_string()))
}

fn is_finite(tensor: &Tensor) -> Result<bool, TchError> {
    Ok(tensor.f_isfinite()?.f_all()?.f_int64_value(&[])? != 0)
}

fn bytes_of(tensor: &Tensor) -> Result<Vec<u8>, TchError> {
    let tensor = tensor.f_to_device(Device::Cpu)?.f_contiguous()?;
    let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
    tensor.f_copy_data_u8(&mut bytes, tensor.numel())?;
    Ok(bytes)
}
