//! Multiply-adds a token in the linear layers of the encoder.
//!
//! N^2 = `fan_in fan_out` of a layer forward, and as much again backward to its inputs and to its weights; LoRA of rank
//! r adds `r (fan_in + fan_out)` to each of the three, and spares W's backward to weights ("LoRA Without Regret",
//! Thinking Machines 2025). What attention multiplies grows with the row and comes on top; so does the head. Every token is
//! counted through every layer, also where the head looks at one token of a row and the last block computes no other.

use super::Model;
use crate::adapter::{Linear, Targets};

/// What one token costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenCost {
    /// Forward alone, as in an evaluation.
    pub forward: u64,
    /// A training step: forward, backward to inputs, backward to what is trained.
    pub step: u64,
}

impl Model {
    /// The cost of a token in full fine-tuning, or under LoRA on these layers with this rank.
    #[must_use]
    pub fn token_cost(&self, lora: Option<(&Targets, usize)>) -> TokenCost {
        let mut cost = TokenCost::default();
        for linear in self.linears() {
            let rank = match lora {
                Some((targets, rank)) if targets.choose(linear) => rank as u64,
                _ => 0,
            };
            let of_layer = TokenCost::of_layer(linear, rank, lora.is_none());
            cost.forward += of_layer.forward;
            cost.step += of_layer.step;
        }
        cost
    }
}

impl TokenCost {
    /// In one layer, under LoRA of that rank, or none where it is 0; W may learn.
    pub(crate) fn of_layer(linear: &Linear, rank: u64, learns: bool) -> Self {
        let (fan_in, fan_out) = (linear.fan_in() as u64, linear.fan_out() as u64);
        let weight = fan_in * fan_out;
        let factors = rank * (fan_in + fan_out);
        Self {
            forward: weight + factors,
            step: if learns { 3 } else { 2 } * weight + 3 * factors,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::ModuleKind;
    use crate::model::Options;
    use crate::spec::{Seeds, Weights};

    #[test]
    fn lora_costs_in_the_layers_that_it_lies_on() {
        let options = Options {
            weights: Weights::Pretrained,
            dropout: None,
            device: tch::Device::Cpu,
            seeds: Seeds {
                init: 0,
                data: 0,
                dropout: 0,
                head: 0,
            },
        };
        let model = Model::outline("builtin:tiny-bert", options).unwrap();
        let linears = model.linears();
        let sides = |linear: &Linear| (linear.fan_in() + linear.fan_out()) as u64;
        let all: u64 = linears.iter().copied().map(sides).sum();
        let of_attention = linears.iter().copied();
        let of_attention = of_attention.filter(|linear| linear.kind() == ModuleKind::Attention);
        let of_attention: u64 = of_attention.map(sides).sum();
        assert!(0 < of_attention && of_attention < all);

        let full = model.token_cost(None);
        assert_eq!(full.step, 3 * full.forward);
        let attention = Targets::parse("attention").unwrap();
        for (targets, sides) in [(Targets::All, all), (attention, of_attention)] {
            let lora = model.token_cost(Some((&targets, 16)));
            assert_eq!(lora.forward, full.forward + 16 * sides);
            assert_eq!(lora.step, 2 * full.forward + 3 * 16 * sides);
        }
    }
}
