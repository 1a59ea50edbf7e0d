//! The minimum of a U of losses over log learning rate, and how well it is known.
//!
//! A parabola goes through the points near the best one, out to about half a decade, because a U is steeper on one
//! side and a parabola over all of it is off by more than noise. Fieller's method (E. C. Fieller, J. R. Statist. Soc. B
//! 16:175, 1954) gives the interval of its minimum: all places where the slope may be 0. Noise comes from the
//! residuals of the points near the minimum, over learning rates and seeds together, seed effects removed.
//!
//! What the parabola's own shape leaves out, a cubic shows: it takes in points of a whole decade on the flatter side, and
//! the interval is stretched towards its minimum by [`STRETCH`] times the difference.

use super::losses::{Losses, Noise};
use super::polynomial::Polynomial;
use super::student;

/// Decades on each side of the best point that the parabola spans: it sees the points up to the first that is so far away,
/// half a decade less what rounding takes, as from 3e-4 to 1e-3. Without far points it has no hold, however many are near.
const REACH: f64 = 0.45;
/// The same for the cubic, on the flatter side.
const WIDE_REACH: f64 = 0.95;

/// The cubic lies between the parabola and the truth. On curves whose walls differ four times in slope it leaves up to a
/// third of the parabola's error, so that the difference is two thirds of it; `coverage.rs` has how often the interval then
/// holds the truth. Where the U is symmetric the difference is noise, and the interval hardly grows.
const STRETCH: f64 = 1.5;

/// The fit of one U. Places are decimal logarithms of learning rates.
#[derive(Debug, Clone, PartialEq)]
pub struct UFit {
    /// The best point: the origin of the coefficients.
    pub centre: f64,
    /// Of 1, u and u^2, u = x - centre.
    pub coefficients: [f64; 3],
    /// The points that the parabola sees.
    pub places: std::ops::Range<usize>,
    /// Where the parabola has its minimum; absent where it has none among its points.
    pub minimum: Option<f64>,
    /// Where the cubic has its own.
    pub cubic: Option<f64>,
    /// Absent where there is one seed.
    pub noise: Option<Noise>,
    /// Lower and upper end; infinite where noise hides the curvature. Absent where there is one seed.
    pub interval: Option<(f64, f64)>,
}

/// Fits the losses about the point `best`, which has neighbours on both sides.
pub fn fit(losses: &Losses, best: usize) -> Option<UFit> {
    let x = &losses.x;
    if best == 0 || best + 1 >= x.len() {
        return None;
    }
    let centre = x[best];
    let within = |reach: f64| {
        let beyond = x.partition_point(|&x| x <= centre - reach);
        let before = x.partition_point(|&x| x < centre + reach);
        beyond.saturating_sub(1).min(best - 1)..(before + 1).clamp(best + 2, x.len())
    };
    let means = losses.means();
    let u: Vec<f64> = x.iter().map(|x| x - centre).collect();
    let near = within(REACH);
    let wide = towards_the_flatter_side(&near, &within(WIDE_REACH), &means);
    let parabola = Polynomial::<3>::fit(&u[near.clone()], &means[near.clone()])?;
    let cubic = Polynomial::<4>::fit(&u[wide.clone()], &means[wide.clone()]);

    let (low, high) = (u[near.start], u[near.end - 1]);
    let [_, slope, curvature] = parabola.coefficients;
    let vertex = -slope / (2.0 * curvature);
    let minimum = (curvature > 0.0 && (low..=high).contains(&vertex)).then_some(vertex);
    let cubic = cubic.map(|cubic| cubic.minimum(low, high));
    let noise = losses.part(wide).noise();
    let interval = noise.and_then(|noise| {
        let Some(minimum) = minimum else {
            return Some((f64::NEG_INFINITY, f64::INFINITY));
        };
        let (low, high) = fieller(&parabola, noise, losses.seeds())?;
        let beyond = cubic.map_or(0.0, |cubic| STRETCH * (cubic - minimum));
        Some((low + beyond.min(0.0), high + beyond.max(0.0)))
    });
    Some(UFit {
        centre,
        coefficients: parabola.coefficients,
        places: near,
        minimum: minimum.map(|minimum| centre + minimum),
        cubic: cubic.map(|cubic| centre + cubic),
        noise,
        interval: interval.map(|(low, high)| (centre + low, centre + high)),
    })
}

