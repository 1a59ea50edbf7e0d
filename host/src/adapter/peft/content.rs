//! What an adapter holds, whatever its files say it in.

use tch::Tensor;

/// The factors of every layer, and the modules that were trained whole.
#[derive(Debug, Default)]
pub struct PeftContent {
    pub layers: Vec<PeftLayer>,
    /// Module paths, or their ends: PEFT's `modules_to_save`.
    pub modules_to_save: Vec<String>,
    /// The parameters of those modules by full name, as the model's own files have them.
    pub saved: Vec<(String, Tensor)>,
}

/// The factors of one layer.
#[derive(Debug)]
pub struct PeftLayer {
    /// Hugging Face's module path.
    pub module: String,
    /// `[rank, fan_in]`.
    pub a: Tensor,
    /// `[fan_out, rank]`.
    pub b: Tensor,
    /// s of y = W x + s B A x.
    pub scale: f64,
}

impl PeftLayer {
    #[must_use]
    pub fn rank(&self) -> i64 {
        self.a.size().first().copied().unwrap_or(0)
    }

    /// PEFT's `lora_alpha` of this layer: s r, which gives s as `lora_alpha / r`.
    #[must_use]
    pub fn alpha(&self) -> f64 {
        self.scale * self.rank() as f64
    }
}
