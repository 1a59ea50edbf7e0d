//! Finding and reading a model's files.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Architecture, Builtin, Config, ModelError, ShardIndex, WeightFile};
use crate::digest::{sha256, sha256_of_file};

/// What a model is.
pub const CONFIG: &str = "config.json";
pub const WEIGHTS: &str = "model.safetensors";
/// Says which of several files has which tensor, where [`WEIGHTS`] is absent.
pub const INDEX: &str = "model.safetensors.index.json";
/// How files of other formats end that may hold what [`WEIGHTS`] should.
const OTHERS: &[&str] = &["bin", "pt", "pth", "ckpt", "h5", "msgpack", "gguf", "onnx"];
const GENERATION: &str = "generation_config.json";
/// Small files that belong to a model where they are there: how text is written with it, and its tokenizer.
pub const COMPANIONS: &[&str] = &[
    GENERATION,
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
];

/// A file's name and its bytes.
pub type NamedFile = (&'static str, Cow<'static, [u8]>);

/// Where a folder has its weights.
enum WeightPaths {
    One(PathBuf),
    Several(ShardIndex),
}

/// Where a model's files lie: a folder in Hugging Face's layout, or the binary.
#[derive(Debug, Clone)]
pub enum ModelFiles {
    Folder(PathBuf),
    Builtin(&'static Builtin),
}

impl ModelFiles {
    /// `builtin:NAME` or a folder.
    ///
    /// # Errors
    /// Where there is neither.
    pub fn find(path: &str) -> Result<Self, ModelError> {
        if let Some(name) = path.strip_prefix("builtin:") {
            return Builtin::named(name)
                .map(Self::Builtin)
                .ok_or_else(|| ModelError::NoBuiltin {
                    name: name.to_owned(),
                    known: Builtin::names().into_iter().map(str::to_owned).collect(),
                });
        }
        let folder = PathBuf::from(path);
        if folder.is_dir() {
            Ok(Self::Folder(folder))
        } else {
            Err(ModelError::NoFolder { path: folder })
        }
    }

    /// The file `name` for messages.
    #[must_use]
    pub fn origin(&self, name: &str) -> String {
        match self {
            Self::Folder(folder) => folder.join(name).display().to_string(),
            Self::Builtin(builtin) => format!("builtin:{}/{name}", builtin.name),
        }
    }

    /// The bytes of `config.json`, and its name for messages.
    ///
    /// # Errors
    /// Where it is absent or unreadable.
    pub fn config(&self) -> Result<(Cow<'static, [u8]>, String), ModelError> {
        let origin = self.origin(CONFIG);
        match self.read(CONFIG)? {
            Some(bytes) => Ok((bytes, origin)),
            None => Err(ModelError::NoConfig {
                folder: Path::new(&origin)
                    .parent()
                    .map_or_else(PathBuf::new, Path::to_owned),
            }),
        }
    }

    /// `generation_config.json`, where it is there.
    ///
    /// # Errors
    /// Where it is unreadable or no JSON object.
    pub fn generation_config(&self) -> Result<Option<Config>, ModelError> {
        let bytes = self.read(GENERATION)?;
        bytes
            .map(|bytes| Config::parse(&bytes, &self.origin(GENERATION), None))
            .transpose()
    }

    /// The weights, their names made Hugging Face's full paths by `canonical`.
    ///
    /// # Errors
    /// No safetensors file, another format, an unreadable or malformed file, two names that mean one tensor; an index
    /// of several files that does not fit them.
    pub fn weights(&self, canonical: impl Fn(&str) -> String) -> Result<WeightFile, ModelError> {
        match self {
            Self::Builtin(builtin) => {
                let bytes = builtin.file(WEIGHTS).ok_or_else(|| ModelError::NoWeights {
                    folder: self.origin("").into(),
                })?;
                WeightFile::from_static(bytes, &self.origin(WEIGHTS), canonical)
            }
            Self::Folder(folder) => match WeightPaths::of(folder)? {
                WeightPaths::One(path) => WeightFile::map(&path, canonical),
                WeightPaths::Several(index) => WeightFile::map_shards(&index, canonical),
            },
        }
    }

    /// The small files that belong to the model and are there, its tokenizer's among them: name and bytes.
    ///
    /// # Errors
    /// Where one is unreadable.
    pub fn companions(&self) -> Result<Vec<NamedFile>, ModelError> {
        let mut found = Vec::new();
        for &name in COMPANIONS {
            if let Some(bytes) = self.read(name)? {
                found.push((name, bytes));
            }
        }
        Ok(found)
    }

    /// The longest sequence that the model takes, in tokens, as its `config.json` has it.
    ///
    /// # Errors
    /// Where `config.json` is absent or not that of a model that is served.
    pub fn max_positions(&self) -> Result<usize, ModelError> {
        let (bytes, origin) = self.config()?;
        let config = Config::parse(&bytes, &origin, None)?;
        let positions = (Architecture::of(&config)?.positions)(&config)?;
        Ok(usize::try_from(positions).unwrap_or(0))
    }

    /// One sha256 for `config.json` and, where `weights` are asked for, the safetensors files: that of their own, one
    /// after the other in hexadecimal. Of several weight files each counts, in the order of their names; their index
    /// does not, since it says nothing that they do not.
    ///
    /// # Errors
    /// Where a file is absent or unreadable.
    pub fn sha256(&self, weights: bool) -> Result<String, ModelError> {
        let mut parts = sha256(&self.config()?.0);
        if weights {
            parts += &match self {
                Self::Builtin(builtin) => sha256(builtin.file(WEIGHTS).unwrap_or_default()),
                Self::Folder(folder) => WeightPaths::of(folder)?.sha256()?,
            };
        }
        Ok(sha256(parts.as_bytes()))
    }

    fn read(&self, name: &str) -> Result<Option<Cow<'static, [u8]>>, ModelError> {
        match self {
            Self::Builtin(builtin) => Ok(builtin.file(name).map(Cow::Borrowed)),
            Self::Folder(folder) => read_if_there(&folder.join(name)),
        }
    }
}

impl WeightPaths {
    /// `model.safetensors`, else the files that `model.safetensors.index.json` names.
    fn of(folder: &Path) -> Result<Self, ModelError> {
        let path = folder.join(WEIGHTS);
        if path.is_file() {
            return Ok(Self::One(path));
        }
        if let Some(index) = ShardIndex::find(folder, INDEX)? {
            return Ok(Self::Several(index));
        }
        let folder = folder.to_owned();
        let found = other_formats(&folder);
        Err(if found.is_empty() {
            ModelError::NoWeights { folder }
        } else {
            ModelError::OtherFormat { folder, found }
        })
    }

    /// The sha256 of each file, one after the other.
    fn sha256(&self) -> Result<String, ModelError> {
        let paths = match self {
            Self::One(path) => vec![path.clone()],
            Self::Several(index) => index.shards().map(|(path, _)| path).collect(),
        };
        paths
            .into_iter()
            .map(|path| sha256_of_file(&path).map_err(|source| ModelError::Read { path, source }))
            .collect()
    }
}

/// The names of files in `folder` that look like weights of a format that is not read.
fn other_formats(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut found: Vec<String> = names
        .filter(|name| {
            let end = Path::new(name).extension().and_then(|end| end.to_str());
            end.is_some_and(|end| OTHERS.contains(&end))
        })
        .collect();
    found.sort();
    found
}

fn read_if_there(path: &Path) -> Result<Option<Cow<'static, [u8]>>, ModelError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(Cow::Owned(bytes))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ModelError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}
