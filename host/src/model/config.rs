//! Reading `config.json`.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Activation, ModelError, activation};

/// Settings that change nothing of what a model computes: where it comes from, what its outputs are called, how others
/// run it, how text is generated with it.
const WITHOUT_EFFECT: &[&str] = &[
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_commit_hash",
    "_name_or_path",
    "_num_labels",
    "architectures",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "chunk_size_feed_forward",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "id2label",
    "initializer_range",
    "is_llama_config",
    "keys_to_ignore_at_inference",
    "label2id",
    "length_penalty",
    "max_length",
    "max_sequence_length",
    "min_length",
    "model_type",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "output_scores",
    "pad_token_id",
    "prefix",
    "problem_type",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tie_weights_",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "typical_p",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
    // Of heads that are not served: DistilBERT's for questions, GPT-2's for several choices, BERT's old poolers.
    "qa_dropout",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
    "directionality",
    "pooler_fc_size",
    "pooler_num_attention_heads",
    "pooler_num_fc_layers",
    "pooler_size_per_head",
    "pooler_type",
    // GPT-2's second name of `n_positions`.
    "n_ctx",
    "n_special",
    "predict_special_tokens",
];

/// A model's `config.json`, read key by key: a setting that is not served here is an error that names it.
#[derive(Debug, Clone)]
pub struct Config {
    origin: String,
    values: Map<String, Value>,
    dropout: Option<f64>,
    /// Keys that were asked for.
    read: RefCell<BTreeSet<String>>,
}

impl Config {
    /// Reads the bytes of `origin`; `dropout` replaces every dropout probability.
    ///
    /// # Errors
    /// Where the bytes are no JSON object.
    pub fn parse(bytes: &[u8], origin: &str, dropout: Option<f64>) -> Result<Self, ModelError> {
        let values = serde_json::from_slice(bytes).map_err(|source| ModelError::NotJson {
            origin: origin.to_owned(),
            source,
        })?;
        Ok(Self {
            origin: origin.to_owned(),
            values,
            dropout,
            read: RefCell::default(),
        })
    }

    /// Every key as it stands in the file.
    #[must_use]
    pub fn values(&self) -> &Map<String, Value> {
        &self.values
    }

    /// The settings that nobody asked for so far though they may say something of the model: not those that are known
    /// to be without effect, nor those that are off (null, false, empty).
    #[must_use]
    pub fn unread(&self) -> Vec<String> {
        let read = self.read.borrow();
        let off = [
            Value::Null,
            false.into(),
            Map::new().into(),
            Vec::<Value>::new().into(),
        ];
        self.values
            .iter()
            .filter(|(key, value)| {
                let known = read.contains(*key) || WITHOUT_EFFECT.contains(&key.as_str());
                !known && !off.contains(value)
            })
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// Refuses what [`Config::unread`] finds.
    ///
    /// # Errors
    /// All such settings.
    pub fn refuse_unread(&self) -> Result<(), ModelError> {
        let keys = self.unread();
        if keys.is_empty() {
            return Ok(());
        }
        Err(ModelError::UnknownSettings {
            origin: self.origin.clone(),
            keys,
        })
    }

    /// The file, for messages.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// A text that must be there.
    ///
    /// # Errors
    /// Where it is absent or no text.
    pub fn text(&self, key: &str) -> Result<&str, ModelError> {
        let value = self.required(key)?;
        value
            .as_str()
            .ok_or_else(|| self.wrong(key, value, "a text"))
    }

    /// The object under `key`, where there is one that is not empty; its own keys are then named with it.
    ///
    /// # Errors
    /// Where it is no object.
    pub fn section(&self, key: &str) -> Result<Option<Self>, ModelError> {
        let Some(value) = self.present(key) else {
            return Ok(None);
        };
        let Some(values) = value.as_object() else {
            return Err(self.wrong(key, value, "an object"));
        };
        Ok((!values.is_empty()).then(|| Self {
            origin: format!("{}: in `{key}`", self.origin),
            values: values.clone(),
            dropout: self.dropout,
            read: RefCell::default(),
        }))
    }

    /// A text, or none where absent or null.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn text_if_there(&self, key: &str) -> Result<Option<&str>, ModelError> {
        self.present(key).map(|_| self.text(key)).transpose()
    }

