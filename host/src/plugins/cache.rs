//! Tensors that a component makes once and keeps on the disk, for its calls in other runs and processes.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde_json::json;
use tch::{Device, TchError, Tensor};

use crate::atomic;
use crate::digest::sha256;
use crate::spec::Selection;

/// The kept tensors of one component with its parameters.
pub struct TensorCache {
    folder: PathBuf,
    /// What a file's name depends on beside layer and key.
    component: String,
}

impl TensorCache {
    /// Keeps files in `folder`, which is for runs that share everything else that a value may depend on.
    #[must_use]
    pub fn new(folder: &Path, selection: &Selection) -> Self {
        let Selection {
            name,
            parameters,
            sha256,
            ..
        } = selection;
        Self {
            folder: folder.to_owned(),
            component: json!([sha256, name, parameters]).to_string(),
        }
    }

    /// What was stored for a layer under a key, on the CPU. A file that cannot be read is as good as none.
    #[must_use]
    pub fn load(&self, layer: &str, key: &str) -> Option<Vec<Tensor>> {
        let path = self.path(layer, key);
        if !path.exists() {
            return None;
        }
        match Tensor::read_safetensors(&path).map(in_order) {
            Ok(Some(tensors)) => Some(tensors),
            Ok(None) => {
                tracing::warn!("{} holds other tensors: made anew", path.display());
                None
            }
            Err(error) => {
                tracing::warn!("{} cannot be read: made anew ({error})", path.display());
                None
            }
        }
    }

    /// Keeps tensors. Two processes that make the same at once write the same: the later file takes the earlier's place.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn store(&self, layer: &str, key: &str, tensors: &[Tensor]) -> io::Result<()> {
        let path = self.path(layer, key);
        fs::create_dir_all(&self.folder)?;
        let plain = |(place, tensor): (usize, &Tensor)| {
            let tensor = tensor.f_to_device(Device::Cpu)?.f_contiguous()?;
            Ok((place.to_string(), tensor))
        };
        let named: Result<Vec<_>, TchError> = tensors.iter().enumerate().map(plain).collect();
        let named = named.map_err(io::Error::other)?;
        tracing::debug!("keeping `{key}` of {layer} in {}", path.display());
        atomic::write(&path, |file| {
            Tensor::write_safetensors(&named, file.path()).map_err(io::Error::other)
        })
    }

    fn path(&self, layer: &str, key: &str) -> PathBuf {
        let name = json!([self.component, layer, key]).to_string();
        let name = &sha256(name.as_bytes())[..16];
        self.folder.join(format!("{name}.safetensors"))
    }
}

/// Tensors that are named by their places, if all are there.
fn in_order(mut named: Vec<(String, Tensor)>) -> Option<Vec<Tensor>> {
    let mut tensors = Vec::with_capacity(named.len());
    for place in 0..named.len() {
        let name = place.to_string();
        let found = named.iter().position(|(other, _)| *other == name)?;
        tensors.push(named.swap_remove(found).1);
    }
    Some(tensors)
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;

    fn selection(gamma: f64) -> Selection {
        Selection {
            name: "mine".to_owned(),
            parameters: Map::from_iter([("gamma".to_owned(), json!(gamma))]),
            sha256: "aa".to_owned(),
            file: "mine.so".into(),
        }
    }

    #[test]
    fn what_is_kept_comes_back_and_belongs_to_its_component() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("deep");
        let cache = TensorCache::new(&inner, &selection(1.0));
        assert!(cache.load("layer", "svd").is_none());
        // A view with other strides, and more tensors than one digit counts.
        let matrix = Tensor::from_slice(&[1_f32, 2., 3., 4., 5., 6.]).reshape([2, 3]);
        let mut tensors: Vec<Tensor> = (0..11_i64).map(Tensor::from).collect();
        tensors.push(matrix.transpose(0, 1));
        cache.store("layer", "svd", &tensors).unwrap();
        let found = cache.load("layer", "svd").unwrap();
        assert_eq!(found.len(), tensors.len());
        assert!(found.iter().zip(&tensors).all(|(a, b)| a.equal(b)));

        assert!(cache.load("layer", "qr").is_none());
        assert!(cache.load("other", "svd").is_none());
        let other = TensorCache::new(&inner, &selection(2.0));
        assert!(other.load("layer", "svd").is_none());

        let file = fs::read_dir(&inner).unwrap().next().unwrap().unwrap();
        fs::write(file.path(), "half").unwrap();
        assert!(cache.load("layer", "svd").is_none(), "broken");
    }
}
