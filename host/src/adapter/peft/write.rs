//! `adapter_config.json` as it is written.

use serde_json::{Map, Value, json};

use super::{PeftContent, PeftLayer};

/// What the configuration says beside the factors.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// The base model: a path or an id on the hub.
    pub base: String,
    pub revision: Option<String>,
    /// PEFT's `task_type`: `SEQ_CLS`, `TOKEN_CLS`, `CAUSAL_LM`; none where it has no class for the head.
    pub task: Option<&'static str>,
    pub dropout: f64,
    /// Whether layers have W stored as `[fan_in, fan_out]`: GPT-2's.
    pub fan_in_fan_out: bool,
}

/// The configuration of an adapter: plain LoRA, whatever it began as. `r` and `lora_alpha` are those of most layers; the
/// others stand in `rank_pattern` and `alpha_pattern` under their whole paths.
#[must_use]
pub fn adapter_config(content: &PeftContent, about: &About) -> Value {
    let rank = most_frequent(content.layers.iter().map(PeftLayer::rank)).unwrap_or(1);
    let of_rank = content.layers.iter().filter(|layer| layer.rank() == rank);
    let bits = most_frequent(of_rank.map(|layer| layer.alpha().to_bits()));
    let alpha = bits.map_or(1.0, f64::from_bits);
    let (mut ranks, mut alphas) = (Map::new(), Map::new());
    for layer in &content.layers {
        if layer.rank() != rank {
            ranks.insert(layer.module.clone(), json!(layer.rank()));
        }
        // Exactly: patterns are there for what differs at all.
        if layer.alpha().to_bits() != alpha.to_bits() {
            alphas.insert(layer.module.clone(), json!(layer.alpha()));
        }
    }
    let targets: Vec<&str> = content
        .layers
        .iter()
        .map(|layer| layer.module.as_str())
        .collect();
    let saved = &content.modules_to_save;
    json!({
        "peft_type": "LORA",
        "task_type": about.task,
        "base_model_name_or_path": about.base,
        "revision": about.revision,
        "inference_mode": true,
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": ranks,
        "alpha_pattern": alphas,
        "use_rslora": false,
        "lora_dropout": about.dropout,
        "target_modules": targets,
        "modules_to_save": (!saved.is_empty()).then_some(saved),
        "fan_in_fan_out": about.fan_in_fan_out,
        "bias": "none",
        "use_dora": false,
        // The factors are those of the file: nothing is to be made of the base weights.
        "init_lora_weights": true,
    })
}

/// The first of those that occur most.
fn most_frequent<T: PartialEq + Copy>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut counts: Vec<(T, usize)> = Vec::new();
    for value in values {
        match counts.iter_mut().find(|(known, _)| *known == value) {
            Some((_, count)) => *count += 1,
            None => counts.push((value, 1)),
        }
    }
    let most = counts.iter().map(|(_, count)| *count).max()?;
    let first = counts.iter().find(|(_, count)| *count == most);
    first.map(|(value, _)| *value)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::adapter::peft::AdapterConfig;

    #[test]
    fn what_is_written_is_read_with_the_same_ranks_and_scales() {
        let layer = |module: &str, rank: i64, scale: f64| PeftLayer {
            module: module.to_owned(),
            a: Tensor::zeros([rank, 3], (Kind::Float, Device::Cpu)),
            b: Tensor::zeros([3, rank], (Kind::Float, Device::Cpu)),
            scale,
        };
        let content = PeftContent {
            layers: vec![
                layer("m.h.0.q", 4, 2.0),
                layer("m.h.1.q", 4, 2.0),
                layer("m.h.11.q", 4, 1.0 / 3.0),
                layer("m.h.1.v", 6, 2.0),
            ],
            ..PeftContent::default()
        };
        let written = adapter_config(&content, &About::default());
        assert_eq!(written["r"], 4);
        assert_eq!(written["lora_alpha"], 8.0);
        assert_eq!(written["rank_pattern"], json!({"m.h.1.v": 6}));
        assert_eq!(written["alpha_pattern"].as_object().unwrap().len(), 2);
        let read = AdapterConfig::parse(written.to_string().as_bytes(), Path::new("c")).unwrap();
        for layer in &content.layers {
            assert_eq!(read.rank_of(&layer.module), layer.rank());
            let relative = read.scale_of(&layer.module) / layer.scale - 1.0;
            assert!(relative.abs() < 1e-15, "{relative}");
            assert!(read.targets(&layer.module));
        }
        assert!(!read.targets("m.h.2.q"));
    }
}
