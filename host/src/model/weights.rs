//! Reading safetensors files.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::slice;
use std::sync::Arc;

use memmap2::{MmapOptions, MmapRaw};
use safetensors::tensor::{Dtype, Metadata, SafeTensorError, SafeTensors};
use serde::Serialize;
use tch::{Kind, Tensor};

use super::error::{listed, shown};
use super::{ModelError, ShardIndex};
use crate::native;

/// A safetensors file or several that make up one model, mapped privately: workers share their pages until they write to
/// them.
#[derive(Debug)]
pub struct WeightFile {
    origin: String,
    sources: Vec<Source>,
    entries: BTreeMap<String, Entry>,
}

/// What weight files hold, by their headers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WeightSummary {
    pub files: usize,
    pub tensors: usize,
    /// Of all files.
    pub bytes: u64,
    /// Number of tensors by their type: `F32`, `BF16`.
    pub types: BTreeMap<String, usize>,
}

/// One file.
#[derive(Debug)]
struct Source {
    origin: String,
    bytes: Bytes,
}

#[derive(Debug)]
enum Bytes {
    Mapped(Arc<MmapRaw>),
    Static(&'static [u8]),
}

/// One tensor.
#[derive(Debug)]
struct Entry {
    /// The place of its file.
    source: usize,
    shape: Vec<i64>,
    dtype: Dtype,
    range: Range<usize>,
}

impl WeightFile {
    /// Maps `path`; `canonical` turns the file's names into those that the model asks for.
    ///
    /// # Errors
    /// An unreadable or malformed file, two names that mean one tensor.
    pub fn map(path: &Path, canonical: impl Fn(&str) -> String) -> Result<Self, ModelError> {
        let mut file = Self::empty(path.display().to_string());
        file.add(Source::map(path)?, canonical)?;
        Ok(file)
    }

    /// Maps the files that `index` names.
    ///
    /// # Errors
    /// As [`WeightFile::map`] for each file; a tensor that is in two of them, or not in the one that the index says.
    pub fn map_shards(
        index: &ShardIndex,
        canonical: impl Fn(&str) -> String,
    ) -> Result<Self, ModelError> {
        let mut file = Self::empty(index.origin().to_owned());
        let mut absent = Vec::new();
        for (path, tensors) in index.shards() {
            file.add(Source::map(&path)?, &canonical)?;
            let here = file.sources.len() - 1;
            let elsewhere = tensors.iter().filter(|name| {
                file.entries
                    .get(&canonical(name))
                    .is_none_or(|entry| entry.source != here)
            });
            absent.extend(elsewhere.map(|name| format!("`{}` ({})", shown(name), path.display())));
        }
        if absent.is_empty() {
            Ok(file)
        } else {
            Err(index.misfit(listed("not in the file that it says", &absent)))
        }
    }

    /// As [`WeightFile::map`], for a file that lies in the binary.
    ///
    /// # Errors
    /// Malformed bytes, two names that mean one tensor.
    pub fn from_static(
        bytes: &'static [u8],
        origin: &str,
        canonical: impl Fn(&str) -> String,
    ) -> Result<Self, ModelError> {
        let mut file = Self::empty(origin.to_owned());
        let source = Source {
            origin: origin.to_owned(),
            bytes: Bytes::Static(bytes),
        };
        file.add(source, canonical)?;
        Ok(file)
    }

    /// The file, or the index of several, for messages.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Number and size of files and tensors.
    #[must_use]
    pub fn summary(&self) -> WeightSummary {
        let mut types = BTreeMap::new();
        for entry in self.entries.values() {
            *types.entry(format!("{:?}", entry.dtype)).or_default() += 1;
        }
        let sizes = self
            .sources
            .iter()
            .map(|source| source.bytes.get().len() as u64);
        WeightSummary {
            files: self.sources.len(),
            tensors: self.entries.len(),
            bytes: sizes.sum(),
            types,
        }
    }

    /// Every name, made canonical, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The shape of `name`, where the file has it.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<&[i64]> {
        self.entries.get(name).map(|entry| entry.shape.as_slice())
    }

    /// The type of `name`, where the files have it; one that is not read is an error as text.
    #[must_use]
    pub fn kind(&self, name: &str) -> Option<Result<Kind, String>> {
        Some(match self.entries.get(name)?.dtype {
            Dtype::F32 => Ok(Kind::Float),
            Dtype::F16 => Ok(Kind::Half),
            Dtype::BF16 => Ok(Kind::BFloat16),
            other => Err(format!(
                "`{}` has type {other:?}, expected F32, F16 or BF16",
                shown(name)
            )),
        })
    }

