//! Reading an adapter that [`Model::save_adapter`] wrote.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors};
use tch::{Kind, Tensor};

use super::save::{ADAPTER_ENTRY, ADAPTER_FORMAT, AdapterMetadata, KeptHead, as_stored};
use super::{Model, ModelError};
use crate::adapter::Factors;

impl Model {
    /// Puts the adapter of `path` on this model, which must be as it was when LoRA was put on it: the weights that it
    /// was trained from, and no factors. Returns the names of what it holds. Parameters of another head than the model's
    /// are left out, with a warning.
    ///
    /// # Errors
    /// An unreadable or malformed file, or one that does not fit the model.
    pub fn load_adapter(&mut self, path: &Path) -> Result<Vec<String>, ModelError> {
        let bytes = fs::read(path).map_err(|source| ModelError::Read {
            path: path.to_owned(),
            source,
        })?;
        let origin = path.display().to_string();
        let wrong = |problem: String| ModelError::NotAnAdapter {
            origin: origin.clone(),
            problem,
        };
        let scales = read_metadata(&bytes).map_err(wrong)?.scales;
        let mut tensors = read_tensors(&bytes).map_err(wrong)?;
        for (module, scale) in scales {
            let factor = |kind: &str| tensors.get(&format!("{module}.{kind}.weight"));
            let starts = factor("lora_A0").zip(factor("lora_B0"));
            let Some((a, b)) = starts.or_else(|| factor("lora_A").zip(factor("lora_B"))) else {
                return Err(wrong(format!("`{module}` has a scale and no factors")));
            };
            // Where W was compensated, A and B start as they did then; what they became is copied below.
            let factors = Factors {
                compensate: starts.is_some(),
                ..Factors::new(a.shallow_clone(), b.shallow_clone(), scale)
            };
            let index = self.linears().iter().position(|l| l.name() == module);
            let index = index.ok_or_else(|| wrong(format!("there is no layer `{module}`")))?;
            self.attach(index, factors)?;
        }
        tensors.retain(|name, _| {
            !(name.ends_with(".lora_A0.weight") || name.ends_with(".lora_B0.weight"))
        });
        let names: Vec<String> = tensors.keys().cloned().collect();
        copy_parameters(self, &mut tensors, &wrong)?;
        let architecture = self.architecture();
        let of_heads = |name: &str| {
            architecture
                .head_roots
                .iter()
                .any(|root| name.starts_with(root))
        };
        if let Some(name) = tensors.keys().find(|name| !of_heads(name)) {
            return Err(wrong(format!("there is no parameter `{name}`")));
        }
        if !tensors.is_empty() {
            let names: Vec<&str> = tensors.keys().map(String::as_str).collect();
            tracing::warn!(
                "left out of {origin}, since they belong to another head: {}",
                names.join(", ")
            );
        }
        Ok(names)
    }

    /// The head that the adapter of `path` was trained with; none in files that do not say.
    ///
    /// # Errors
    /// An unreadable or malformed file.
    pub fn kept_head(path: &Path) -> Result<Option<KeptHead>, ModelError> {
        let bytes = fs::read(path).map_err(|source| ModelError::Read {
            path: path.to_owned(),
            source,
        })?;
        let metadata = read_metadata(&bytes).map_err(|problem| ModelError::NotAnAdapter {
            origin: path.display().to_string(),
            problem,
        })?;
        Ok(metadata.head)
    }
}

/// Takes the values of parameters out of `tensors`, where they are as files have them.
pub(super) fn copy_parameters(
    model: &Model,
    tensors: &mut BTreeMap<String, Tensor>,
    wrong: &dyn Fn(String) -> ModelError,
) -> Result<(), ModelError> {
    for part in model.parts() {
        for parameter in part.parameters(0) {
            let Some(tensor) = tensors.remove(&parameter.name) else {
                continue;
            };
            let stored = as_stored(&part, &parameter.name, &parameter.tensor)?;
            if tensor.size() != stored.size() {
                let (name, found, expected) = (parameter.name, tensor.size(), stored.size());
                return Err(wrong(format!(
                    "`{name}` has shape {found:?}, expected {expected:?}"
                )));
            }
            // What is stored is the parameter's own memory, turned or not.
            tch::no_grad(|| stored.f_detach()?.f_copy_(&tensor))?;
        }
    }
    Ok(())
}

fn read_metadata(bytes: &[u8]) -> Result<AdapterMetadata, String> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
    let entry = header
        .metadata()
        .as_ref()
        .and_then(|all| all.get(ADAPTER_ENTRY));
    let entry = entry.ok_or_else(|| format!("its metadata has no entry `{ADAPTER_ENTRY}`"))?;
    let metadata: AdapterMetadata =
        serde_json::from_str(entry).map_err(|error| format!("its metadata: {error}"))?;
    if metadata.format != ADAPTER_FORMAT {
        let found = metadata.format;
        return Err(format!(
            "its format is `{found}`, expected `{ADAPTER_FORMAT}`"
        ));
    }
    Ok(metadata)
}

fn read_tensors(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.tensors() {
        if view.dtype() != Dtype::F32 {
            return Err(format!(
                "`{name}` has type {:?}, expected F32",
                view.dtype()
            ));
        }
        let shape: Vec<i64> = view.shape().iter().map(|&size| size as i64).collect();
        let tensor = Tensor::f_from_data_size(view.data(), &shape, Kind::Float)
            .map_err(|error| format!("`{name}`: {error}"))?;
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}
