//! Matrix products and factorisations, by nalgebra.

use nalgebra::DMatrix;

use crate::sdk::{Error, Result};
use crate::testing::array::{Array, floating};
use crate::testing::schema::{Args, Entry};

pub(super) const OPERATORS: &[Entry] = &[
    Entry::one("matmul(self, other)", |args| {
        matmul(&args.tensor("self")?, &args.tensor("other")?)
    }),
    Entry::one("mm(self, mat2)", |args| {
        matmul(&args.tensor("self")?, &args.tensor("mat2")?)
    }),
    Entry::one("outer(self, vec2)", |args| {
        let (a, b) = (args.tensor("self")?, args.tensor("vec2")?);
        matmul(&a.reshape(&[a.len(), 1])?, &b.reshape(&[1, b.len()])?)
    }),
    Entry::one("linear(input, weight, bias=None)", |args| {
        let bias = (!args.is_none("bias"))
            .then(|| args.tensor("bias"))
            .transpose()?;
        linear(
            &args.tensor("input")?,
            &args.tensor("weight")?,
            bias.as_ref(),
        )
    }),
    Entry::one("trace(self)", |args| {
        let x = args.tensor("self")?;
        Array::full(matrix(&x)?.diagonal().sum(), &[], x.kind)
    }),
    Entry::many("linalg_qr(A, mode=reduced)", qr),
    Entry::many("linalg_svd(A, full_matrices=True, driver=None)", svd),
    Entry::many("linalg_eigh(A, UPLO=L)", eigh),
    Entry::one("linalg_inv(A)", |args| {
        let (a, x) = square(args, "A")?;
        back(&x.try_inverse().ok_or_else(singular)?, &a)
    }),
    Entry::one("linalg_solve(A, B, left=True)", solve),
    Entry::one("linalg_cholesky(self, upper=False)", |args| {
        let (a, x) = square(args, "self")?;
        let factor = x
            .cholesky()
            .ok_or_else(|| Error::new("the matrix is not positive definite"))?;
        let lower = factor.l();
        back(
            &if args.bool("upper")? {
                lower.transpose()
            } else {
                lower
            },
            &a,
        )
    }),
];

/// The product of vectors and matrices; there are no batches.
pub(super) fn matmul(a: &Array, b: &Array) -> Result<Array> {
    if a.kind != b.kind {
        let kinds = (a.kind, b.kind);
        return Err(Error::new(format!(
            "a product of {:?} and {:?} values",
            kinds.0, kinds.1
        )));
    }
    let (left, right) = match (&a.shape[..], &b.shape[..]) {
        ([n], [_] | [_, _]) => (a.reshape(&[1, *n])?, b.clone()),
        ([_, _], [_] | [_, _]) => (a.clone(), b.clone()),
        _ => return Err(no_batches(&[a, b])),
    };
    let right = match right.shape[..] {
        [n] => right.reshape(&[n, 1])?,
        _ => right,
    };
    let (x, y) = (matrix(&left)?, matrix(&right)?);
    if x.ncols() != y.nrows() {
        return Err(Error::new(format!(
            "a product of {:?} and {:?}",
            a.shape, b.shape
        )));
    }
    let product = back(&(x * y), a)?;
    let shape: Vec<usize> = a.shape[..a.shape.len() - 1]
        .iter()
        .chain(b.shape.iter().skip(1))
        .copied()
        .collect();
    product.reshape(&shape)
}

/// `x W' + b`: `x` is `[.., fan_in]`, `weight` `[fan_out, fan_in]`.
///
/// # Errors
/// When the shapes do not fit.
pub fn linear(x: &Array, weight: &Array, bias: Option<&Array>) -> Result<Array> {
    let transposed = transpose(weight)?;
    let product = matmul(x, &transposed)?;
    let Some(bias) = bias else { return Ok(product) };
    let bias = bias.expand(&product.shape)?.values();
    let values = product.values().into_iter().zip(bias).map(|(y, b)| y + b);
    Array::new(values.collect(), &product.shape, product.kind)
}

