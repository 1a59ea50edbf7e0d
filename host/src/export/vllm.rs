//! What vLLM asks of an adapter, as its source has it (`vllm/lora/peft_helper.py`, `vllm/lora/lora_model.py`,
//! `vllm/config/lora.py`, version 0.22).
//!
//! It reads `r`, `lora_alpha` and `target_modules` and takes no notice of `rank_pattern` and `alpha_pattern`: factors of
//! different ranks or scales would be served wrongly without a word. So all get the largest rank, with zeros in the
//! further rows of A and columns of B, and one s, the rest of theirs multiplied into B.

use tch::TchError;

use super::ExportError;
use crate::adapter::peft::{PeftContent, PeftLayer};
use crate::model::{Model, ModelError};

/// Architectures on which vLLM serves LoRA, by `model_type`.
const SERVED: [&str; 3] = ["llama", "qwen2", "qwen3"];

/// The values of vLLM's `--max-lora-rank`, the first of them from [`DEFAULT_RANK`] its default.
const RANKS: [i64; 9] = [1, 8, 16, 32, 64, 128, 256, 320, 512];
const DEFAULT_RANK: i64 = 16;

/// The same adapter with one rank and one scale.
pub(super) fn arrange(
    content: PeftContent,
    model: &Model,
    notices: &mut Vec<String>,
) -> Result<PeftContent, ExportError> {
    let mut problems = Vec::new();
    let architecture = model.architecture().model_type;
    if !SERVED.contains(&architecture) {
        problems.push(format!(
            "it serves LoRA on {}, and the model is a {architecture}",
            SERVED.join(", ")
        ));
    }
    let layout = model.head_description().map(|head| head.layout.as_str());
    if layout != Some("causal") {
        problems.push("it serves language models, and the run trained another head".to_owned());
    } else if !content.modules_to_save.is_empty() {
        let modules = content.modules_to_save.join(", ");
        problems.push(format!(
            "it takes factors alone, and the adapter has modules that were trained whole ({modules})"
        ));
    }
    let rank = content
        .layers
        .iter()
        .map(PeftLayer::rank)
        .max()
        .unwrap_or(0);
    let served = RANKS.iter().find(|served| **served >= rank);
    match served {
        None => problems.push(format!(
            "its largest rank is {}, and the adapter's is {rank}",
            RANKS[RANKS.len() - 1]
        )),
        Some(&served) if served > DEFAULT_RANK => notices.push(format!(
            "rank {rank} needs `--enable-lora --max-lora-rank {served}`: vLLM's own limit is {DEFAULT_RANK}"
        )),
        Some(_) => {}
    }
    if !problems.is_empty() {
        problems.push("export --merged makes a whole model".to_owned());
        return Err(ExportError::NotForVllm { problems });
    }
    // One that is not 0, so that every other is a multiple of it.
    let scales = content.layers.iter().map(|layer| layer.scale);
    let scale = scales.clone().find(|scale| *scale != 0.0).unwrap_or(0.0);
    let same = |other: f64| other.to_bits() == scale.to_bits();
    if content.layers.iter().any(|layer| layer.rank() != rank) || !scales.clone().all(same) {
        notices.push(format!(
            "all layers were brought to rank {rank} and s = {scale}"
        ));
    }
    let layers = content.layers.into_iter();
    let layers = layers.map(|layer| uniform(layer, rank, scale));
    let layers = layers.collect::<Result<_, _>>().map_err(ModelError::from)?;
    Ok(PeftContent { layers, ..content })
}

/// The same product s B A with another rank and s.
fn uniform(layer: PeftLayer, rank: i64, scale: f64) -> Result<PeftLayer, TchError> {
    let more = rank - layer.rank();
    let mut b = layer.b.f_constant_pad_nd([0, more])?;
    if layer.scale.to_bits() != scale.to_bits() {
        b = b.f_mul_scalar(layer.scale / scale)?;
    }
    Ok(PeftLayer {
        module: layer.module,
        a: layer.a.f_constant_pad_nd([0, 0, 0, more])?,
        b,
        scale,
    })
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;

    #[test]
    fn a_layer_of_another_rank_and_scale_computes_the_same() {
        let ramp = |shape: [i64; 2]| {
            let count = shape[0] * shape[1];
            Tensor::arange(count, (Kind::Float, Device::Cpu)).reshape(shape) - 2.0
        };
        let update = |layer: &PeftLayer| layer.b.matmul(&layer.a) * layer.scale;
        for own in [0.5, 0.0, 2.0] {
            let layer = PeftLayer {
                module: "q".to_owned(),
                a: ramp([2, 3]),
                b: ramp([4, 2]),
                scale: own,
            };
            let before = update(&layer);
            let after = uniform(layer, 5, 2.0).unwrap();
            assert_eq!((after.rank(), after.scale), (5, 2.0));
            assert!(update(&after).equal(&before), "{own}");
        }
    }
}