    /// True or false, `default` where absent or null.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool, ModelError> {
        let Some(value) = self.present(key) else {
            return Ok(default);
        };
        value
            .as_bool()
            .ok_or_else(|| self.wrong(key, value, "true or false"))
    }

    /// A positive integer that must be there.
    ///
    /// # Errors
    /// Where it is absent, no integer, or outside 1 to 2^31 - 1.
    pub fn size(&self, key: &str) -> Result<i64, ModelError> {
        let value = self.required(key)?;
        let size = value
            .as_i64()
            .filter(|size| (1..=i64::from(i32::MAX)).contains(size));
        size.ok_or_else(|| self.wrong(key, value, "a positive integer"))
    }

    /// As [`Config::size`], or none where absent or null.
    ///
    /// # Errors
    /// Where it is no integer, or outside 1 to 2^31 - 1.
    pub fn optional_size(&self, key: &str) -> Result<Option<i64>, ModelError> {
        self.present(key).map(|_| self.size(key)).transpose()
    }

    /// A finite number above 0 that must be there.
    ///
    /// # Errors
    /// Where it is absent or something else.
    pub fn number(&self, key: &str) -> Result<f64, ModelError> {
        self.required(key)?;
        self.positive(key, 1.0)
    }

    /// A finite number above 0, `default` where absent.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn positive(&self, key: &str, default: f64) -> Result<f64, ModelError> {
        let Some(value) = self.present(key) else {
            return Ok(default);
        };
        let number = value
            .as_f64()
            .filter(|number| number.is_finite() && *number > 0.0);
        number.ok_or_else(|| self.wrong(key, value, "a number above 0"))
    }

    /// A dropout probability, `default` where absent or null; the replacement where there is one.
    ///
    /// # Errors
    /// Where it is outside `[0, 1)`.
    pub fn dropout(&self, key: &str, default: f64) -> Result<f64, ModelError> {
        let found = match self.present(key) {
            None => default,
            Some(value) => value
                .as_f64()
                .filter(|p| (0.0..1.0).contains(p))
                .ok_or_else(|| self.wrong(key, value, "a probability in [0, 1)"))?,
        };
        Ok(self.dropout.unwrap_or(found))
    }

    /// An activation by its name, `gelu` where absent.
    ///
    /// # Errors
    /// Where the name is not known here.
    pub fn activation(&self, key: &str) -> Result<Activation, ModelError> {
        self.activation_or(key, Activation::Gelu)
    }

    /// As [`Config::activation`], `default` where absent.
    ///
    /// # Errors
    /// Where the name is not known here.
    pub fn activation_or(&self, key: &str, default: Activation) -> Result<Activation, ModelError> {
        let Some(value) = self.present(key) else {
            return Ok(default);
        };
        value.as_str().and_then(activation::named).ok_or_else(|| {
            self.wrong(
                key,
                value,
                &format!("one of {}", activation::names().join(", ")),
            )
        })
    }

    /// A token id, or none where absent or null.
    ///
    /// # Errors
    /// Where it is no integer from 0 to below `vocabulary`.
    pub fn token(&self, key: &str, vocabulary: i64) -> Result<Option<i64>, ModelError> {
        let Some(value) = self.present(key) else {
            return Ok(None);
        };
        let id = value.as_i64().filter(|id| (0..vocabulary).contains(id));
        id.map(Some)
            .ok_or_else(|| self.wrong(key, value, "a token id of the vocabulary"))
    }

    /// Refuses every setting of `served` that has another value than the one served; absent or null is served.
    ///
    /// # Errors
    /// The first setting that differs.
    pub fn refuse_others(&self, served: &[(&str, Value)]) -> Result<(), ModelError> {
        for (key, expected) in served {
            match self.present(key) {
                Some(value) if value != expected => {
                    return Err(self.wrong(key, value, &format!("{expected}; no other is served")));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Refuses every key that is not among `known`.
    ///
    /// # Errors
    /// The first such key that is not null.
    pub fn refuse_unknown(&self, known: &[&str]) -> Result<(), ModelError> {
        let foreign =
            |(key, value): &(&String, &Value)| !value.is_null() && !known.contains(&key.as_str());
        match self.values.iter().find(foreign) {
            Some((key, value)) => Err(self.wrong(
                key,
                value,
                &format!("none: of its kind only {} are served", known.join(", ")),
            )),
            None => Ok(()),
        }
    }

    /// Refuses a width that does not divide into heads.
    ///
    /// # Errors
    /// Where there is a remainder.
    pub fn divides(&self, width: i64, key: &str, heads: i64) -> Result<(), ModelError> {
        if width % heads == 0 {
            return Ok(());
        }
        Err(self.wrong(
            key,
            &heads.into(),
            &format!("a divisor of the width {width}"),
        ))
    }

    /// Refuses a size that leaves no room for what must be there.
    ///
    /// # Errors
    /// Where `size` is below `least`.
    pub fn at_least(&self, key: &str, size: i64, least: i64) -> Result<(), ModelError> {
        if size >= least {
            return Ok(());
        }
        Err(self.wrong(key, &size.into(), &format!("at least {least}")))
    }

    /// The value under `key`, where there is one that is not null.
    #[must_use]
    pub fn present(&self, key: &str) -> Option<&Value> {
        self.read.borrow_mut().insert(key.to_owned());
        self.values.get(key).filter(|value| !value.is_null())
    }

    fn required(&self, key: &str) -> Result<&Value, ModelError> {
        self.present(key).ok_or_else(|| ModelError::ConfigMissing {
            origin: self.origin.clone(),
            key: key.to_owned(),
        })
    }

    /// The error that `key` is `found`.
    pub(super) fn wrong(&self, key: &str, found: &Value, expected: &str) -> ModelError {
        ModelError::ConfigValue {
            origin: self.origin.clone(),
            key: key.to_owned(),
            found: found.to_string(),
            expected: expected.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(text.as_bytes(), "config.json", None).unwrap()
    }

    #[test]
    fn wrong_values_are_named() {
        let config = config(r#"{"hidden_act":"gelu_10","n":0,"p":1.0,"is_decoder":true}"#);
        let error = config.activation("hidden_act").unwrap_err().to_string();
        assert!(
            error.starts_with("config.json: `hidden_act` is \"gelu_10\", expected one of gelu,"),
            "{error}"
        );
        let error = config.size("n").unwrap_err().to_string();
        assert_eq!(error, "config.json: `n` is 0, expected a positive integer");
        assert_eq!(
            config.size("m").unwrap_err().to_string(),
            "config.json: `m` is missing"
        );
        assert!(config.dropout("p", 0.1).is_err());
        let error = config
            .refuse_others(&[("is_decoder", json!(false))])
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "config.json: `is_decoder` is true, expected false; no other is served"
        );
    }

    #[test]
    fn what_nobody_asks_for_is_known() {
        let text = r#"{"n":1,"m":1,"norm":"rms","bias":false,"rope":{},"top_k":5}"#;
        let config = config(text);
        config.size("n").unwrap();
        config.refuse_others(&[("m", json!(1))]).unwrap();
        assert_eq!(config.unread(), ["norm"]);
    }

    #[test]
    fn dropout_is_replaced_everywhere() {
        let text = br#"{"p":0.3}"#;
        let replaced = Config::parse(text, "config.json", Some(0.0)).unwrap();
        assert!(replaced.dropout("p", 0.1).unwrap().abs() < f64::EPSILON);
        assert!(replaced.dropout("q", 0.1).unwrap().abs() < f64::EPSILON);
        assert!((config(r#"{"p":0.3}"#).dropout("p", 0.1).unwrap() - 0.3).abs() < f64::EPSILON);
    }
}
