//! Folders with the small reference models, and copies that a test may spoil.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use lorahost::model::{Model, ModelError, Options, Pass};
use lorahost::spec::Weights;
use serde_json::Value;
use tch::{Kind, Tensor};

pub use crate::options::options;

pub type Outcome = Result<(), Box<dyn Error>>;

pub const FAMILIES: [&str; 4] = [
    "tiny-bert-reference",
    "tiny-distilbert-reference",
    "tiny-roberta-reference",
    "tiny-gpt2-reference",
];

/// A model folder that a test may spoil.
pub struct Copy(tempfile::TempDir);

impl Copy {
    pub fn of(family: &str) -> Result<Self, Box<dyn Error>> {
        let copy = tempfile::tempdir()?;
        for name in ["config.json", "model.safetensors"] {
            fs::copy(reference(family).join(name), copy.path().join(name))?;
        }
        Ok(Self(copy))
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn path(&self) -> &str {
        self.0.path().to_str().unwrap_or_default()
    }

    /// Changes one setting.
    pub fn set(&self, key: &str, value: Value) -> Outcome {
        let mut config: Value = serde_json::from_slice(&fs::read(self.file("config.json"))?)?;
        config[key] = value;
        Ok(fs::write(self.file("config.json"), config.to_string())?)
    }

    pub fn open(&self) -> Result<Model, ModelError> {
        Model::open(self.path(), options(Weights::Pretrained))
    }

    /// Opening the folder must fail with all of `parts` in one line.
    pub fn refused(&self, parts: &[&str]) {
        match self.open() {
            Ok(_) => panic!("opened; expected an error with {parts:?}"),
            Err(error) => says(&error, parts),
        }
    }

    /// Each setting alone must be refused by its name, and the folder is then as it was.
    pub fn refuses(&self, settings: &[(&str, Value)]) -> Outcome {
        let before = fs::read(self.file("config.json"))?;
        for (key, value) in settings {
            self.set(key, value.clone())?;
            self.refused(&["config.json", &format!("`{key}`")]);
            fs::write(self.file("config.json"), &before)?;
        }
        self.open()?;
        Ok(())
    }
}

pub fn says(error: &ModelError, parts: &[&str]) {
    let text = error.to_string();
    assert!(!text.contains('\n'), "{text}");
    for part in parts {
        assert!(text.contains(part), "{text}\nlacks {part}");
    }
}

pub fn reference(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(family)
}

pub fn open(family: &str) -> Result<Model, Box<dyn Error>> {
    open_folder(&reference(family), options(Weights::Pretrained))
}

pub fn open_folder(folder: &Path, options: Options) -> Result<Model, Box<dyn Error>> {
    Ok(Model::open(folder.to_str().ok_or("path")?, options)?)
}

/// Hidden states of three rows of 4, 3 and 1 tokens.
pub fn hidden(model: &Model) -> Result<Tensor, ModelError> {
    hidden_of(model, &[4, 5, 6, 7, 8, 9, 10, 11], &[0, 4, 7, 8])
}

pub fn hidden_of(model: &Model, ids: &[i64], offsets: &[i64]) -> Result<Tensor, ModelError> {
    let batch = model.pack(&Tensor::from_slice(ids), offsets)?;
    tch::no_grad(|| model.forward(&batch, &Pass::evaluation()))
}

pub fn close(found: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!(found.size(), expected.size());
    let difference = (found - expected).abs().max().double_value(&[]);
    assert!(difference <= tolerance, "differs by {difference}");
}

/// The standard deviation of all elements.
pub fn deviation(tensor: &Tensor) -> f64 {
    tensor.to_kind(Kind::Double).std(true).double_value(&[])
}
