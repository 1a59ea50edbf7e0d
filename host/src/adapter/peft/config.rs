//! `adapter_config.json`: read, and checked for what is not served.

use std::path::Path;

use regex::Regex;
use serde_json::{Map, Value};

use super::PeftError;
use super::patterns::{ByPattern, Modules, before_number, end, whole};
use crate::model::shown;
use crate::nearest::nearest;

/// What an adapter's configuration says of its factors.
#[derive(Debug, Clone)]
pub struct AdapterConfig {
    /// `r`, where no pattern says otherwise.
    pub rank: i64,
    /// The base model: a path or an id on the hub.
    pub base: Option<String>,
    pub revision: Option<String>,
    /// `SEQ_CLS`, `TOKEN_CLS`, `CAUSAL_LM`, ...
    pub task: Option<String>,
    /// Dropout on the input of the LoRA path.
    pub dropout: f64,
    /// Modules that the adapter replaces as a whole, by the ends of their paths.
    pub modules_to_save: Vec<String>,
    alpha: f64,
    rslora: bool,
    ranks: ByPattern<i64>,
    alphas: ByPattern<f64>,
    targets: Modules,
    excluded: Option<Modules>,
    /// Only modules of these layers, where the path has a number.
    layers: Option<Vec<u64>>,
    layer_patterns: Vec<Regex>,
}

/// Settings that change what an adapter computes, or which file holds it, with the value that has no effect.
const NEUTRAL: &[(&str, &str)] = &[
    ("bias", "\"none\""),
    ("use_dora", "false"),
    ("lora_bias", "false"),
    ("use_qalora", "false"),
    ("use_bdlora", "null"),
    ("ensure_weight_tying", "false"),
    ("trainable_token_indices", "null"),
    ("layer_replication", "null"),
    ("target_parameters", "null"),
    ("alora_invocation_tokens", "null"),
    ("arrow_config", "null"),
    ("kasa_config", "null"),
    ("velora_config", "null"),
    ("monteclora_config", "null"),
    ("megatron_config", "null"),
];

/// Settings that say nothing of what a finished adapter computes: how it was begun, what wrote it.
const WITHOUT_EFFECT: &[&str] = &[
    "auto_mapping",
    "peft_version",
    "inference_mode",
    "loftq_config",
    "eva_config",
    "corda_config",
    "lora_ga_config",
    "megatron_core",
    "qalora_group_size",
    "runtime_config",
    // Whether a file has W transposed is known of the model itself.
    "fan_in_fan_out",
];

/// Settings that are read.
const READ: &[&str] = &[
    "peft_type",
    "task_type",
    "base_model_name_or_path",
    "revision",
    "r",
    "lora_alpha",
    "lora_dropout",
    "use_rslora",
    "rank_pattern",
    "alpha_pattern",
    "target_modules",
    "exclude_modules",
    "modules_to_save",
    "layers_to_transform",
    "layers_pattern",
    "init_lora_weights",
];

/// Ways to begin that leave the base weights as they are: with others PEFT changes the base weights anew whenever it
/// loads the adapter, and the file alone does not say how.
const PLAIN_STARTS: &[&str] = &["gaussian", "eva", "orthogonal", "mica"];

