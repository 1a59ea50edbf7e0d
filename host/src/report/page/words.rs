//! Figures and findings in words, the same in tables, tooltips and plots.

use crate::record::Status;
use crate::report::analysis::{Interval, NoInterval, Optimum, Source, Verdict};
use crate::report::{Bound, Edge};

/// Three significant digits: `1.23e-4`, `0.0123`, `12.3`.
pub fn digits(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    // Rounded first, so that 9.999 is 10.0.
    let scientific = format!("{value:.2e}");
    let exponent = scientific
        .split_once('e')
        .and_then(|(_, exponent)| exponent.parse().ok())
        .unwrap_or(0);
    match exponent {
        -2..=4 => {
            let decimals = (2 - exponent).max(0) as usize;
            format!("{value:.decimals$}")
        }
        _ => scientific,
    }
}

/// `0.0012 to 0.0034`; an end that is unbounded is `…`.
pub fn interval(interval: Interval) -> String {
    let end = |end: Option<f64>| end.map_or("…".to_owned(), digits);
    format!("{} to {}", end(interval.low), end(interval.high))
}

/// A ratio, with the sign of a bound.
pub fn ratio(value: f64, bound: Bound) -> Option<String> {
    match bound {
        Bound::Inside => Some(digits(value)),
        Bound::AtLeast => Some(format!("≥ {}", digits(value))),
        Bound::AtMost => Some(format!("≤ {}", digits(value))),
        Bound::Unresolved => None,
    }
}

/// What is to be said of an optimum beside its value.
pub fn remark(optimum: &Optimum) -> &'static str {
    match (optimum.edge, optimum.no_interval) {
        (Some(Edge::Smallest), _) => "the smallest tried: the optimum may lie lower",
        (Some(Edge::Largest), _) => "the largest tried: the optimum may lie higher",
        (Some(Edge::Only), _) | (_, Some(NoInterval::OneLearningRate)) => {
            "one learning rate: no optimum"
        }
        (None, Some(NoInterval::NoResult)) => "no learning rate at which all runs completed",
        (None, Some(NoInterval::Edge)) => "on the edge of what was tried",
        (None, Some(NoInterval::OneSeed)) => "one seed: no interval",
        (None, Some(NoInterval::TooFewPoints)) => {
            "too few points about the minimum for an interval"
        }
        (None, None) => match optimum.source {
            Source::None => "no optimum",
            Source::Tried => "the best one tried",
            Source::Fit => "minimum of a fit",
        },
    }
}

pub fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Larger => "larger",
        Verdict::Smaller => "smaller",
        Verdict::Unresolved => "unresolved",
    }
}

pub fn status(status: Option<Status>) -> &'static str {
    match status {
        Some(Status::Completed) => "completed",
        Some(Status::Diverged) => "diverged",
        Some(Status::Failed) => "failed",
        None => "unfinished",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits() {
        let expected = [
            (1.23456e-4, "1.23e-4"),
            (0.0123456, "0.0123"),
            (0.99999, "1.00"),
            (9.996, "10.0"),
            (12.345, "12.3"),
            (31234.5, "31234"),
            (3.12345e7, "3.12e7"),
            (-0.04, "-0.0400"),
            (0.0, "0"),
        ];
        for (value, text) in expected {
            assert_eq!(digits(value), text);
        }
    }

    #[test]
    fn bounds_and_open_ends_are_said() {
        let half = Interval {
            low: Some(0.5),
            high: None,
        };
        assert_eq!(interval(half), "0.500 to …");
        assert_eq!(ratio(10.0, Bound::AtLeast).as_deref(), Some("≥ 10.0"));
        assert_eq!(ratio(10.0, Bound::Unresolved), None);
    }
}
