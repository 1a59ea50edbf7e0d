//! Why a property cannot be tried.

use std::path::PathBuf;

/// What was given does not fit the property.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error(
        "the experiment has no run of LoRA, and the property is LoRA's; leave out --full-finetune"
    )]
    NoLora,

    #[error(
        "{kind} {name} has no parameter `{parameter}`, which the property changes; choose another with --{kind}"
    )]
    NoParameter {
        kind: &'static str,
        name: String,
        parameter: &'static str,
    },

    #[error("p = {p} and q = {q} must be powers of two, and not both 1: others differ by rounding")]
    NotAPowerOfTwo { p: f64, q: f64 },

    #[error("expected at least two different ranks")]
    TooFewRanks,

    #[error("rank {rank} is given twice")]
    SameRank { rank: usize },

    #[error(
        "{} holds a sweep, whose report would take these runs for its own: name another folder with --output",
        path.display()
    )]
    HoldsASweep { path: PathBuf },

    #[error("both runs are one and the same")]
    SameRun,

    #[error("the run {id} failed: {message}")]
    Failed { id: String, message: String },
}
