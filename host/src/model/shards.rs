//! Weights in several safetensors files: the index that says which file holds which tensor.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::ModelError;
use super::error::listed;

/// A read `model.safetensors.index.json`: the files that it names lie beside it and were there when it was read.
#[derive(Debug, Clone)]
pub struct ShardIndex {
    origin: String,
    folder: PathBuf,
    /// The tensors of each file, by the file's name.
    shards: BTreeMap<String, Vec<String>>,
}

/// The part of the file that says something about tensors; its `metadata` has their total size.
#[derive(Deserialize)]
struct IndexFile {
    weight_map: BTreeMap<String, String>,
}

impl ShardIndex {
    /// The index `name` of `folder`, or none where there is no such file.
    ///
    /// # Errors
    /// An unreadable file; one that is no index; names of files that lie elsewhere, are no safetensors files or absent.
    pub fn find(folder: &Path, name: &str) -> Result<Option<Self>, ModelError> {
        let path = folder.join(name);
        if !path.is_file() {
            return Ok(None);
        }
        let bytes = fs::read(&path).map_err(|source| ModelError::Read {
            path: path.clone(),
            source,
        })?;
        let origin = path.display().to_string();
        let wrong = |reason| ModelError::BadIndex {
            origin: origin.clone(),
            reason,
        };
        let IndexFile { weight_map } =
            serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        if weight_map.is_empty() {
            return Err(wrong("its `weight_map` is empty".to_owned()));
        }
        let mut shards = BTreeMap::<String, Vec<String>>::new();
        for (tensor, shard) in weight_map {
            if !is_plain(&shard) {
                return Err(wrong(format!(
                    "`{tensor}` is said to be in {shard:?}, which is not the name of a safetensors file beside it"
                )));
            }
            shards.entry(shard).or_default().push(tensor);
        }
        let missing: Vec<String> = shards
            .keys()
            .filter(|shard| !folder.join(shard).is_file())
            .cloned()
            .collect();
        let index = Self {
            origin,
            folder: folder.to_owned(),
            shards,
        };
        if missing.is_empty() {
            Ok(Some(index))
        } else {
            let of = format!("of {} files missing", index.shards.len());
            Err(index.misfit(listed(&of, &missing)))
        }
    }

    /// The index itself, for messages.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The files, in the order of their names, each with the tensors that it should have.
    pub fn shards(&self) -> impl Iterator<Item = (PathBuf, &[String])> {
        self.shards
            .iter()
            .map(|(name, tensors)| (self.folder.join(name), tensors.as_slice()))
    }

    /// The error of an index and files that contradict each other.
    pub(super) fn misfit(&self, problem: String) -> ModelError {
        ModelError::Shards {
            origin: self.origin.clone(),
            problem,
        }
    }
}

/// Whether `name` can only mean a safetensors file of the same folder.
fn is_plain(name: &str) -> bool {
    let path = Path::new(name);
    path.file_name().is_some_and(|file| file == name)
        && path.extension().is_some_and(|end| end == "safetensors")
        && !name.contains(['/', '\\', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_lies_beside_its_index() {
        assert!(is_plain("model-00001-of-00002.safetensors"));
        for name in [
            "",
            "..",
            "../model.safetensors",
            "/etc/model.safetensors",
            "sub/model.safetensors",
            "sub\\model.safetensors",
            "./model.safetensors",
            "model.safetensors/",
            "pytorch_model.bin",
            ".safetensors",
        ] {
            assert!(!is_plain(name), "{name}");
        }
    }
}
