//! The metric of a factor: what the optimizers for pairs of factors precondition with.

use super::{Kind, Result, Tensor, op};

/// `(M M' + damping I)^-1` for M `[r, n]`, `[r, r]` in the type of M: with M = A the metric of B, with M = B' that of A.
///
/// It is computed in float64. In float32 the products' own rounding would outweigh a small damping, and a factor of low
/// rank (B = 0 at the start of a run) would give noise.
///
/// # Errors
/// When M is no matrix, or the damping 0 and M of low rank.
pub fn inverse_gram(factor: &Tensor, damping: f64) -> Result<Tensor> {
    let wide = factor.to_kind(Kind::Double)?;
    let gram = wide.matmul(&wide.t()?)?;
    op("aten::add_.Scalar")
        .arg(&gram.diagonal()?)
        .arg(damping)
        .run()?;
    gram.inverse()?.to_kind(factor.kind()?)
}
