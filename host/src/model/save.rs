use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tch::{Device, TchError, Tensor};

use super::{Model, ModelError, Part};
use crate::atomic;

/// What an adapter file says of itself: the one entry `lorahost` of its metadata, as JSON. More entries would stand in
/// the file in any order, and equal adapters must be equal files.
#[derive(Serialize, Deserialize)]
pub(super) struct AdapterMetadata {
    pub format: String,
    /// s of y = W x + s B A x, by module.
    pub scales: BTreeMap<String, f64>,
}

/// The entry of an adapter file's metadata.
pub(super) const ADAPTER_ENTRY: &str = "lorahost";
pub(super) const ADAPTER_FORMAT: &str = "lorahost-adapter/1";

impl Model {
    /// Writes LoRA's factors and whatever else learns to one safetensors file, whole or not at all: `MODULE.lora_A.weight`
    /// `[rank, fan_in]`, `MODULE.lora_B.weight` `[fan_out, rank]`, other parameters under their own names; where W was
    /// compensated, `MODULE.lora_A0.weight` and `MODULE.lora_B0.weight`. The metadata has one entry, `lorahost`:
    /// `{"format": "lorahost-adapter/1", "scales": {MODULE: s, ..}}`. Equal adapters are equal files.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn save_adapter(&self, path: &Path) -> Result<(), ModelError> {
        let mut scales = BTreeMap::new();
        let mut tensors = Vec::new();
        for part in self.parts() {
            for parameter in part.parameters(0) {
                if Self::is_factor(&parameter) || parameter.tensor.requires_grad() {
                    let stored = as_stored(&part, &parameter.name, &parameter.tensor)?;
                    tensors.push((parameter.name, stored));
                }
            }
        }
        for linear in self.linears() {
            let name = linear.name();
            if let Some((_, _, scale)) = linear.factors() {
                scales.insert(name.to_owned(), scale);
            }
            if let Some((a, b)) = linear.compensated() {
                tensors.push((format!("{name}.lora_A0.weight"), a.shallow_clone()));
                tensors.push((format!("{name}.lora_B0.weight"), b.shallow_clone()));
            }
        }
        let metadata = AdapterMetadata {
            format: ADAPTER_FORMAT.to_owned(),
            scales,
        };
        write_tensors(path, &tensors, (ADAPTER_ENTRY, json!(metadata).to_string()))
    }

    /// Writes the whole model, LoRA merged, as a folder that transformers opens: `config.json`, `model.safetensors` and
    /// the small files that came with the model, its tokenizer's among them. `labels` name the outputs of a head that has labels. The folder appears whole or not at all; one
    /// that is there already is an error.
    ///
    /// # Errors
    /// Where the folder is there or cannot be written.
    pub fn save_full(&self, folder: &Path, labels: &[String]) -> Result<(), ModelError> {
        let failed = |reason: io::Error| ModelError::Write {
            path: folder.to_owned(),
            reason: reason.to_string(),
        };
        if folder.exists() {
            return Err(failed(io::ErrorKind::AlreadyExists.into()));
        }
        let parent = atomic::folder_of(folder);
        fs::create_dir_all(parent).map_err(failed)?;
        let temporary = tempfile::Builder::new()
            .prefix(atomic::TEMPORARY_PREFIX)
            .permissions(atomic::shared(0o777))
            .tempdir_in(parent)
            .map_err(failed)?;
        let inside = temporary.path();
        write_tensors(
            &inside.join("model.safetensors"),
            &self.merged_tensors()?,
            ("format", "pt".to_owned()),
        )?;
        let config = serde_json::to_string_pretty(&self.saved_config(labels))
            .map_err(|error| failed(error.into()))?;
        fs::write(inside.join("config.json"), config + "\n").map_err(failed)?;
        for (name, bytes) in self.files().companions()? {
            fs::write(inside.join(name), bytes).map_err(failed)?;
        }
        fs::rename(inside, folder).map_err(failed)?;
        // Renamed away: there is nothing left to remove.
        let _ = temporary.keep();
        Ok(())
    }

    /// Every parameter under its name, without LoRA's factors, which are merged into their layers.
    fn merged_tensors(&self) -> Result<Vec<(String, Tensor)>, TchError> {
        let mut tensors = Vec::new();
        for part in self.parts() {
            let merged = match &part {
                Part::Linear(linear) => {
                    Some((format!("{}.weight", linear.name()), linear.merged()?))
                }
                _ => None,
            };
            for parameter in part.parameters(0) {
                match &merged {
                    _ if Self::is_factor(&parameter) => {}
                    Some((name, weight)) if *name == parameter.name => {
                        let stored = as_stored(&part, name, weight)?;
                        tensors.push((parameter.name, stored));
                    }
                    _ => tensors.push((parameter.name, parameter.tensor)),
                }
            }
        }
        Ok(tensors)
    }

    /// The model's own `config.json` with the class of the head and the names of its outputs.
    fn saved_config(&self, labels: &[String]) -> Map<String, Value> {
        let mut config = self.config().values().clone();
        let Some(head) = self.head_description() else {
            return config;
        };
        if let Ok(layout) = self.architecture().layout(&head.layout) {
            config.insert("architectures".to_owned(), json!([layout.class]));
        }
        if head.has_labels() {
            let names = (0..head.outputs).map(|output| {
                let given = usize::try_from(output)
                    .ok()
                    .and_then(|output| labels.get(output));
                given.cloned().unwrap_or_else(|| format!("LABEL_{output}"))
            });
            let (mut of_id, mut of_label) = (Map::new(), Map::new());
            for (output, name) in names.enumerate() {
                of_id.insert(output.to_string(), json!(name));
                of_label.insert(name, json!(output));
            }
            config.insert("id2label".to_owned(), of_id.into());
            config.insert("label2id".to_owned(), of_label.into());
            config.remove("num_labels");
        }
        config
    }
}

