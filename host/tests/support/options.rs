//! How tests open a model: every seed 1, on the CPU, with the dropout of its configuration.

use lorahost::model::Options;
use lorahost::spec::{Seeds, Weights};
use tch::Device;

pub fn options(weights: Weights) -> Options {
    let seeds = Seeds {
        init: 1,
        data: 1,
        dropout: 1,
        head: 1,
    };
    Options {
        weights,
        dropout: None,
        device: Device::Cpu,
        seeds,
    }
}
