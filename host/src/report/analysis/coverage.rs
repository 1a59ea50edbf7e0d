//! How often the 90% interval holds the optimum: 500 draws of noise on curves with known optima.
//!
//! | curve | about its optimum u = 0, in decades |
//! |---|---|
//! | parabola | 0.15 u^2 |
//! | even walls | two softplus walls of slope 0.3, rounded over 0.35 decades |
//! | steep right wall | softplus walls of slopes 0.15 and 0.6, rounded over 0.25 decades |
//!
//! The optimum is drawn anew each time, within half a grid step of the middle of a half-decade grid. Seeds differ by a
//! standard deviation of 0.05, runs by 0.01 or 0.02, where half a decade beside the optimum costs 0.03 to 0.1.
//!
//! Where noise is small against the rise over one grid step, the interval is no better than the cubic's idea of the
//! shape. On a curve of Morse's form, 0.1 (1 - e^{1.2 u})^2, flat on the left and steep on the right, half-decade grids with
//! a noise of a quarter to half of the smaller rise held the optimum in 45% to 82% of the cases, and quarter-decade grids in
//! little more: the interval is short there, 0.1 to 0.2 decades, and the optimum lies beside it by as much again.

use super::compare::quotient;
use super::fit::fit;
use super::losses::Losses;
use super::optimum::interval;
use super::types::Optimum;
use crate::random::Stream;

const DRAWS: usize = 500;

/// A loss over u, and its name.
struct Curve {
    name: &'static str,
    loss: fn(f64) -> f64,
}

const CURVES: [Curve; 3] = [
    Curve {
        name: "parabola",
        loss: |u| 0.5 + 0.15 * u * u,
    },
    Curve {
        name: "even walls",
        loss: |u| walls(u, 0.3, 0.3, 0.35),
    },
    Curve {
        name: "steep right wall",
        loss: |u| walls(u, 0.15, 0.6, 0.25),
    },
];

/// Two softplus walls, moved so that the minimum is at 0.
fn walls(u: f64, left: f64, right: f64, width: f64) -> f64 {
    let x = u / width - (right / left).ln();
    width * (left * (-x).exp().ln_1p() + right * x.exp().ln_1p())
}

/// Losses of a half-decade grid of `lrs` learning rates in the middle of which the optimum is, but for `offset`.
fn draw(
    curve: &Curve,
    lrs: usize,
    seeds: usize,
    noise: f64,
    offset: f64,
    rng: &mut Stream,
) -> Losses {
    let x: Vec<f64> = (0..lrs)
        .map(|place| (place as f64 - (lrs - 1) as f64 / 2.0) / 2.0)
        .collect();
    let mut row = || {
        let of_seed = 0.05 * rng.normal();
        let loss = |&x: &f64| (curve.loss)(x - offset) + of_seed + noise * rng.normal();
        x.iter().map(loss).collect()
    };
    let rows = (0..seeds).map(|_| row()).collect();
    Losses { x, rows }
}

/// The fit's interval in decades, where the best point is not on an edge.
fn fitted(losses: &Losses) -> Option<(f64, (f64, f64))> {
    let means = losses.means();
    let best = (0..means.len()).min_by(|&a, &b| means[a].total_cmp(&means[b]))?;
    let fit = fit(losses, best)?;
    Some((fit.minimum.unwrap_or(fit.centre), fit.interval?))
}

#[test]
fn intervals_hold_the_optimum_in_nine_of_ten_cases() {
    let mut outside = Vec::new();
    for curve in &CURVES {
        for noise in [0.01, 0.02] {
            for lrs in [5, 7] {
                for seeds in [3, 5, 10] {
                    let name = format!("{} {noise} {lrs} {seeds}", curve.name);
                    let mut rng = Stream::named(7, "coverage", &name);
                    let (mut held, mut tried) = (0, 0);
                    for _ in 0..DRAWS {
                        let offset = (rng.next_f64() - 0.5) / 2.0;
                        let losses = draw(curve, lrs, seeds, noise, offset, &mut rng);
                        let Some((_, (low, high))) = fitted(&losses) else {
                            continue;
                        };
                        tried += 1;
                        held += usize::from((low..=high).contains(&offset));
                    }
                    assert!(tried > DRAWS * 95 / 100, "{name}: {tried}");
                    let share = 100.0 * held as f64 / tried as f64;
                    if !(85.0..=95.0).contains(&share) {
                        outside.push(format!("{name}: {share:.1}%"));
                    }
                }
            }
        }
    }
    assert!(outside.is_empty(), "{outside:#?}");
}

/// Of a quotient of two optima whose curves have the steep wall on the same side.
#[test]
fn intervals_of_ratios_hold_the_ratio() {
    let curve = &CURVES[2];
    for seeds in [3, 5, 10] {
        let mut rng = Stream::named(7, "coverage", &format!("ratio {seeds}"));
        let mut held = 0;
        for _ in 0..DRAWS {
            let mut one = || {
                let offset = (rng.next_f64() - 0.5) / 2.0;
                let losses = draw(curve, 7, seeds, 0.02, offset, &mut rng);
                let (minimum, (low, high)) = fitted(&losses).unwrap();
                let optimum = Optimum {
                    lr: Some(10_f64.powf(minimum)),
                    interval: Some(interval(low, high)),
                    ..Optimum::default()
                };
                (offset, optimum)
            };
            let ((of_lora, lora), (of_full, full)) = (one(), one());
            let ratio = quotient(&lora, &full).unwrap();
            let truth = 10_f64.powf(of_lora - of_full);
            let above = ratio.low.is_none_or(|low| low <= truth);
            held += usize::from(above && ratio.high.is_none_or(|high| truth <= high));
        }
        let share = 100.0 * f64::from(u32::try_from(held).unwrap()) / DRAWS as f64;
        assert!((85.0..=97.0).contains(&share), "{seeds}: {share:.1}%");
    }
}