/// The parameter `name` of `part` as files have it: the weight of a `Conv1D` as `[fan_in, fan_out]`.
pub(super) fn as_stored(part: &Part, name: &str, tensor: &Tensor) -> Result<Tensor, TchError> {
    match part {
        Part::Linear(linear)
            if linear.is_stored_transposed() && name == format!("{}.weight", linear.name()) =>
        {
            tensor.f_detach()?.f_transpose(0, 1)
        }
        _ => Ok(tensor.shallow_clone()),
    }
}

/// Writes float32 tensors to `path`, with one entry of metadata.
fn write_tensors(
    path: &Path,
    tensors: &[(String, Tensor)],
    (key, value): (&str, String),
) -> Result<(), ModelError> {
    let failed = |reason: String| ModelError::Write {
        path: path.to_owned(),
        reason,
    };
    let copies = tensors
        .iter()
        .map(|(name, tensor)| Ok((name.as_str(), tensor.size(), bytes_of(tensor)?)))
        .collect::<Result<Vec<_>, TchError>>()?;
    let views = copies
        .iter()
        .map(|(name, shape, bytes)| {
            let shape = shape
                .iter()
                .map(|&size| usize::try_from(size).unwrap_or(0))
                .collect();
            Ok((*name, TensorView::new(Dtype::F32, shape, bytes)?))
        })
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|error| failed(error.to_string()))?;
    let metadata = HashMap::from([(key.to_owned(), value)]);
    atomic::write(path, |file| {
        safetensors::serialize_to_file(views, Some(metadata), file.path()).map_err(io::Error::other)
    })
    .map_err(|error| failed(error.to_string()))
}

fn bytes_of(tensor: &Tensor) -> Result<Vec<u8>, TchError> {
    let tensor = tensor
        .f_detach()?
        .f_to_device(Device::Cpu)?
        .f_contiguous()?;
    let mut bytes = vec![0; tensor.numel() * 4];
    tensor.f_copy_data_u8(&mut bytes, tensor.numel())?;
    Ok(bytes)
}
