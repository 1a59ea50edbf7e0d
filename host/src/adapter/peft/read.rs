//! Reading an adapter's folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tch::Tensor;

use super::{AdapterConfig, CONFIG_FILE, PREFIX, PeftContent, PeftError, PeftLayer, WEIGHTS_FILE};
use crate::digest::{sha256, sha256_of_file};
use crate::model::{WeightFile, listed, shown};

/// Files of weights that are not read.
const OTHERS: &[&str] = &["adapter_model.bin", "adapter_model.pt", "adapter_model.pth"];

/// The largest configuration that is read, in bytes: what PEFT writes has a few thousand.
const LARGEST_CONFIG: u64 = 16 << 20;

/// Whether `folder` is one that PEFT wrote.
#[must_use]
pub fn is_peft_folder(folder: &Path) -> bool {
    folder.join(CONFIG_FILE).is_file()
}

/// A folder with an adapter: its configuration is read and checked, its weights are mapped.
#[derive(Debug)]
pub struct PeftFolder {
    pub config: AdapterConfig,
    weights_path: PathBuf,
    weights: WeightFile,
}

/// A key of the weights, taken apart.
enum Key<'a> {
    A(&'a str),
    B(&'a str),
    Whole(&'a str),
    Other,
}

impl PeftFolder {
    /// Opens `folder`. Nothing of the weights is read yet but their header.
    ///
    /// # Errors
    /// Files that are absent, malformed or of another format; settings that are not served.
    pub fn open(folder: &Path) -> Result<Self, PeftError> {
        let path = folder.join(CONFIG_FILE);
        let missing = |name| PeftError::Missing {
            folder: folder.to_owned(),
            name,
        };
        if !path.is_file() {
            return Err(missing(CONFIG_FILE));
        }
        let config = AdapterConfig::parse(&read_bounded(&path)?, &path)?;
        let weights_path = folder.join(WEIGHTS_FILE);
        if !weights_path.is_file() {
            let other = OTHERS.iter().find(|name| folder.join(name).exists());
            return Err(match other {
                Some(found) => PeftError::Pickle {
                    folder: folder.to_owned(),
                    found: (*found).to_owned(),
                },
                None => missing(WEIGHTS_FILE),
            });
        }
        let weights =
            WeightFile::map(&weights_path, str::to_owned).map_err(|error| PeftError::Weights {
                reason: error.to_string(),
            })?;
        Ok(Self {
            config,
            weights_path,
            weights,
        })
    }

    /// The sha256 of what an adapter in `folder` is: that of its configuration and of its weights, one after the other.
    ///
    /// # Errors
    /// Where a file is absent or unreadable.
    pub fn sha256(folder: &Path) -> Result<String, PeftError> {
        let of = |name: &str| {
            let path = folder.join(name);
            sha256_of_file(&path).map_err(|source| PeftError::Read { path, source })
        };
        Ok(sha256((of(CONFIG_FILE)? + &of(WEIGHTS_FILE)?).as_bytes()))
    }

    /// The file of the weights, for messages.
    #[must_use]
    pub fn weights_path(&self) -> &Path {
        &self.weights_path
    }

    /// Reads the factors and the modules that were trained whole, as float32. Module paths are as the file has them,
    /// without PEFT's prefix.
    ///
    /// # Errors
    /// Keys that are not an adapter's, a module without one of its factors, shapes that do not fit each other or the
    /// configuration, types that are not read; all of them at once.
    pub fn content(&self) -> Result<PeftContent, PeftError> {
        let mut factors: BTreeMap<&str, [Option<&str>; 2]> = BTreeMap::new();
        let mut whole = Vec::new();
        let (mut without_prefix, mut unknown) = (Vec::new(), Vec::new());
        for name in self.weights.names() {
            match Key::of(name) {
                Some(Key::A(module)) => factors.entry(module).or_default()[0] = Some(name),
                Some(Key::B(module)) => factors.entry(module).or_default()[1] = Some(name),
                Some(Key::Whole(parameter)) => whole.push((parameter, name)),
                Some(Key::Other) => unknown.push(shown(name)),
                None => without_prefix.push(shown(name)),
            }
        }
        let mut problems = Vec::new();
        let mut report = |what: &str, names: &[String]| {
            if !names.is_empty() {
                problems.push(listed(what, names));
            }
        };
        report(&format!("without the prefix `{PREFIX}`"), &without_prefix);
        report("not of plain LoRA", &unknown);
        let halves = |missing: usize| -> Vec<String> {
            let lacking = factors.iter().filter(|(_, pair)| pair[missing].is_none());
            lacking.map(|(module, _)| shown(module)).collect()
        };
        report("without lora_A", &halves(0));
        report("without lora_B", &halves(1));
        let pairs = factors
            .iter()
            .filter_map(|(module, [a, b])| Some((*module, (*a)?, (*b)?)));
        let pairs: Vec<_> = pairs.collect();
        let of_wrong_shape = pairs
            .iter()
            .filter_map(|(module, a, b)| self.misshaped(module, a, b));
        report("of wrong shape", &of_wrong_shape.collect::<Vec<_>>());
        if pairs.is_empty() && problems.is_empty() {
            problems.push("it has no factors".to_owned());
        }
        if !problems.is_empty() {
            return Err(self.misfit(problems));
        }
        let layers = pairs.into_iter().map(|(module, a, b)| {
            Ok(PeftLayer {
                module: module.to_owned(),
                a: self.tensor(a)?,
                b: self.tensor(b)?,
                scale: self.config.scale_of(module),
            })
        });
        Ok(PeftContent {
            layers: layers.collect::<Result<_, PeftError>>()?,
            modules_to_save: self.config.modules_to_save.clone(),
            saved: whole
                .into_iter()
                .map(|(parameter, name)| Ok((parameter.to_owned(), self.tensor(name)?)))
                .collect::<Result<_, PeftError>>()?,
        })
    }

    /// The first dimension of the parameter `name`, where the file has it whole or, of a weight, LoRA's B for it.
    #[must_use]
    pub fn rows_of(&self, module: &str) -> Option<i64> {
        let ends = ["weight", "bias", "lora_B.weight"];
        let mut shapes = ends
            .iter()
            .filter_map(|end| self.weights.shape(&format!("{PREFIX}{module}.{end}")));
        shapes.find_map(|shape| shape.first().copied())
    }

    /// What does not fit, about this file.
    #[must_use]
    pub fn misfit(&self, problems: Vec<String>) -> PeftError {
        PeftError::Misfit {
            path: self.weights_path.clone(),
            problems,
        }
    }

    fn misshaped(&self, module: &str, a: &str, b: &str) -> Option<String> {
        let (a, b) = (self.weights.shape(a)?, self.weights.shape(b)?);
        let rank = self.config.rank_of(module);
        let fits = matches!((a, b), (&[of_a, _], &[_, of_b]) if of_a == rank && of_b == rank);
        (!fits).then(|| {
            let module = shown(module);
            format!("`{module}` (A {a:?}, B {b:?}, rank {rank} by adapter_config.json)")
        })
    }

    fn tensor(&self, name: &str) -> Result<Tensor, PeftError> {
        let read = self.weights.tensor(name);
        let read = read.unwrap_or_else(|| Err(format!("there is no `{}`", shown(name))));
        read.map_err(|reason| self.misfit(vec![reason]))
    }
}

impl<'a> Key<'a> {
    /// None where PEFT's prefix is not there: PEFT would load the key to no effect.
    fn of(name: &'a str) -> Option<Self> {
        let path = name.strip_prefix(PREFIX)?;
        Some(if let Some(module) = path.strip_suffix(".lora_A.weight") {
            Self::A(module)
        } else if let Some(module) = path.strip_suffix(".lora_B.weight") {
            Self::B(module)
        } else if path.split('.').any(|step| step.starts_with("lora_")) {
            // Magnitudes of DoRA, factors of embeddings, biases of factors.
            Self::Other
        } else {
            Self::Whole(path)
        })
    }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, PeftError> {
    let read = |source| PeftError::Read {
        path: path.to_owned(),
        source,
    };
    let length = fs::metadata(path).map_err(read)?.len();
    if length > LARGEST_CONFIG {
        return Err(PeftError::Value {
            path: path.to_owned(),
            key: "size".to_owned(),
            found: format!("{length} bytes"),
            expected: format!("at most {LARGEST_CONFIG}"),
        });
    }
    fs::read(path).map_err(read)
}
