//! Student's t distribution.

/// How often an interval is to hold the true value.
pub const LEVEL: f64 = 0.9;

/// The t that a value of `degrees` degrees of freedom exceeds in absolute value with probability 1 - [`LEVEL`]; none
/// without a degree of freedom.
pub fn quantile(degrees: usize) -> Option<f64> {
    let beyond = |t| p_value(t, degrees);
    let (mut low, mut high) = (0.0, 1.0);
    while beyond(high)? > 1.0 - LEVEL {
        high *= 2.0;
    }
    // Each round halves the range: after 60 nothing is left of it.
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if beyond(middle)? > 1.0 - LEVEL {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(high)
}

/// How likely a t as far from 0 as this one is by chance (two-sided); none without a degree of freedom.
pub fn p_value(t: f64, degrees: usize) -> Option<f64> {
    let n = degrees as f64;
    (degrees > 0 && !t.is_nan()).then(|| incomplete_beta(n / 2.0, 0.5, n / (n + t * t)))
}

/// The regularised incomplete beta function of x, a and b, by its continued fraction (Abramowitz and Stegun 26.5.8) in the
/// manner of Lentz.
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    // Beyond this the fraction of the other tail converges faster.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(b, a, 1.0 - x);
    }
    let front = a * x.ln() + b * (1.0 - x).ln() - (ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b));
    let (mut fraction, mut c, mut d) = (1.0, 1.0, 0.0);
    for term in 0..1000_u32 {
        let m = f64::from(term / 2);
        let numerator = if term == 0 {
            1.0
        } else if term % 2 == 0 {
            m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m))
        } else {
            -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0))
        };
        d = (1.0_f64 + numerator * d).recip();
        c = 1.0 + numerator / c;
        fraction *= c * d;
        if (c * d - 1.0).abs() < 1e-15 {
            break;
        }
    }
    front.exp() * (fraction - 1.0) / a
}

/// The logarithm of the gamma function of a number above 0, by Lanczos' approximation (g = 7, 9 terms).
fn ln_gamma(x: f64) -> f64 {
    const TERMS: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = x - 1.0;
    let terms = (1..).zip(&TERMS[1..]);
    let sum: f64 = TERMS[0]
        + terms
            .map(|(i, term)| term / (x + f64::from(i)))
            .sum::<f64>();
    let base = x + 7.5;
    0.5 * std::f64::consts::TAU.ln() + (x + 0.5) * base.ln() - base + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of R's `qt(0.95, n)` and `2 * pt(-t, n)`.
    #[test]
    fn known_values() {
        for (degrees, expected) in [
            (1, 6.313751515),
            (2, 2.919985580),
            (8, 1.859548038),
            (30, 1.697260887),
            (1000, 1.646378818),
        ] {
            let found = quantile(degrees).unwrap();
            assert!((found - expected).abs() < 1e-7, "{degrees}: {found}");
        }
        let p = p_value(-2.919985580, 2).unwrap();
        assert!((p - 0.1).abs() < 1e-9, "{p}");
        assert_eq!(p_value(0.0, 3), Some(1.0));
        assert_eq!((quantile(0), p_value(1.0, 0)), (None, None));
    }

    /// With 1 and 2 degrees of freedom the distribution has a closed form, far out too.
    #[test]
    fn closed_forms() {
        for t in [0.01_f64, 0.5, 1.0, 3.0, 40.0, 1e4] {
            let one = 1.0 - 2.0 / std::f64::consts::PI * t.atan();
            let two = 1.0 - t / (2.0 + t * t).sqrt();
            for (degrees, expected) in [(1, one), (2, two)] {
                let found = p_value(t, degrees).unwrap();
                assert!(
                    (found - expected).abs() < 1e-12 + 1e-7 * expected,
                    "{t} {found}"
                );
            }
        }
    }
}