    /// `name` as float32 on the CPU. Float32 of a file is its mapped memory, which is copied page by page where something
    /// is written; float16 and bfloat16 are widened. The outer option is whether the files have it.
    ///
    /// Mapped memory starts where the file has it, off 64 bytes: always by the same, so that products repeat bit for bit.
    ///
    /// # Errors
    /// A type other than these three, as text.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<Result<Tensor, String>> {
        let entry = self.entries.get(name)?;
        let bytes = &self.sources[entry.source].bytes;
        Some(self.kind(name)?.and_then(|kind| {
            let tensor = match bytes {
                Bytes::Mapped(map)
                    if kind == Kind::Float && entry.range.start % size_of::<f32>() == 0 =>
                {
                    native::blob::mapped(map, entry.range.clone(), &entry.shape)
                }
                // libtorch allocates by 64 bytes, which the file does not align to.
                _ => {
                    Tensor::f_from_data_size(&bytes.get()[entry.range.clone()], &entry.shape, kind)
                        .and_then(|tensor| tensor.f_to_kind(Kind::Float))
                }
            };
            tensor.map_err(|error| format!("`{}`: {error}", shown(name)))
        }))
    }

    fn empty(origin: String) -> Self {
        Self {
            origin,
            sources: Vec::new(),
            entries: BTreeMap::new(),
        }
    }

    /// Takes the tensors of one more file.
    fn add(
        &mut self,
        source: Source,
        canonical: impl Fn(&str) -> String,
    ) -> Result<(), ModelError> {
        let wrong = |reason| ModelError::NotSafetensors {
            origin: source.origin.clone(),
            reason,
        };
        let (header, metadata) = read_header(source.bytes.get()).map_err(wrong)?;
        for (name, info) in metadata.tensors() {
            let shape = info
                .shape
                .iter()
                .map(|&size| i64::try_from(size))
                .collect::<Result<_, _>>();
            let entry = Entry {
                source: self.sources.len(),
                shape: shape.map_err(|_| wrong(format!("`{}` is too large", shown(&name))))?,
                dtype: info.dtype,
                range: header + info.data_offsets.0..header + info.data_offsets.1,
            };
            let name = canonical(&name);
            if let Some(earlier) = self.entries.get(&name) {
                return Err(match self.sources.get(earlier.source) {
                    Some(other) => ModelError::Shards {
                        origin: self.origin.clone(),
                        problem: format!(
                            "`{}` is in both {} and {}",
                            shown(&name),
                            other.origin,
                            source.origin
                        ),
                    },
                    None => wrong(format!("two tensors mean `{}`", shown(&name))),
                });
            }
            self.entries.insert(name, entry);
        }
        self.sources.push(source);
        Ok(())
    }
}

impl Source {
    #[expect(unsafe_code, reason = "weights are mapped")]
    fn map(path: &Path) -> Result<Self, ModelError> {
        let read = |source| ModelError::Read {
            path: path.to_owned(),
            source,
        };
        let origin = path.display().to_string();
        let file = File::open(path).map_err(read)?;
        if file.metadata().map_err(read)?.len() == 0 {
            return Err(ModelError::NotSafetensors {
                origin,
                reason: "it is empty".to_owned(),
            });
        }
        // SAFETY: what is written to the mapping is this process's alone. A file that another process cuts short while it
        // is mapped ends this one by a signal; model files are replaced, not rewritten.
        let map = unsafe { MmapOptions::new().map_copy(&file) }.map_err(read)?;
        Ok(Self {
            origin,
            bytes: Bytes::Mapped(Arc::new(map.into())),
        })
    }
}

impl Bytes {
    #[expect(unsafe_code, reason = "weights are mapped")]
    fn get(&self) -> &[u8] {
        match self {
            // SAFETY: the mapping is whole and lives as long as `self`; nobody writes to it while the slice is read, for
            // a model's tensors are made before they learn.
            Self::Mapped(map) => unsafe { slice::from_raw_parts(map.as_ptr(), map.len()) },
            Self::Static(bytes) => bytes,
        }
    }
}

/// Where the data starts, and the checked header: the data's ranges are whole, in order and within the file.
fn read_header(bytes: &[u8]) -> Result<(usize, Metadata), String> {
    // Some of its errors repeat a name of the file.
    let reason = |error: SafeTensorError| shown(&error.to_string());
    SafeTensors::deserialize(bytes).map_err(reason)?;
    let (length, metadata) = SafeTensors::read_metadata(bytes).map_err(reason)?;
    Ok((8 + length, metadata))
}