/// The points of the cubic: those of the parabola and what `wide` adds on the side where it is lower, or at least one more
/// point if there is one on either side.
fn towards_the_flatter_side(
    near: &std::ops::Range<usize>,
    wide: &std::ops::Range<usize>,
    means: &[f64],
) -> std::ops::Range<usize> {
    let mean = |places: std::ops::Range<usize>| {
        let count = places.len() as f64;
        (count > 0.0).then(|| means[places].iter().sum::<f64>() / count)
    };
    let left = wide.start.min(near.start.saturating_sub(1))..near.start;
    let right = near.end..wide.end.max(near.end + 1).min(means.len());
    match (mean(left.clone()), mean(right.clone())) {
        (Some(left_mean), Some(right_mean)) if left_mean > right_mean => near.start..right.end,
        (Some(_), _) => left.start..near.end,
        (None, _) => near.start..right.end,
    }
}

/// Where the slope of the parabola may be 0, given the noise of means over `seeds`: all u with
/// (c1 + 2 c2 u)^2 <= t^2 var(c1 + 2 c2 u). Unbounded where the curvature may be 0.
fn fieller(parabola: &Polynomial<3>, noise: Noise, seeds: usize) -> Option<(f64, f64)> {
    let t = student::quantile(noise.degrees)?;
    let factor = t * t * noise.variance / seeds as f64;
    let [_, slope, curvature] = parabola.coefficients;
    let covariance = |one: usize, other: usize| factor * parabola.covariance[one][other];
    let a = 4.0 * (curvature * curvature - covariance(2, 2));
    let b = 4.0 * (slope * curvature - covariance(1, 2));
    let c = slope * slope - covariance(1, 1);
    if a <= 0.0 {
        return Some((f64::NEG_INFINITY, f64::INFINITY));
    }
    // The minimum itself satisfies the inequality, so rounding alone makes this negative.
    let root = (b * b - 4.0 * a * c).max(0.0).sqrt();
    Some(((-b - root) / (2.0 * a), (-b + root) / (2.0 * a)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(x: &[f64], losses: impl Fn(f64) -> f64, seeds: usize) -> Losses {
        let row = || x.iter().map(|&x| losses(x)).collect();
        Losses {
            x: x.to_vec(),
            rows: (0..seeds).map(|_| row()).collect(),
        }
    }

    #[test]
    fn a_parabola_without_noise_is_found_exactly() {
        let x = [-5.0, -4.5, -4.0, -3.5, -3.0];
        let fit = fit(&table(&x, |x| 0.5 + (x + 3.9).powi(2), 3), 2).unwrap();
        assert_eq!(fit.places, 1..4);
        assert!((fit.minimum.unwrap() + 3.9).abs() < 1e-9);
        assert!((fit.cubic.unwrap() + 3.9).abs() < 1e-9);
        let (low, high) = fit.interval.unwrap();
        assert!(
            (low + 3.9).abs() < 1e-6 && (high + 3.9).abs() < 1e-6,
            "{low} {high}"
        );
    }

    #[test]
    fn one_seed_has_no_interval_and_an_edge_no_fit() {
        let x = [-5.0, -4.5, -4.0];
        let one = table(&x, |x| (x + 4.5).powi(2), 1);
        let fitted = fit(&one, 1).unwrap();
        assert_eq!((fitted.noise, fitted.interval), (None, None));
        assert!(fitted.minimum.is_some());
        assert_eq!(fit(&one, 0), None);
        assert_eq!(fit(&one, 2), None);
    }

    #[test]
    fn noise_that_hides_the_curvature_leaves_the_interval_open() {
        let losses = Losses {
            x: vec![-5.0, -4.5, -4.0],
            rows: vec![vec![0.52, 0.49, 0.60], vec![0.60, 0.51, 0.51]],
        };
        let (low, high) = fit(&losses, 1).unwrap().interval.unwrap();
        assert_eq!((low, high), (f64::NEG_INFINITY, f64::INFINITY));
    }

    #[test]
    fn the_window_follows_the_distance_and_not_the_number_of_points() {
        let x: Vec<f64> = (0..17).map(|i| f64::from(i) / 8.0).collect();
        let fitted = fit(&table(&x, |x| (x - 1.0).powi(2), 2), 8).unwrap();
        assert_eq!(fitted.places, 4..13);
        // Points that crowd about the best one do not push the far ones out.
        let x = [-5.0, -4.1, -4.05, -4.0, -3.95, -3.9, -3.0, -2.0];
        let uneven = fit(&table(&x, |x| (x + 4.0).powi(2), 2), 3).unwrap();
        assert_eq!(uneven.places, 0..7);
        let x = [-6.0, -5.0, -4.0];
        assert_eq!(
            fit(&table(&x, |x| (x + 5.0).powi(2), 2), 1).unwrap().places,
            0..3
        );
    }
}
