//! A cell of LoRA against full fine-tuning: the ratio of the optima, and what LoRA loses.

use super::super::summary::{Bound, bound};
use super::optimum::interval;
use super::student;
use super::types::{
    CellAnalysis, Difference, Interval, Optimum, RatioAnalysis, Regret, RunPoint, Verdict,
};
use crate::record::Status;

/// The optimum of `cell` over that of `full`.
pub fn ratio(cell: &CellAnalysis, full: &CellAnalysis) -> Option<RatioAnalysis> {
    let (own, of_full) = (&cell.optimum, &full.optimum);
    own.best_tried.zip(of_full.best_tried)?;
    let bound = bound(own.edge, of_full.edge);
    let value = own.lr.zip(of_full.lr).map(|(own, full)| own / full);
    let interval = (bound == Bound::Inside)
        .then(|| quotient(own, of_full))
        .flatten();
    Some(RatioAnalysis {
        full: full.cell.clone(),
        value: value.filter(|_| bound != Bound::Unresolved),
        interval,
        bound,
        verdict: interval.map(|interval| verdict(&interval, 1.0)),
    })
}

/// The interval of a quotient from those of its parts, which are independent: in the logarithm, where the distance of
/// each end from the estimate is the root of the sum of squares of the distances that lead there (G. Y. Zou, A. Donner,
/// Statist. Med. 27:1693, 2008).
pub fn quotient(above: &Optimum, below: &Optimum) -> Option<Interval> {
    let parts = |optimum: &Optimum| {
        let (estimate, interval) = (optimum.lr?.log10(), optimum.interval?);
        let low = interval
            .low
            .map_or(f64::INFINITY, |low| estimate - low.log10());
        let high = interval
            .high
            .map_or(f64::INFINITY, |high| high.log10() - estimate);
        Some((estimate, low, high))
    };
    let (above, down, up) = parts(above)?;
    let (below, below_down, below_up) = parts(below)?;
    let estimate = above - below;
    Some(interval(
        estimate - down.hypot(below_up),
        estimate + up.hypot(below_down),
    ))
}

/// `cell` less `full`, each at the best learning rate that was tried.
pub fn regret(cell: &CellAnalysis, full: &CellAnalysis) -> Option<Regret> {
    let (own, of_full) = (&cell.best_point()?.runs, &full.best_point()?.runs);
    let pairs: Vec<(&RunPoint, &RunPoint)> = own
        .iter()
        .filter_map(|run| Some((run, of_full.iter().find(|full| full.seed == run.seed)?)))
        .filter(|(run, full)| {
            [run, full]
                .iter()
                .all(|r| r.status == Some(Status::Completed))
        })
        .collect();
    let compared = |of: &str, figure: fn(&RunPoint) -> Option<f64>| {
        let figures = pairs
            .iter()
            .map(|(own, full)| Some((figure(own)?, figure(full)?)));
        difference(of, &figures.collect::<Option<Vec<_>>>()?)
    };
    let same_headline = cell.headline == full.headline;
    let headline = cell.headline.as_deref().filter(|_| same_headline);
    Some(Regret {
        full: full.cell.clone(),
        loss: compared("test loss", |run| run.test_loss)
            .or_else(|| compared("validation loss", |run| run.val_loss)),
        metric: headline.and_then(|name| compared(name, |run| run.metric)),
        edge: cell.optimum.edge.is_some() || full.optimum.edge.is_some(),
    })
}

/// Student's t test of pairs.
fn difference(of: &str, pairs: &[(f64, f64)]) -> Option<Difference> {
    let seeds = pairs.len();
    if seeds == 0 {
        return None;
    }
    let mean = |figures: &mut dyn Iterator<Item = f64>| figures.sum::<f64>() / seeds as f64;
    let cell = mean(&mut pairs.iter().map(|pair| pair.0));
    let full = mean(&mut pairs.iter().map(|pair| pair.1));
    let value = mean(&mut pairs.iter().map(|pair| pair.0 - pair.1));
    let squares = pairs.iter().map(|pair| (pair.0 - pair.1 - value).powi(2));
    let degrees = seeds - 1;
    let error =
        (degrees > 0).then(|| (squares.sum::<f64>() / degrees as f64 / seeds as f64).sqrt());
    let interval = error
        .zip(student::quantile(degrees))
        .map(|(error, t)| Interval {
            low: Some(value - t * error),
            high: Some(value + t * error),
        });
    // Pairs that all differ by the same have no t.
    let t = error.map(|error| value / error).filter(|t| t.is_finite());
    Some(Difference {
        of: of.to_owned(),
        cell,
        full,
        value,
        interval,
        t,
        p: t.and_then(|t| student::p_value(t, degrees)),
        seeds,
        verdict: interval.map_or(Verdict::Unresolved, |interval| verdict(&interval, 0.0)),
    })
}

/// Where the interval lies, seen from `reference`.
fn verdict(interval: &Interval, reference: f64) -> Verdict {
    if interval.low.is_some_and(|low| low > reference) {
        Verdict::Larger
    } else if interval.high.is_some_and(|high| high < reference) {
        Verdict::Smaller
    } else {
        Verdict::Unresolved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R: `t.test(c(1.2, 1.5, 1.1, 1.9), c(1.0, 1.1, 1.0, 1.2), paired = TRUE, conf.level = 0.9)`.
    #[test]
    fn the_paired_test_of_a_text_book() {
        let pairs = [(1.2, 1.0), (1.5, 1.1), (1.1, 1.0), (1.9, 1.2)];
        let found = difference("test loss", &pairs).unwrap();
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-4, "{found}");
        near(found.value, 0.35);
        near(found.t.unwrap(), 2.6458);
        near(found.p.unwrap(), 0.0773);
        let interval = found.interval.unwrap();
        near(interval.low.unwrap(), 0.0387);
        near(interval.high.unwrap(), 0.6613);
        assert_eq!(found.verdict, Verdict::Larger);
    }

    #[test]
    fn one_seed_resolves_nothing() {
        let found = difference("acc", &[(0.9, 0.1)]).unwrap();
        assert_eq!((found.interval, found.t, found.p), (None, None, None));
        assert_eq!(found.verdict, Verdict::Unresolved);
        assert_eq!(difference("acc", &[]), None);
    }

    #[test]
    fn a_quotient_of_intervals() {
        let optimum = |lr: f64, low: Option<f64>, high: Option<f64>| Optimum {
            lr: Some(lr),
            interval: Some(Interval { low, high }),
            ..Optimum::default()
        };
        // Distances of 0.3 and 0.4 decades make 0.5.
        let above = optimum(1e-3, Some(10_f64.powf(-3.3)), Some(10_f64.powf(-2.6)));
        let below = optimum(1e-4, Some(10_f64.powf(-4.3)), Some(10_f64.powf(-3.6)));
        let interval = quotient(&above, &below).unwrap();
        assert!((interval.low.unwrap().log10() - 0.5).abs() < 1e-9);
        assert!((interval.high.unwrap().log10() - 1.5).abs() < 1e-9);
        let open = optimum(1e-4, None, Some(1e-3));
        let interval = quotient(&above, &open).unwrap();
        assert!(interval.low.is_some());
        assert_eq!(interval.high, None);
        assert_eq!(verdict(&interval, 1e-9), Verdict::Larger);
        assert_eq!(verdict(&interval, 1.0), Verdict::Unresolved);
    }
}
