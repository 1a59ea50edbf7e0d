//! From a path to a model that writes.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tch::Device;

use super::{GenerateError, Sampling, Tokens};
use crate::data::{TextStream, Tokenizer};
use crate::hub::resolve_recorded_model;
use crate::model::{Architecture, Model, ModelFiles, Options};
use crate::record::{RunState, is_run, state};
use crate::spec::{ModelSpec, Save, Seeds, Weights};
use crate::sweep::fitting_tokenizer;
use crate::train::{ADAPTER_FILE, MODEL_FOLDER};

/// The head that scores the next token.
const LAYOUT: &str = "causal";

/// A decoder with its head and its tokenizer.
pub struct Writer {
    model: Model,
    tokenizer: Tokenizer,
    end_of_text: Vec<i64>,
}

impl Writer {
    /// Opens a model, as [`Model::open`] does, or the folder of a run that is done and kept its weights.
    ///
    /// # Errors
    /// What is missing or does not fit; a model that is no decoder.
    pub fn open(path: &str, device: Device) -> Result<Self, GenerateError> {
        let folder = Path::new(path);
        if !is_run(folder) {
            return Self::of_model(path, device);
        }
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let (spec, revisions) = match state(&folder)? {
            RunState::Done(record) => (record.spec.spec, record.result.provenance.revisions),
            RunState::Unfinished(why) => return Err(GenerateError::Unfinished { folder, why }),
            RunState::Absent => {
                let why = "its folder is empty".to_owned();
                return Err(GenerateError::Unfinished { folder, why });
            }
        };
        match spec.train.save {
            Save::None => Err(GenerateError::NothingSaved { folder }),
            Save::Full => Self::of_model(&existing(folder, MODEL_FOLDER)?, device),
            Save::Adapter => {
                let adapter = existing(folder.clone(), ADAPTER_FILE)?;
                let model = resolve_recorded_model(&spec.model.path, revisions.model.as_deref())?;
                check_base(&folder, &spec.model, &model, revisions.model_sha256)?;
                let options = options(spec.model.weights, spec.seeds, device);
                let base = Model::open(&model, options).map_err(|source| GenerateError::Base {
                    folder,
                    model: spec.model.path.clone(),
                    source: Box::new(source),
                })?;
                Self::of(base, &model, Some(Path::new(&adapter)))
            }
        }
    }

    /// At most `max_new_tokens` tokens after `prompt`.
    ///
    /// # Errors
    /// A prompt that is empty or too long.
    pub fn write(
        &self,
        prompt: &[i64],
        max_new_tokens: usize,
        sampling: Sampling,
        seed: u64,
    ) -> Result<Tokens<'_>, GenerateError> {
        let end = &self.end_of_text;
        Tokens::new(&self.model, prompt, max_new_tokens, sampling, seed, end)
    }

    /// The token ids of a prompt, with those that the tokenizer puts before a text.
    ///
    /// # Errors
    /// A text of nothing; one that the tokenizer fails on.
    pub fn prompt(&self, text: &str) -> Result<Vec<i64>, GenerateError> {
        if text.is_empty() {
            return Err(GenerateError::EmptyPrompt);
        }
        let ids = self.tokenizer.encode(text)?;
        Ok(ids.into_iter().map(i64::from).collect())
    }

    /// Gives the text of tokens that follow `prompt`, piece by piece.
    ///
    /// # Errors
    /// What the tokenizer fails on.
    pub fn text_after(&self, prompt: &[i64]) -> Result<TextStream<'_>, GenerateError> {
        let mut text = self.tokenizer.text_stream();
        for &id in prompt {
            text.push(id)?;
        }
        Ok(text)
    }

    fn of_model(path: &str, device: Device) -> Result<Self, GenerateError> {
        let seeds = Seeds {
            init: 0,
            data: 0,
            dropout: 0,
            head: 0,
        };
        let model = Model::open(path, options(Weights::Pretrained, seeds, device))?;
        Self::of(model, path, None)
    }

    fn of(mut model: Model, path: &str, adapter: Option<&Path>) -> Result<Self, GenerateError> {
        let architecture = model.architecture();
        if architecture.layout(LAYOUT).is_err() {
            return Err(GenerateError::NotADecoder {
                path: path.to_owned(),
                architecture: architecture.model_type.to_owned(),
                known: decoders(),
            });
        }
        let vocabulary = model.vocabulary();
        let head = model.build_head(LAYOUT, vocabulary)?;
        // One that shares the words' table has its weights wherever that has them.
        let mut layers = head.description().layers.iter();
        let new = layers.find(|layer| !layer.pretrained && !layer.tied);
        let new = new.map(|layer| layer.name.clone());
        let learnt = match adapter {
            Some(adapter) => model.load_adapter(adapter)?,
            None => Vec::new(),
        };
        if let Some(layer) = new
            && !learnt
                .iter()
                .any(|name| name.starts_with(&format!("{layer}.")))
        {
            let path = path.to_owned();
            return Err(GenerateError::NoScores { path, layer });
        }
        let tokenizer = fitting_tokenizer(&model)?;
        Ok(Self {
            end_of_text: end_of_text(&model)?,
            model,
            tokenizer,
        })
    }
}

/// Refuses a model that is not the one that the run `folder` was trained on: an adapter fits any of its shape.
fn check_base(
    folder: &Path,
    spec: &ModelSpec,
    path: &str,
    recorded: Option<String>,
) -> Result<(), GenerateError> {
    let Some(expected) = recorded else {
        tracing::warn!(
            "the record of {} is an older program's and does not say which weights it was trained on: those of {} are \
             taken",
            folder.display(),
            spec.path
        );
        return Ok(());
    };
    let base = |source| GenerateError::Base {
        folder: folder.to_owned(),
        model: spec.path.clone(),
        source: Box::new(source),
    };
    let files = ModelFiles::find(path).map_err(base)?;
    let pretrained = spec.weights == Weights::Pretrained;
    let found = files.sha256(pretrained).map_err(base)?;
    if found == expected {
        return Ok(());
    }
    Err(GenerateError::OtherBase {
        folder: folder.to_owned(),
        model: spec.path.clone(),
        expected,
        found,
    })
}

fn options(weights: Weights, seeds: Seeds, device: Device) -> Options {
    Options {
        weights,
        dropout: None,
        device,
        seeds,
    }
}

/// What a run should have kept.
fn existing(folder: PathBuf, name: &str) -> Result<String, GenerateError> {
    let path = folder.join(name);
    if path.exists() {
        Ok(path.display().to_string())
    } else {
        Err(GenerateError::NothingSaved { folder })
    }
}

/// Names of the architectures that score the next token.
fn decoders() -> Vec<&'static str> {
    let all = Architecture::all().into_iter();
    all.filter(|architecture| architecture.layout(LAYOUT).is_ok())
        .map(|architecture| architecture.model_type)
        .collect()
}

/// The tokens that end a text: those of `generation_config.json`, else of `config.json`.
fn end_of_text(model: &Model) -> Result<Vec<i64>, GenerateError> {
    const KEY: &str = "eos_token_id";
    let own = model.config();
    let generation = model.files().generation_config()?;
    let mut places = generation.iter().chain([own]);
    let found = places.find_map(|config| Some((config, config.present(KEY)?)));
    let Some((config, value)) = found else {
        return Ok(Vec::new());
    };
    let one = value.as_i64().map(|id| vec![id]);
    let several = || value.as_array()?.iter().map(Value::as_i64).collect();
    one.or_else(several)
        .ok_or_else(|| GenerateError::EndOfText {
            origin: config.origin().to_owned(),
            found: value.to_string(),
        })
}
