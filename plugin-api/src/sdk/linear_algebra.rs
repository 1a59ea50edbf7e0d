//! Factorisations of a matrix, each with one choice of signs.
//!
//! A singular vector, an eigenvector or a row of R may be turned about with its partner and stay what it is, and
//! libraries choose differently. Here the largest component of each left singular vector and of each eigenvector is
//! positive, and so is the diagonal of R: what is made of them does not depend on the library.
//!
//! And powers of a matrix by Newton and Schulz's iterations, which are matrix products alone.

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

    /// U V' of the matrix U diag(S) V' `[m, n]`, that is `(X X')^(-1/2) X`, by `steps` of Newton and Schulz's iteration
    /// `X <- a X + (b X X' + c (X X')^2) X` from `X / |X|`.
    ///
    /// With `(1.5, -0.5, 0)` it converges, slowly where S is small; with `(3.4445, -4.775, 2.0315)` five steps bring S
    /// into about 0.7 to 1.2 and no nearer (Jordan 2024, <https://kellerjordan.github.io/posts/muon/>). Zero stays zero.
    ///
    /// # Errors
    /// When it is not a matrix.
    pub fn orthogonalize(&self, steps: usize, coefficients: (f64, f64, f64)) -> Result<Tensor> {
        let shape = self.shape()?;
        // The iteration works on the Gram matrix of the rows: let them be the shorter side.
        let tall = shape.first() > shape.last();
        let wide = if tall {
            self.t()?.contiguous()?
        } else {
            self.try_clone()?
        };
        let mut x = wide.div_tensor(&wide.norm()?.clamp(TINY, f64::INFINITY)?)?;
        let (a, b, c) = coefficients;
        for _ in 0..steps {
            let gram = x.matmul(&x.t()?)?;
            let polynomial = addmm(&gram, b, &gram, &gram, c)?;
            x = addmm(&x, a, &polynomial, &x, 1.0)?;
        }
        if tall { x.t() } else { Ok(x) }
    }

    /// The square root of a symmetric positive matrix and the root's inverse, by `steps` of Newton and Schulz's coupled
    /// iteration (Higham, Functions of Matrices, 2008, 6.7): with `Y = self / |self|` and `Z = I`,
    /// `T = (3 I - Z Y) / 2`, `Y <- Y T`, `Z <- T Z`. It converges quadratically; a condition of 1e6 takes about 20 steps.
    ///
    /// # Errors
    /// When it is not square.
    pub fn matrix_roots(&self, steps: usize) -> Result<(Tensor, Tensor)> {
        let norm = self.norm()?.clamp(TINY, f64::INFINITY)?;
        let identity = Tensor::eye(self.shape()?.first().copied().unwrap_or(0))?;
        let identity = identity.to_kind(self.kind()?)?;
        let (mut y, mut z) = (self.div_tensor(&norm)?, identity.try_clone()?);
        for _ in 0..steps {
            let t = addmm(&identity, 1.5, &z, &y, -0.5)?;
            (y, z) = (y.matmul(&t)?, t.matmul(&z)?);
        }
        let root = norm.sqrt()?;
        Ok((y.mul_tensor(&root)?, z.div_tensor(&root)?))
    }
}

/// What a norm is at least, so that a matrix of zeros can be divided by it.
const TINY: f64 = 1e-7;

/// `beta x + alpha a b`.
fn addmm(x: &Tensor, beta: f64, a: &Tensor, b: &Tensor, alpha: f64) -> Result<Tensor> {
    op("aten::addmm")
        .arg(x)
        .arg(a)
        .arg(b)
        .named("beta", beta)
        .named("alpha", alpha)
        .tensor()
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
