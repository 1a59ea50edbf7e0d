use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tch::{TchError, Tensor};

use super::files::{CONFIG, WEIGHTS};
use super::{Config, Model, ModelError, ModelFiles, Part, Precision, write_tensors};
use crate::atomic;

/// What an adapter file says of itself: the one entry `lorahost` of its metadata, as JSON. More entries would stand in
/// the file in any order, and equal adapters must be equal files.
#[derive(Serialize, Deserialize)]
pub(super) struct AdapterMetadata {
    pub format: String,
    /// s of y = W x + s B A x, by module.
    pub scales: BTreeMap<String, f64>,
    /// Absent in files that were written before it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<KeptHead>,
}

/// The head that was trained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptHead {
    /// See [`super::HeadDescription::layout`].
    pub layout: String,
    pub outputs: i64,
    /// Names of the outputs, where they are classes or tags.
    pub labels: Vec<String>,
}

/// The entry of an adapter file's metadata.
pub(super) const ADAPTER_ENTRY: &str = "lorahost";
pub(super) const ADAPTER_FORMAT: &str = "lorahost-adapter/1";

impl Model {
    /// Writes LoRA's factors and whatever else learns to one safetensors file, whole or not at all: `MODULE.lora_A.weight`
    /// `[rank, fan_in]`, `MODULE.lora_B.weight` `[fan_out, rank]`, other parameters under their own names; where W was
    /// compensated, `MODULE.lora_A0.weight` and `MODULE.lora_B0.weight`. The metadata has one entry, `lorahost`:
    /// `{"format": "lorahost-adapter/1", "scales": {MODULE: s, ..}, "head": {..}}`, the head with `labels` for names of
    /// its outputs. Equal adapters are equal files.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn save_adapter(&self, path: &Path, labels: &[String]) -> Result<(), ModelError> {
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
            head: self.head_description().map(|head| KeptHead {
                layout: head.layout.clone(),
                outputs: head.outputs,
                labels: labels.to_vec(),
            }),
        };
        let metadata = (ADAPTER_ENTRY, json!(metadata).to_string());
        write_tensors(path, &tensors, metadata, Precision::Fp32)
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
        atomic::write_folder(folder, failed, |inside| {
            self.write_full(inside, labels, Precision::Fp32)
        })
    }

    /// The files of [`Model::save_full`] into the folder `inside`, which is there.
    ///
    /// # Errors
    /// Where one cannot be written; numbers beyond what `precision` has.
    pub fn write_full(
        &self,
        inside: &Path,
        labels: &[String],
        precision: Precision,
    ) -> Result<(), ModelError> {
        let (tensors, config) = (self.merged_tensors()?, self.saved_config(labels, precision));
        write_files(inside, &tensors, config, self.files(), precision)
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
    fn saved_config(&self, labels: &[String], precision: Precision) -> Map<String, Value> {
        let mut config = self.config().values().clone();
        precision.note(&mut config);
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

/// Copies the model of the folder `from`, one that [`Model::save_full`] wrote, into the folder `inside`, which is there,
/// with numbers of another type.
///
/// # Errors
/// Files that are absent or malformed; a file that cannot be written; numbers beyond what `precision` has.
pub fn copy_model(from: &Path, inside: &Path, precision: Precision) -> Result<(), ModelError> {
    let files = ModelFiles::Folder(from.to_owned());
    let (bytes, origin) = files.config()?;
    let mut config = Config::parse(&bytes, &origin, None)?.values().clone();
    precision.note(&mut config);
    let weights = files.weights(str::to_owned)?;
    let tensors = weights.names().filter_map(|name| {
        let read = weights.tensor(name)?;
        Some(read.map(|tensor| (name.to_owned(), tensor)))
    });
    let tensors: Vec<(String, Tensor)> =
        tensors
            .collect::<Result<_, _>>()
            .map_err(|problem| ModelError::Weights {
                origin: weights.origin().to_owned(),
                problems: vec![problem],
            })?;
    write_files(inside, &tensors, config, &files, precision)
}

/// The files of a model's folder.
fn write_files(
    inside: &Path,
    tensors: &[(String, Tensor)],
    config: Map<String, Value>,
    files: &ModelFiles,
    precision: Precision,
) -> Result<(), ModelError> {
    let write = |name: &str, bytes: &[u8]| {
        let path = inside.join(name);
        fs::write(&path, bytes).map_err(|error| ModelError::Write {
            path,
            reason: error.to_string(),
        })
    };
    let metadata = ("format", "pt".to_owned());
    write_tensors(&inside.join(WEIGHTS), tensors, metadata, precision)?;
    let config = Value::Object(config);
    write(CONFIG, format!("{config:#}\n").as_bytes())?;
    for (name, bytes) in files.companions()? {
        write(name, &bytes)?;
    }
    Ok(())
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
