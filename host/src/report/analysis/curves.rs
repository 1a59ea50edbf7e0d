//! Learning curves and norms from what runs logged.

use std::collections::BTreeMap;

use super::types::{CurvePoint, Curves};
use crate::record::{History, Norms};

/// The learning rates of a cell with the histories of their completed runs; `best` is the best of them.
pub fn curves(histories: &[(f64, Vec<&History>)], best: Option<f64>) -> Curves {
    let all: Vec<(f64, Vec<CurvePoint>)> = histories
        .iter()
        .map(|(lr, runs)| (*lr, mean_curve(*lr, runs)))
        .collect();
    let mut lowest: BTreeMap<usize, &CurvePoint> = BTreeMap::new();
    for point in all.iter().flat_map(|(_, curve)| curve) {
        let known = lowest.entry(point.step).or_insert(point);
        if point.val_loss < known.val_loss {
            *known = point;
        }
    }
    let lowest = lowest.into_values().cloned().collect();
    let at_best = all.into_iter().find(|(lr, _)| Some(*lr) == best);
    Curves {
        best: at_best.map(|(_, curve)| curve).unwrap_or_default(),
        lowest,
    }
}

/// Means over runs of their last norms, of those that every run has.
pub fn last_norms<'a>(runs: impl IntoIterator<Item = &'a History>) -> Option<Norms> {
    let last: Option<Vec<&Norms>> = runs
        .into_iter()
        .map(|run| Some(&run.diagnostics.last()?.total))
        .collect();
    let last = last.filter(|last| !last.is_empty())?;
    let mean = |norm: fn(&Norms) -> Option<f64>| {
        let sum: Option<f64> = last.iter().map(|norms| norm(norms)).sum();
        sum.map(|sum| sum / last.len() as f64)
    };
    Some(Norms {
        change: mean(|norms| norms.change),
        relative_change: mean(|norms| norms.relative_change),
        spectral_a: mean(|norms| norms.spectral_a),
        spectral_b: mean(|norms| norms.spectral_b),
        spectral_ba: mean(|norms| norms.spectral_ba),
        gradient: mean(|norms| norms.gradient),
        update: mean(|norms| norms.update),
    })
}

/// The mean over runs at each step at which all of them were evaluated.
fn mean_curve(lr: f64, runs: &[&History]) -> Vec<CurvePoint> {
    let Some((first, others)) = runs.split_first() else {
        return Vec::new();
    };
    let at = |run: &History, step: usize| {
        let mut steps = run.evaluations.iter();
        let found = steps.find(|evaluation| evaluation.step == step)?;
        Some(found.loss).filter(|loss| loss.is_finite())
    };
    let count = runs.len() as f64;
    let point = |step: usize| {
        let losses = std::iter::once(first).chain(others);
        let losses: Option<f64> = losses.map(|run| at(run, step)).sum();
        let spent = |figure: fn(&crate::record::DiagnosticsPoint) -> u64| {
            let of_run = |run: &&History| {
                let mut logged = run.diagnostics.iter();
                logged.find(|one| one.step == step).map(figure)
            };
            let sum: Option<u64> = runs.iter().map(of_run).sum();
            sum.map(|sum| sum as f64 / count)
        };
        Some(CurvePoint {
            step,
            tokens: spent(|one| one.tokens),
            multiply_adds: spent(|one| one.multiply_adds),
            val_loss: losses? / count,
            lr,
        })
    };
    let steps = first.evaluations.iter().map(|evaluation| evaluation.step);
    steps.filter_map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::EvaluationPoint;

    fn history(losses: &[(usize, f64)]) -> History {
        let evaluations = losses
            .iter()
            .map(|&(step, loss)| EvaluationPoint { step, loss });
        History {
            evaluations: evaluations.collect(),
            diagnostics: Vec::new(),
        }
    }

    #[test]
    fn curves_are_means_over_seeds_and_the_lowest_is_taken_step_by_step() {
        let fast = [
            history(&[(0, 2.0), (5, 1.0)]),
            history(&[(0, 2.0), (5, 0.5)]),
        ];
        let slow = [history(&[(0, 2.0), (5, 1.5), (10, 0.25)])];
        let histories = [
            (0.1, fast.iter().collect::<Vec<_>>()),
            (0.01, slow.iter().collect()),
        ];
        let curves = curves(&histories, Some(0.1));
        let shown = |curve: &[CurvePoint]| -> Vec<(usize, f64, f64)> {
            curve.iter().map(|p| (p.step, p.val_loss, p.lr)).collect()
        };
        assert_eq!(shown(&curves.best), [(0, 2.0, 0.1), (5, 0.75, 0.1)]);
        let expected = [(0, 2.0, 0.1), (5, 0.75, 0.1), (10, 0.25, 0.01)];
        assert_eq!(shown(&curves.lowest), expected);
    }

    #[test]
    fn nothing_of_nothing() {
        assert_eq!(curves(&[], None), Curves::default());
        assert_eq!(last_norms([]), None);
    }
}