impl AdapterConfig {
    /// Reads the bytes of `path`.
    ///
    /// # Errors
    /// No JSON object; values that are not PEFT's; what is not served, all of it by name.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self, PeftError> {
        let values: Map<String, Value> =
            serde_json::from_slice(bytes).map_err(|source| PeftError::NotJson {
                path: path.to_owned(),
                source,
            })?;
        let file = Fields { path, values };
        file.refuse_unsupported()?;
        let rank = file.rank("r", file.values.get("r").unwrap_or(&Value::Null))?;
        let indices = file.get("layers_to_transform").map(|value| match value {
            Value::Array(list) => list.iter().map(Value::as_u64).collect::<Option<Vec<_>>>(),
            one => one.as_u64().map(|one| vec![one]),
        });
        let layers = match indices {
            Some(None) => return Err(file.wrong("layers_to_transform", "a list of numbers")),
            Some(Some(list)) if !list.is_empty() => Some(list),
            _ => None,
        };
        let layer_patterns = match file.get("layers_pattern") {
            None => Vec::new(),
            Some(Value::String(one)) => vec![one.clone()],
            Some(_) => file.names("layers_pattern")?,
        };
        let layer_pattern = |pattern: &String| {
            before_number(pattern).map_err(|reason| file.unreadable("layers_pattern", &reason))
        };
        Ok(Self {
            rank,
            base: file.text("base_model_name_or_path")?,
            revision: file.text("revision")?,
            task: file.text("task_type")?,
            dropout: file.number("lora_dropout", 0.0)?,
            alpha: file.number("lora_alpha", 8.0)?,
            rslora: file.flag("use_rslora")?,
            modules_to_save: match file.get("modules_to_save") {
                None => Vec::new(),
                Some(_) => file.names("modules_to_save")?,
            },
            ranks: file.patterns("rank_pattern", |key, value| file.rank(key, value))?,
            alphas: file.patterns("alpha_pattern", |key, value| {
                let number = value.as_f64().filter(|number| number.is_finite());
                number.ok_or_else(|| file.wrong_value(key, value, "a number"))
            })?,
            targets: file
                .modules("target_modules")?
                .ok_or_else(|| file.wrong("target_modules", "names of modules or an expression"))?,
            excluded: file.modules("exclude_modules")?,
            layers,
            layer_patterns: layer_patterns
                .iter()
                .map(layer_pattern)
                .collect::<Result<_, _>>()?,
        })
    }

    /// Whether LoRA is meant to be on `module`.
    #[must_use]
    pub fn targets(&self, module: &str) -> bool {
        let steps = format!(".{module}.");
        let is_saved = |name: &String| steps.contains(&format!(".{name}."));
        let excluded = self.excluded.as_ref();
        self.targets.contains(module)
            && self.is_of_layers(module)
            && !self.modules_to_save.iter().any(is_saved)
            && !excluded.is_some_and(|excluded| excluded.contains(module))
    }

    /// Whether `module` is one of `modules_to_save`, or lies in one. PEFT takes every path that ends in such a name,
    /// also without a dot before it: `classifier` means `pre_classifier` too.
    #[must_use]
    pub fn saves(&self, module: &str) -> bool {
        let dots = module.match_indices('.').map(|(at, _)| at);
        let mut above = dots.chain([module.len()]).map(|end| &module[..end]);
        above.any(|path| {
            self.modules_to_save
                .iter()
                .any(|name| path.ends_with(name.as_str()))
        })
    }

    /// r of `module`.
    #[must_use]
    pub fn rank_of(&self, module: &str) -> i64 {
        self.ranks.get(module).unwrap_or(self.rank)
    }

    /// s of `module`: alpha / r, or alpha / sqrt(r) with `use_rslora` (arXiv 2312.03732).
    #[must_use]
    pub fn scale_of(&self, module: &str) -> f64 {
        let rank = self.rank_of(module) as f64;
        let alpha = self.alphas.get(module).unwrap_or(self.alpha);
        alpha / if self.rslora { rank.sqrt() } else { rank }
    }

    fn is_of_layers(&self, module: &str) -> bool {
        let Some(layers) = self.layers.as_ref() else {
            return true;
        };
        let number = if self.layer_patterns.is_empty() {
            // The first number that is a step of the path, but for its first two.
            let steps: Vec<&str> = module.split('.').collect();
            let inner = steps.get(2..steps.len().saturating_sub(1));
            inner
                .into_iter()
                .flatten()
                .find_map(|step| step.parse().ok())
        } else {
            self.layer_patterns
                .iter()
                .find_map(|pattern| pattern.captures(module)?[1].parse().ok())
        };
        number.is_some_and(|number: u64| layers.contains(&number))
    }
}

/// The settings of a file, with its name for messages.
struct Fields<'a> {
    path: &'a Path,
    values: Map<String, Value>,
}

