//! From a path to a model that writes.

use serde_json::Value;
use tch::Device;

use super::{GenerateError, Sampling, Tokens};
use crate::data::{TextStream, Tokenizer};
use crate::model::{Architecture, Model};
use crate::sweep::fitting_tokenizer;
use crate::trained::Trained;

/// The head that scores the next token.
const LAYOUT: &str = "causal";

/// A decoder with its head and its tokenizer.
pub struct Writer {
    model: Model,
    tokenizer: Tokenizer,
    end_of_text: Vec<i64>,
}

impl Writer {
    /// Opens a model, as [`Model::open`] does, the folder of a run that is done and kept its weights, or that of a PEFT
    /// adapter; `base` names the model of an adapter that does not say it itself.
    ///
    /// # Errors
    /// What is missing or does not fit; a model that is no decoder.
    pub fn open(path: &str, base: Option<&str>, device: Device) -> Result<Self, GenerateError> {
        let trained = Trained::find(path, base)?;
        let path = &trained.model_path();
        let mut model = trained.open(device)?;
        let architecture = model.architecture();
        if architecture.layout(LAYOUT).is_err() {
            return Err(GenerateError::NotADecoder {
                path: path.to_owned(),
                architecture: architecture.model_type.to_owned(),
                known: decoders(),
            });
        }
        let vocabulary = model.vocabulary();
        model.build_head(LAYOUT, vocabulary)?;
        let learnt = trained.complete(&mut model)?;
        if let Some(layer) = model.head()?.description().untrained(&learnt) {
            return Err(GenerateError::NoScores {
                path: path.to_owned(),
                layer: layer.name.clone(),
            });
        }
        let tokenizer = fitting_tokenizer(&model)?;
        Ok(Self {
            end_of_text: end_of_text(&model)?,
            model,
            tokenizer,
        })
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
