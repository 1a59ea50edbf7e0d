//! Finding and reading a model's files.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Architecture, Builtin, Config, ModelError, WeightFile};
use crate::digest::{sha256, sha256_of_file};

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
/// Files of other formats that may hold what [`WEIGHTS`] should.
const OTHERS: &[&str] = &[
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "tf_model.h5",
];
const TOKENIZER: &[&str] = &[
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

    /// The weights, their names made Hugging Face's full paths by `canonical`.
    ///
    /// # Errors
    /// No safetensors file, another format, an unreadable or malformed file, two names that mean one tensor.
    pub fn weights(&self, canonical: impl Fn(&str) -> String) -> Result<WeightFile, ModelError> {
        match self {
            Self::Builtin(builtin) => {
                let bytes = builtin.file(WEIGHTS).ok_or_else(|| ModelError::NoWeights {
                    folder: self.origin("").into(),
                })?;
                WeightFile::from_static(bytes, &self.origin(WEIGHTS), canonical)
            }
            Self::Folder(folder) => {
                let path = folder.join(WEIGHTS);
                if path.is_file() {
                    return WeightFile::map(&path, canonical);
                }
                Err(
                    match OTHERS.iter().find(|name| folder.join(name).exists()) {
                        Some(found) => ModelError::OtherFormat {
                            folder: folder.clone(),
                            found: (*found).to_owned(),
                        },
                        None => ModelError::NoWeights {
                            folder: folder.clone(),
                        },
                    },
                )
            }
        }
    }

    /// The tokenizer's files that are there: name and bytes.
    ///
    /// # Errors
    /// Where one is unreadable.
    pub fn tokenizer(&self) -> Result<Vec<NamedFile>, ModelError> {
        let mut found = Vec::new();
        for &name in TOKENIZER {
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

    /// One sha256 for `config.json` and, where `weights` are asked for, `model.safetensors`: that of their own two, one
    /// after the other in hexadecimal.
    ///
    /// # Errors
    /// Where a file is absent or unreadable.
    pub fn sha256(&self, weights: bool) -> Result<String, ModelError> {
        let mut parts = sha256(&self.config()?.0);
        if weights {
            parts += &match self {
                Self::Builtin(builtin) => sha256(builtin.file(WEIGHTS).unwrap_or_default()),
                Self::Folder(folder) => {
                    let path = folder.join(WEIGHTS);
                    if !path.is_file() {
                        // Says which other files are there.
                        self.weights(str::to_owned)?;
                    }
                    sha256_of_file(&path).map_err(|source| ModelError::Read { path, source })?
                }
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