impl Fields<'_> {
    /// What is there and not null.
    fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key).filter(|value| !value.is_null())
    }

    fn refuse_unsupported(&self) -> Result<(), PeftError> {
        let mut what = Vec::new();
        let kind = self.get("peft_type").and_then(Value::as_str);
        if kind != Some("LORA") {
            let kind = kind.unwrap_or("absent");
            what.push(format!("`peft_type` is {}: only LORA is", shown(kind)));
        }
        for (key, neutral) in NEUTRAL {
            let found = self.get(key).map(Value::to_string);
            if let Some(found) = found
                && found != *neutral
                && found != "false"
            {
                what.push(format!("`{key}` is {}", shown(&found)));
            }
        }
        match self.get("init_lora_weights") {
            None | Some(Value::Bool(_)) => {}
            Some(Value::String(name)) if PLAIN_STARTS.contains(&name.as_str()) => {}
            Some(other) => what.push(format!(
                "`init_lora_weights` is {}, with which PEFT changes the base weights on loading: save the adapter with \
                 `path_initial_model_for_weight_conversion`, which makes plain LoRA of it",
                shown(&other.to_string())
            )),
        }
        let known = || {
            let neutral = NEUTRAL.iter().map(|(key, _)| *key);
            neutral.chain(WITHOUT_EFFECT.iter().chain(READ).copied())
        };
        for (key, value) in &self.values {
            if !known().any(|name| name == key) && !is_empty(value) {
                let near = nearest(key, known());
                let near = near.map_or_else(String::new, |near| format!(", is `{near}` meant?"));
                what.push(format!(
                    "`{}` is not known here and may change the result{near}",
                    shown(key)
                ));
            }
        }
        if what.is_empty() {
            return Ok(());
        }
        Err(PeftError::Unsupported {
            path: self.path.to_owned(),
            what,
        })
    }

    fn wrong(&self, key: &str, expected: &str) -> PeftError {
        self.wrong_value(key, self.values.get(key).unwrap_or(&Value::Null), expected)
    }

    fn wrong_value(&self, key: &str, found: &Value, expected: &str) -> PeftError {
        PeftError::Value {
            path: self.path.to_owned(),
            key: shown(key),
            found: shown(&found.to_string()),
            expected: expected.to_owned(),
        }
    }

    fn unreadable(&self, key: &str, reason: &str) -> PeftError {
        self.wrong(key, &format!("an expression that can be read ({reason})"))
    }

    fn text(&self, key: &str) -> Result<Option<String>, PeftError> {
        let read = |value: &Value| {
            let text = value.as_str().map(str::to_owned);
            text.ok_or_else(|| self.wrong(key, "a text"))
        };
        self.get(key).map(read).transpose()
    }

    fn flag(&self, key: &str) -> Result<bool, PeftError> {
        let value = self.get(key).unwrap_or(&Value::Bool(false));
        value
            .as_bool()
            .ok_or_else(|| self.wrong(key, "true or false"))
    }

    fn number(&self, key: &str, absent: f64) -> Result<f64, PeftError> {
        let Some(value) = self.get(key) else {
            return Ok(absent);
        };
        let number = value.as_f64().filter(|number| number.is_finite());
        number.ok_or_else(|| self.wrong(key, "a number"))
    }

    fn rank(&self, key: &str, value: &Value) -> Result<i64, PeftError> {
        let rank = value.as_i64().filter(|rank| *rank >= 1);
        rank.ok_or_else(|| self.wrong_value(key, value, "a rank of at least 1"))
    }

    fn names(&self, key: &str) -> Result<Vec<String>, PeftError> {
        let list = self.get(key).and_then(Value::as_array);
        let names = list.map(|list| list.iter().map(|name| name.as_str().map(str::to_owned)));
        let names = names.and_then(Iterator::collect::<Option<Vec<String>>>);
        names
            .filter(|names| names.iter().all(|name| !name.is_empty()))
            .ok_or_else(|| self.wrong(key, "a list of names"))
    }

    fn modules(&self, key: &str) -> Result<Option<Modules>, PeftError> {
        Ok(match self.get(key) {
            None => None,
            Some(Value::String(pattern)) if pattern == "all-linear" => {
                return Err(self.wrong(key, "the names that PEFT makes of it when it saves"));
            }
            Some(Value::String(pattern)) => Some(Modules::Pattern(
                whole(pattern).map_err(|reason| self.unreadable(key, &reason))?,
            )),
            Some(_) => Some(Modules::Names(self.names(key)?)),
        })
    }

    fn patterns<T: Copy>(
        &self,
        key: &str,
        read: impl Fn(&str, &Value) -> Result<T, PeftError>,
    ) -> Result<ByPattern<T>, PeftError> {
        let found = match self.get(key) {
            None => return Ok(ByPattern::new(Vec::new())),
            Some(Value::Object(found)) => found,
            Some(_) => return Err(self.wrong(key, "values by module")),
        };
        let patterns = found.iter().map(|(pattern, value)| {
            let compiled = end(pattern).map_err(|reason| self.unreadable(key, &reason))?;
            Ok((compiled, read(&format!("{key}.{pattern}"), value)?))
        });
        Ok(ByPattern::new(patterns.collect::<Result<_, PeftError>>()?))
    }
}

