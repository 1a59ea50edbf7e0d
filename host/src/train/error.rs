//! Why a run ended early.

use std::path::PathBuf;

use thiserror::Error;

use crate::data::DataError;
use crate::model::ModelError;
use crate::plugins::PluginError;

use super::DeviceError;

/// An error that ends a run; a loss that is not finite is none.
#[derive(Debug, Error)]
pub enum TrainError {
    #[error(transparent)]
    Model(#[from] ModelError),

    #[error(transparent)]
    Data(#[from] DataError),

    #[error(transparent)]
    Plugin(#[from] PluginError),

    #[error(transparent)]
    Device(#[from] DeviceError),

    #[error("libtorch: {}", without_backtrace(.0))]
    Torch(#[from] tch::TchError),

    #[error(
        "the tokenizer has {tokens} entries, the model's embedding {embedding}: they do not belong \
         together"
    )]
    Vocabulary { tokens: usize, embedding: i64 },

    #[error("the adapter {} has changed since the experiment was planned", folder.display())]
    AdapterChanged { folder: PathBuf },

    #[error(
        "the adapter {} has LoRA on `{layer}` of the head: go on from it with --head-mode lora",
        folder.display()
    )]
    AdapterOnHead { folder: PathBuf, layer: String },

    #[error("the {split} split has no rows")]
    NoRows { split: &'static str },

    #[error("nothing is trained: every parameter is frozen")]
    NothingToTrain,
}

impl TrainError {
    /// Whether the cause lies outside the run and may pass: memory, files, a device.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Model(ModelError::Read { .. } | ModelError::Write { .. })
            | Self::Data(DataError::Read { .. } | DataError::Write { .. }) => true,
            _ => is_out_of_memory(&self.to_string()),
        }
    }
}

/// What libtorch says first; frames of its own stack follow.
fn without_backtrace(error: &tch::TchError) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

/// libtorch tells of memory in words alone, on the CPU and on CUDA; a plugin's operators repeat them.
fn is_out_of_memory(message: &str) -> bool {
    ["can't allocate memory", "out of memory"]
        .iter()
        .any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;

    #[test]
    fn memory_may_come_back_and_a_wrong_shape_stays_wrong() {
        let options = (Kind::Float, Device::Cpu);
        let huge = Tensor::f_empty([1 << 50], options).unwrap_err();
        assert!(TrainError::from(huge).may_pass());
        let ones = |columns| Tensor::ones([2, columns], options);
        let wrong = TrainError::from(ones(3).f_matmul(&ones(5)).unwrap_err());
        assert!(!wrong.may_pass());
        assert_eq!(wrong.to_string().lines().count(), 1, "{wrong}");
    }
}