fn transpose(x: &Array) -> Result<Array> {
    match (&x.shape[..], &x.strides[..]) {
        (&[rows, columns], &[down, across]) => {
            Ok(x.view(0, vec![columns, rows], vec![across, down]))
        }
        _ => Err(no_batches(&[x])),
    }
}

fn qr(args: &Args<'_>) -> Result<Vec<Array>> {
    let a = args.tensor("A")?;
    let mode = args.str("mode")?;
    if mode != "reduced" {
        return Err(Error::new(format!("the fake host has no mode {mode}")));
    }
    // nalgebra's QR makes R's diagonal positive; LAPACK's does not say.
    let (q, r) = matrix(&a)?.qr().unpack();
    Ok(vec![back(&q, &a)?, back(&r, &a)?])
}

fn svd(args: &Args<'_>) -> Result<Vec<Array>> {
    let a = args.tensor("A")?;
    let x = matrix(&a)?;
    if args.bool("full_matrices")? && !x.is_square() {
        return Err(Error::new(
            "the fake host has the thin form only, `full_matrices` false",
        ));
    }
    let (u, values, vt) =
        super::svd::svd(&x).ok_or_else(|| Error::new("the decomposition did not converge"))?;
    let count = values.len();
    Ok(vec![
        back(&u, &a)?,
        Array::new(values, &[count], a.kind)?,
        back(&vt, &a)?,
    ])
}

fn eigh(args: &Args<'_>) -> Result<Vec<Array>> {
    let (a, x) = square(args, "A")?;
    let n = x.nrows();
    let eigen = x.symmetric_eigen();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| eigen.eigenvalues[i].total_cmp(&eigen.eigenvalues[j]));
    let values = order
        .iter()
        .map(|&index| eigen.eigenvalues[index])
        .collect();
    let vectors = DMatrix::from_fn(n, n, |row, column| eigen.eigenvectors[(row, order[column])]);
    Ok(vec![Array::new(values, &[n], a.kind)?, back(&vectors, &a)?])
}

fn solve(args: &Args<'_>) -> Result<Array> {
    if !args.bool("left")? {
        return Err(Error::new("the fake host solves from the left only"));
    }
    let (a, x) = square(args, "A")?;
    let b = args.tensor("B")?;
    if b.shape.first() != a.shape.first() {
        return Err(Error::new(format!("{:?} against {:?}", a.shape, b.shape)));
    }
    let columns = match b.shape[..] {
        [n] => b.reshape(&[n, 1])?,
        _ => b.clone(),
    };
    let solution = x.lu().solve(&matrix(&columns)?).ok_or_else(singular)?;
    back(&solution, &a)?.reshape(&b.shape)
}

fn square(args: &Args<'_>, name: &str) -> Result<(Array, DMatrix<f64>)> {
    let array = args.tensor(name)?;
    let matrix = matrix(&array)?;
    if !matrix.is_square() {
        return Err(Error::new(format!("{:?} is not square", array.shape)));
    }
    Ok((array, matrix))
}

fn matrix(array: &Array) -> Result<DMatrix<f64>> {
    match array.shape[..] {
        [rows, columns] if floating(array.kind) == array.kind => {
            Ok(DMatrix::from_row_slice(rows, columns, &array.values()))
        }
        [_, _] => Err(Error::new(format!("a matrix of {:?} values", array.kind))),
        _ => Err(no_batches(&[array])),
    }
}

fn back(matrix: &DMatrix<f64>, like: &Array) -> Result<Array> {
    // Column after column of the transpose is row after row.
    let values = matrix.transpose().as_slice().to_vec();
    Array::new(values, &[matrix.nrows(), matrix.ncols()], like.kind)
}

fn singular() -> Error {
    Error::new("the matrix is singular")
}

fn no_batches(arrays: &[&Array]) -> Error {
    let shapes: Vec<_> = arrays.iter().map(|array| &array.shape).collect();
    Error::new(format!(
        "the fake host computes with single matrices, not with {shapes:?}"
    ))
}
