//! Least squares with polynomials of few terms.

/// Coefficients of 1, u, u^2 and u^3, and what they vary by.
#[derive(Debug, Clone, PartialEq)]
pub struct Polynomial<const N: usize> {
    pub coefficients: [f64; N],
    /// Their covariance, where each value has variance 1 and all are independent.
    pub covariance: [[f64; N]; N],
}

impl<const N: usize> Polynomial<N> {
    /// The polynomial of `N` coefficients closest to `y` at `u`; none for fewer than `N` different places.
    pub fn fit(u: &[f64], y: &[f64]) -> Option<Self> {
        let mut normal = [[0.0; N]; N];
        let mut right = [0.0; N];
        for (&u, &y) in u.iter().zip(y) {
            let powers = powers::<N>(u);
            for row in 0..N {
                right[row] += powers[row] * y;
                for column in 0..N {
                    normal[row][column] += powers[row] * powers[column];
                }
            }
        }
        let covariance = inverse(normal)?;
        let coefficients = covariance.map(|row| dot(&row, &right));
        Some(Self {
            coefficients,
            covariance,
        })
    }

    pub fn value(&self, u: f64) -> f64 {
        dot(&powers(u), &self.coefficients)
    }

    /// Where the polynomial, of degree 3 at most, is lowest between `low` and `high`.
    pub fn minimum(&self, low: f64, high: f64) -> f64 {
        let coefficient = |power: usize| self.coefficients.get(power).copied().unwrap_or(0.0);
        let (a, b, c) = (3.0 * coefficient(3), 2.0 * coefficient(2), coefficient(1));
        let root = (b * b - 4.0 * a * c).sqrt();
        // Both roots of the derivative, without a difference of close numbers.
        let q = -0.5 * (b + root.copysign(b));
        let candidates = [low, high, q / a, c / q];
        candidates
            .into_iter()
            .filter(|u| (low..=high).contains(u))
            .min_by(|&one, &other| self.value(one).total_cmp(&self.value(other)))
            .unwrap_or(low)
    }
}

fn powers<const N: usize>(u: f64) -> [f64; N] {
    std::array::from_fn(|power| u.powi(power as i32))
}

fn dot<const N: usize>(one: &[f64; N], other: &[f64; N]) -> f64 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

/// By Gauss and Jordan with pivots; none for a singular matrix.
fn inverse<const N: usize>(mut matrix: [[f64; N]; N]) -> Option<[[f64; N]; N]> {
    let mut inverse = [[0.0; N]; N];
    for (place, row) in inverse.iter_mut().enumerate() {
        row[place] = 1.0;
    }
    let scale = matrix.iter().flatten().fold(0.0_f64, |m, x| m.max(x.abs()));
    for column in 0..N {
        let pivot = (column..N).max_by(|&a, &b| {
            let size = |row: usize| matrix[row][column].abs();
            size(a).total_cmp(&size(b))
        })?;
        if matrix[pivot][column].abs() <= 1e-12 * scale {
            return None;
        }
        matrix.swap(column, pivot);
        inverse.swap(column, pivot);
        let factor = matrix[column][column].recip();
        matrix[column] = matrix[column].map(|x| x * factor);
        inverse[column] = inverse[column].map(|x| x * factor);
        for row in (0..N).filter(|&row| row != column) {
            let factor = matrix[row][column];
            for place in 0..N {
                matrix[row][place] -= factor * matrix[column][place];
                inverse[row][place] -= factor * inverse[column][place];
            }
        }
    }
    Some(inverse)
}

#[cfg(test)]
mod tests {
    use super::*;

    const U: [f64; 5] = [-1.0, -0.5, 0.0, 0.6, 1.1];

    #[test]
    fn a_polynomial_is_found_again() {
        let y = U.map(|u| 2.0 - u + 3.0 * u * u + 0.5 * u.powi(3));
        let found = Polynomial::<4>::fit(&U, &y).unwrap();
        for (found, expected) in found.coefficients.into_iter().zip([2.0, -1.0, 3.0, 0.5]) {
            assert!((found - expected).abs() < 1e-12);
        }
        assert!(Polynomial::<3>::fit(&[0.0, 1.0], &[1.0, 2.0]).is_none());
        assert!(Polynomial::<3>::fit(&[0.0, 1.0, 1.0], &[1.0, 2.0, 3.0]).is_none());
    }

    /// For a straight line the variances are known: 1/n and 1 / sum of squares about the mean.
    #[test]
    fn the_covariance_of_a_line() {
        let u = [-2.0, -1.0, 0.0, 1.0, 2.0];
        let line = Polynomial::<2>::fit(&u, &u).unwrap();
        assert!((line.covariance[0][0] - 0.2).abs() < 1e-12);
        assert!((line.covariance[1][1] - 0.1).abs() < 1e-12);
        assert!(line.covariance[0][1].abs() < 1e-12);
    }

    #[test]
    fn minima() {
        let of = |coefficients| Polynomial {
            coefficients,
            covariance: [[0.0; 4]; 4],
        };
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-9, "{found}");
        near(of([0.0, -1.0, 1.0, 0.0]).minimum(-1.0, 1.0), 0.5);
        near(of([0.0, 0.0, 1.0, 0.0]).minimum(-1.0, 1.0), 0.0);
        // u^3 - u: a minimum at 1/sqrt 3, and the lower end beyond -2/sqrt 3.
        near(
            of([0.0, -1.0, 0.0, 1.0]).minimum(-1.0, 1.0),
            3_f64.sqrt().recip(),
        );
        near(of([0.0, -1.0, 0.0, 1.0]).minimum(-2.0, 1.0), -2.0);
        near(of([0.0, 1.0, 0.0, 0.0]).minimum(-1.0, 1.0), -1.0);
    }
}
