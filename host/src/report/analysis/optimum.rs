//! The optimum of a cell from its losses.

use super::super::summary::{Best, Edge, best_of};
use super::fit::{UFit, fit};
use super::losses::Losses;
use super::types::{Fit, Interval, NoInterval, Optimum, Source};

/// The optimum of `losses`, whose learning rates are some of those that were tried, by ascending learning rate: those
/// without a loss had runs that did not complete.
pub fn optimum(tried: &[(f64, Option<f64>)], losses: &Losses) -> Optimum {
    let Some(Best { lr, val_loss, edge }) = best_of(tried.iter().copied()) else {
        return Optimum {
            no_interval: Some(NoInterval::NoResult),
            ..Optimum::default()
        };
    };
    let only = edge == Some(Edge::Only);
    let tried_alone = Optimum {
        source: if only { Source::None } else { Source::Tried },
        lr: (!only).then_some(lr),
        best_tried: Some(lr),
        val_loss: Some(val_loss),
        edge,
        ..Optimum::default()
    };
    let without = |why| Optimum {
        no_interval: Some(why),
        ..tried_alone.clone()
    };
    match edge {
        Some(Edge::Only) => return without(NoInterval::OneLearningRate),
        Some(Edge::Smallest | Edge::Largest) => return without(NoInterval::Edge),
        None => {}
    }
    let place = losses.x.iter().position(|&x| x == lr.log10());
    let fitted = place
        .filter(|_| neighbours_completed(tried, lr))
        .and_then(|place| fit(losses, place));
    let Some(fitted) = fitted else {
        return without(NoInterval::TooFewPoints);
    };
    Optimum {
        source: fitted.minimum.map_or(Source::Tried, |_| Source::Fit),
        lr: fitted.minimum.map(power_of_ten).or(Some(lr)),
        interval: fitted.interval.map(|(low, high)| interval(low, high)),
        no_interval: fitted.interval.is_none().then_some(NoInterval::OneSeed),
        fit: Some(shown(&fitted, losses)),
        ..tried_alone
    }
}

/// An interval of learning rates from one of their decimal logarithms.
pub fn interval(low: f64, high: f64) -> Interval {
    let end = |x| Some(power_of_ten(x)).filter(|lr: &f64| lr.is_normal());
    Interval {
        low: end(low),
        high: end(high),
    }
}

pub fn power_of_ten(x: f64) -> f64 {
    10_f64.powf(x)
}

fn neighbours_completed(tried: &[(f64, Option<f64>)], lr: f64) -> bool {
    tried
        .windows(3)
        .any(|three| three[1].0 == lr && three[0].1.is_some() && three[2].1.is_some())
}

fn shown(fit: &UFit, losses: &Losses) -> Fit {
    Fit {
        centre: power_of_ten(fit.centre),
        coefficients: fit.coefficients,
        lrs: losses.x[fit.places.clone()]
            .iter()
            .map(|&x| power_of_ten(x))
            .collect(),
        cubic_lr: fit.cubic.map(power_of_ten),
        noise: fit.noise.map(|noise| noise.variance.sqrt()),
        degrees: fit.noise.map_or(0, |noise| noise.degrees),
    }
}
