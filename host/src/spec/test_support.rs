//! A resolved run for the tests of other modules.

use lorahost_plugin_api::protocol::DataKind;
use serde_json::Map;

use super::{
    DataSpec, HeadMode, LoraSpec, Method, ModelSpec, RunSpec, Save, Schedule, Seeds, Selection,
    TrainSpec, Weights,
};

/// A run of LoRA with this rank, or of full fine-tuning.
pub(crate) fn run_spec(rank: Option<usize>, lr: f64, seed: u64) -> RunSpec {
    let selection = |name: &str| Selection {
        name: name.to_owned(),
        parameters: Map::new(),
        sha256: "0".repeat(64),
        file: format!("plugins/{name}.so").into(),
    };
    let lora = |rank| LoraSpec {
        rank,
        targets: "all".to_owned(),
        dropout: 0.0,
        head_mode: HeadMode::Train,
        init_scale_a: 1.0,
    };
    RunSpec {
        method: if rank.is_some() {
            Method::Lora
        } else {
            Method::Full
        },
        model: ModelSpec {
            path: "builtin:tiny-bert".to_owned(),
            weights: Weights::Pretrained,
            dropout: None,
            precision: None,
            adapter: None,
            adapter_sha256: None,
        },
        data: DataSpec {
            kind: DataKind::Classes,
            path: Some("builtin:topics".to_owned()),
            train_file: None,
            validation_file: None,
            test_file: None,
            text_column: None,
            label_column: None,
            rejected_column: None,
            block_size: None,
            stride: None,
            train_size: None,
            validation_size: None,
            test_size: None,
            validation_fraction: 0.1,
            split_seed: 36,
            max_length: 512,
        },
        lora: rank.map(lora),
        init: rank.map(|_| selection("uniform")),
        alpha: rank.map(|_| selection("constant")),
        optimizer: selection("adamw"),
        head: selection("sequence-classification"),
        train: TrainSpec {
            lr,
            lr_a: 1.0,
            lr_b: 1.0,
            epochs: 1,
            batch_size: 32,
            accumulate: 1,
            max_steps: None,
            eval_every: None,
            diverged_after: None,
            schedule: Schedule::Constant,
            warmup: 0,
            grad_clip: None,
            save: Save::None,
        },
        seeds: Seeds {
            init: seed,
            data: seed,
            dropout: seed,
            head: seed,
        },
    }
}
