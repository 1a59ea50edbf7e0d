//! The singular value decomposition by one-sided Jacobi rotations: nalgebra's own is wrong for some matrices that are
//! not of full rank.

use nalgebra::DMatrix;

/// Sweeps over all pairs of columns; a handful is the rule.
const SWEEPS: usize = 60;

/// U `[m, k]`, S (falling) and V' `[k, n]` of `a` `[m, n]`, k = min(m, n); none if it does not converge.
pub fn svd(a: &DMatrix<f64>) -> Option<(DMatrix<f64>, Vec<f64>, DMatrix<f64>)> {
    if a.nrows() < a.ncols() {
        let (u, s, vt) = svd(&a.transpose())?;
        return Some((vt.transpose(), s, u.transpose()));
    }
    let mut scaled = a.clone();
    let mut v = DMatrix::identity(a.ncols(), a.ncols());
    for sweep in 0.. {
        if !rotate(&mut scaled, &mut v) {
            break;
        }
        if sweep == SWEEPS {
            return None;
        }
    }
    let norms: Vec<f64> = scaled.column_iter().map(|column| column.norm()).collect();
    let mut order: Vec<usize> = (0..norms.len()).collect();
    order.sort_by(|&p, &q| norms[q].total_cmp(&norms[p]));
    let s: Vec<f64> = order.iter().map(|&column| norms[column]).collect();
    let negligible = s.first().copied().unwrap_or(0.0) * f64::EPSILON;
    let mut u = DMatrix::zeros(a.nrows(), a.ncols());
    for (place, &column) in order.iter().enumerate() {
        if s[place] > negligible {
            u.set_column(place, &(scaled.column(column) / s[place]));
        } else {
            complete(&mut u, place);
        }
    }
    Some((u, s, v.select_columns(&order).transpose()))
}

/// Makes all pairs of columns of `x` orthogonal once, turning `v` with them; whether there was anything to do.
fn rotate(x: &mut DMatrix<f64>, v: &mut DMatrix<f64>) -> bool {
    let mut turned = false;
    for q in 1..x.ncols() {
        for p in 0..q {
            let (a, b) = (x.column(p).norm_squared(), x.column(q).norm_squared());
            let product = x.column(p).dot(&x.column(q));
            if product.abs() <= f64::EPSILON * (a * b).sqrt() {
                continue;
            }
            turned = true;
            let zeta = (b - a) / (2.0 * product);
            let tangent = 1.0_f64.copysign(zeta) / (zeta.abs() + zeta.hypot(1.0));
            let cosine = 1.0 / tangent.hypot(1.0);
            let sine = cosine * tangent;
            for matrix in [&mut *x, &mut *v] {
                let (left, right) = (matrix.column(p) * cosine, matrix.column(q) * cosine);
                let (left, right) = (
                    left - matrix.column(q) * sine,
                    right + matrix.column(p) * sine,
                );
                matrix.set_column(p, &left);
                matrix.set_column(q, &right);
            }
        }
    }
    turned
}

/// Sets a column to a unit vector that is orthogonal to those before it.
fn complete(u: &mut DMatrix<f64>, place: usize) {
    let before = u.columns(0, place).into_owned();
    let rest = DMatrix::identity(u.nrows(), u.nrows()) - &before * before.transpose();
    // What is left of the unit vectors; the longest of them is well away from zero.
    let longest =
        (0..rest.ncols()).max_by(|&p, &q| rest.column(p).norm().total_cmp(&rest.column(q).norm()));
    if let Some(column) = longest {
        u.set_column(place, &rest.column(column).normalize());
    }
}
