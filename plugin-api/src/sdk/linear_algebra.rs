//! Factorisations of a matrix, each with one choice of signs.
//!
//! A singular vector, an eigenvector or a row of R may be turned about with its partner and stay what it is, and
//! libraries choose differently. Here the largest component of each left singular vector and of each eigenvector is
//! positive, and so is the diagonal of R: what is made of them does not depend on the library.

use super::{Context, Error, Result, Tensor, op};

impl Tensor {
    /// Q `[m, k]` with orthonormal columns and R `[k, n]` upper triangular, `self` = Q R `[m, n]`, k = min(m, n).
    ///
    /// # Errors
    /// When it is not a matrix.
    pub fn qr(&self) -> Result<(Tensor, Tensor)> {
        let [q, r] = op("aten::linalg_qr").arg(self).tensors()?;
        let signs = signs(&r.diagonal()?)?;
        Ok((q.mul_tensor(&signs)?, r.mul_tensor(&signs.unsqueeze(1)?)?))
    }

    /// U `[m, k]`, S `[k]` (falling) and V' `[k, n]` with `self` = U diag(S) V' `[m, n]`, k = min(m, n).
    ///
    /// # Errors
    /// When it is not a matrix, or does not converge.
    pub fn svd(&self) -> Result<(Tensor, Tensor, Tensor)> {
        let [u, s, vt] = op("aten::linalg_svd")
            .arg(self)
            .named("full_matrices", false)
            .tensors()?;
        turned(&u, s, &vt)
    }

    /// Eigenvalues `[n]` (rising) and eigenvectors (columns of `[n, n]`) of a symmetric matrix.
    ///
    /// # Errors
    /// When it is not square.
    pub fn eigh(&self) -> Result<(Tensor, Tensor)> {
        let [values, vectors] = op("aten::linalg_eigh").arg(self).tensors()?;
        let vectors = vectors.mul_tensor(&dominant_signs(&vectors)?)?;
        Ok((values, vectors))
    }
}

impl Context {
    /// U `[m, k]`, S `[k]` (falling) and V' `[k, n]`, close to the k = min(q, m, n) largest singular values of `matrix`
    /// `[m, n]` and their vectors: a random projection of the named stream with `niter` power iterations (Halko,
    /// Martinsson, Tropp, arXiv 0909.4061, algorithms 4.4 and 5.1), as `torch.svd_lowrank`.
    ///
    /// # Errors
    /// When it is not a matrix, or does not converge.
    pub fn svd_lowrank(
        &self,
        matrix: &Tensor,
        q: usize,
        niter: usize,
        stream: &str,
    ) -> Result<(Tensor, Tensor, Tensor)> {
        let [_, columns] = matrix.shape()?[..] else {
            return Err(Error::new(format!("{matrix:?} is not a matrix")));
        };
        let transpose = matrix.t()?;
        let random = self.randn(stream, [columns as usize, q])?;
        let (mut basis, _) = matrix.matmul(&random)?.qr()?;
        for _ in 0..niter {
            // Orthogonal at each half step: powers of a matrix lose its small singular values.
            let (other, _) = transpose.matmul(&basis)?.qr()?;
            (basis, _) = matrix.matmul(&other)?.qr()?;
        }
        let (u, s, vt) = basis.t()?.matmul(matrix)?.svd()?;
        turned(&basis.matmul(&u)?, s, &vt)
    }
}

/// U and V' with the signs of this module.
fn turned(u: &Tensor, s: Tensor, vt: &Tensor) -> Result<(Tensor, Tensor, Tensor)> {
    let signs = dominant_signs(u)?;
    Ok((
        u.mul_tensor(&signs)?,
        s,
        vt.mul_tensor(&signs.unsqueeze(1)?)?,
    ))
}

/// The sign of the largest component of each column of `[m, k]`, `[k]`.
fn dominant_signs(columns: &Tensor) -> Result<Tensor> {
    let places = columns.abs()?.argmax(0)?.unsqueeze(0)?;
    signs(&columns.gather(0, &places)?.squeeze(0)?)
}

/// -1 where a value is below 0, else 1.
fn signs(values: &Tensor) -> Result<Tensor> {
    let below = values.lt_scalar(0.0)?;
    values.ones_like()?.masked_fill(&below, -1.0)
}
