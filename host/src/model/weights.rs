//! Reading a safetensors file.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::slice;
use std::sync::Arc;

use memmap2::{MmapOptions, MmapRaw};
use safetensors::tensor::{Dtype, Metadata, SafeTensors};
use tch::{Kind, Tensor};

use super::ModelError;
use crate::native;

/// A safetensors file, mapped privately: workers share its pages until they write to them.
#[derive(Debug)]
pub struct WeightFile {
    origin: String,
    bytes: Bytes,
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
enum Bytes {
    Mapped(Arc<MmapRaw>),
    Static(&'static [u8]),
}

/// One tensor of the file.
#[derive(Debug)]
struct Entry {
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
        Self::new(Bytes::Mapped(Arc::new(map.into())), origin, canonical)
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
        Self::new(Bytes::Static(bytes), origin.to_owned(), canonical)
    }

    /// The file, for messages.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
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

    /// `name` as float32 on the CPU. Float32 of a file is its mapped memory, which is copied page by page where something
    /// is written; float16 and bfloat16 are widened. The outer option is whether the file has it.
    ///
    /// Mapped memory starts where the file has it, off 64 bytes: always by the same, so that products repeat bit for bit.
    ///
    /// # Errors
    /// A type other than these three, as text.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<Result<Tensor, String>> {
        let entry = self.entries.get(name)?;
        let kind = match entry.dtype {
            Dtype::F32 => Kind::Float,
            Dtype::F16 => Kind::Half,
            Dtype::BF16 => Kind::BFloat16,
            other => {
                return Some(Err(format!(
                    "`{name}` has type {other:?}, expected F32, F16 or BF16"
                )));
            }
        };
        if let (Kind::Float, Bytes::Mapped(map)) = (kind, &self.bytes)
            && entry.range.start % size_of::<f32>() == 0
        {
            let tensor = native::blob::mapped(map, entry.range.clone(), &entry.shape);
            return Some(tensor.map_err(|error| format!("`{name}`: {error}")));
        }
        let bytes = &self.bytes.get()[entry.range.clone()];
        // libtorch allocates by 64 bytes, which the file does not align to.
        let copied = Tensor::f_from_data_size(bytes, &entry.shape, kind)
            .and_then(|tensor| tensor.f_to_kind(Kind::Float));
        Some(copied.map_err(|error| format!("`{name}`: {error}")))
    }

    fn new(
        bytes: Bytes,
        origin: String,
        canonical: impl Fn(&str) -> String,
    ) -> Result<Self, ModelError> {
        let wrong = |reason| ModelError::NotSafetensors {
            origin: origin.clone(),
            reason,
        };
        let (header, metadata) = read_header(bytes.get()).map_err(wrong)?;
        let mut entries = BTreeMap::new();
        for (name, info) in metadata.tensors() {
            let shape = info
                .shape
                .iter()
                .map(|&size| i64::try_from(size))
                .collect::<Result<_, _>>();
            let entry = Entry {
                shape: shape.map_err(|_| wrong(format!("`{name}` is too large")))?,
                dtype: info.dtype,
                range: header + info.data_offsets.0..header + info.data_offsets.1,
            };
            if entries.insert(canonical(&name), entry).is_some() {
                return Err(wrong(format!("two tensors mean `{}`", canonical(&name))));
            }
        }
        Ok(Self {
            origin,
            bytes,
            entries,
        })
    }
}

impl Bytes {
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
    SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let (length, metadata) =
        SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
    Ok((8 + length, metadata))
}