/// What says nothing: null, false, 0 of anything.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(changes: &Value) -> Result<AdapterConfig, String> {
        let mut values = json!({
            "peft_type": "LORA", "task_type": "SEQ_CLS", "base_model_name_or_path": "base",
            "r": 8, "lora_alpha": 16, "target_modules": ["q", "v"], "bias": "none", "use_dora": false,
        });
        for (key, value) in changes.as_object().unwrap() {
            values[key] = value.clone();
        }
        AdapterConfig::parse(values.to_string().as_bytes(), Path::new("a.json"))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn scales_and_ranks_are_by_pattern() {
        let patterns = json!({
            "rank_pattern": {r"h\.1\.q": 4, "v": 2},
            "alpha_pattern": {"q": 3.5},
        });
        let plain = config(&patterns).unwrap();
        assert_eq!(plain.rank_of("x.h.1.q"), 4);
        assert_eq!(plain.rank_of("x.h.2.q"), 8);
        assert_eq!(plain.scale_of("x.h.2.q"), 3.5 / 8.0);
        assert_eq!(plain.scale_of("x.h.2.v"), 8.0);
        let mut rslora = patterns;
        rslora["use_rslora"] = json!(true);
        let rslora = config(&rslora).unwrap();
        assert_eq!(rslora.scale_of("x.h.1.q"), 3.5 / 2.0);
        assert_eq!(rslora.scale_of("x.k"), 16.0 / 8.0_f64.sqrt());
    }

    #[test]
    fn targets_follow_exclusions_layers_and_saved_modules() {
        let chosen = config(&json!({
            "layers_to_transform": [0, 2], "exclude_modules": ["b.q"], "modules_to_save": ["head"],
        }))
        .unwrap();
        assert!(chosen.targets("model.h.0.a.q"));
        assert!(!chosen.targets("model.h.1.a.q"));
        assert!(!chosen.targets("model.h.0.b.q"));
        assert!(!chosen.targets("model.head.0.q"));
        assert!(chosen.saves("model.head") && chosen.saves("model.head.0.q"));
        assert!(chosen.saves("model.pre_head.q") && !chosen.saves("model.other"));
        let named = config(&json!({"layers_to_transform": 1, "layers_pattern": "h"})).unwrap();
        assert!(named.targets("h.1.q") && !named.targets("h.11.q"));
        let pattern = config(&json!({"target_modules": r".*\.q"})).unwrap();
        assert!(pattern.targets("a.q") && !pattern.targets("a.q.b"));
    }

    #[test]
    fn what_changes_the_result_is_refused_by_name() {
        let refused = [
            (json!({"use_dora": true}), "`use_dora` is true"),
            (json!({"bias": "all"}), "`bias` is \"all\""),
            (json!({"lora_bias": true}), "`lora_bias`"),
            (
                json!({"peft_type": "IA3"}),
                "`peft_type` is IA3: only LORA is",
            ),
            (
                json!({"layer_replication": [[0, 1]]}),
                "`layer_replication`",
            ),
            (
                json!({"init_lora_weights": "pissa_niter_4"}),
                "`init_lora_weights`",
            ),
            (json!({"use_doora": true}), "is `use_dora` meant?"),
            (
                json!({"trainable_token_indices": [1]}),
                "`trainable_token_indices`",
            ),
            (
                json!({"target_modules": "all-linear"}),
                "the names that PEFT makes of it",
            ),
            (json!({"target_modules": "("}), "can be read"),
            (json!({"layers_pattern": "("}), "can be read"),
            (
                json!({"layers_pattern": "(a{1000}){1000}".repeat(9)}),
                "size limit",
            ),
            (
                json!({"peft_type": "LO\u{1b}HA"}),
                r"`peft_type` is LO\u{1b}HA",
            ),
            (json!({"target_modules": null}), "`target_modules` is null"),
            (json!({"r": 0}), "`r` is 0, expected a rank"),
            (json!({"rank_pattern": {"q": -1}}), "`rank_pattern.q` is -1"),
            (
                json!({"lora_alpha": "8"}),
                "`lora_alpha` is \"8\", expected a number",
            ),
            (
                json!({"modules_to_save": "head"}),
                "expected a list of names",
            ),
        ];
        for (changes, expected) in refused {
            let error = config(&changes).unwrap_err();
            assert!(error.contains(expected), "{changes}: {error}");
            assert!(error.starts_with("a.json"), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
        config(&json!({"new_setting": null, "other": {}, "init_lora_weights": "eva"})).unwrap();
    }
}
