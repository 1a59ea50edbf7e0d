//! The bracket search: learning rates are added to each cell until its optimum is known well enough.
//!
//! A decision depends on the records alone, so that a search that goes on after an interruption, or is begun once more, takes
//! the same way and finds its runs done.

use crate::report::Edge;
use crate::report::analysis::{Analysis, CellAnalysis, Interval, NoInterval, Optimum};
use crate::spec::{PlannedRun, Search};

/// Decades by which a grid grows beyond its edge.
const OUTWARD: f64 = 0.5;
/// Learning rates closer than this, in decades, say the same; more seeds say more.
const FINEST: f64 = 0.06;

/// What a search makes of a cell.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// These learning rates are needed.
    Add(Vec<f64>),
    Stop(Stopped),
}

/// Why a cell gets no more learning rates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// The optimum is known to the width that was asked for.
    Narrow,
    /// There are as many as the budget allows.
    Budget,
    /// The learning rates about the optimum are as close as makes sense: what is left is noise between seeds.
    Finest,
    /// Runs failed, or there is none: nothing can be decided.
    NoResult,
}

impl Stopped {
    /// As the end of a sentence about the cell.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Narrow => "as narrow as asked for",
            Self::Budget => "the budget is spent",
            Self::Finest => "more learning rates would say no more; more seeds would",
            Self::NoResult => "nothing completed",
        }
    }
}

/// The runs that a search wants next: each new learning rate of a cell with every seed that the cell has. `planned` are
/// the runs so far; `analysis` is that of their records.
#[must_use]
pub fn next_runs(planned: &[PlannedRun], analysis: &Analysis, search: Search) -> Vec<PlannedRun> {
    let mut runs = Vec::new();
    for cell in &analysis.cells {
        let Next::Add(lrs) = next(cell, search) else {
            continue;
        };
        let of_cell = || planned.iter().filter(|run| run.cell == cell.cell);
        // One run of each seed, at whichever rate it is planned first.
        let mut templates: Vec<&PlannedRun> = Vec::new();
        for run in of_cell() {
            if templates
                .iter()
                .all(|known| known.spec.seeds != run.spec.seeds)
            {
                templates.push(run);
            }
        }
        for lr in lrs {
            for run in &templates {
                let mut run = (*run).clone();
                run.spec.train.lr = lr;
                runs.push(run);
            }
        }
    }
    runs
}

/// What the search makes of a cell.
#[must_use]
pub fn next(cell: &CellAnalysis, search: Search) -> Next {
    let Search::Bracket { width, budget } = search else {
        return Next::Stop(Stopped::Narrow);
    };
    let tried: Vec<f64> = cell.points.iter().map(|point| point.lr).collect();
    let Some(mut wanted) = wanted(cell, &tried, width) else {
        return Next::Stop(Stopped::Narrow);
    };
    wanted.retain(|lr| {
        tried
            .iter()
            .all(|tried| distance(*tried, *lr) > FINEST / 2.0)
    });
    if wanted.is_empty() {
        let completed = cell.optimum.best_tried.is_some();
        return Next::Stop(if completed {
            Stopped::Finest
        } else {
            Stopped::NoResult
        });
    }
    wanted.truncate(budget.saturating_sub(tried.len()));
    if wanted.is_empty() {
        return Next::Stop(Stopped::Budget);
    }
    Next::Add(wanted)
}

/// The decades of a search's cells once it ended, for whoever reports them.
#[must_use]
pub fn decades(optimum: &Optimum) -> Option<f64> {
    match optimum.interval? {
        Interval {
            low: Some(low),
            high: Some(high),
        } => Some(distance(low, high)),
        _ => None,
    }
}

/// Learning rates that would tell more; none where the optimum is known well enough.
fn wanted(cell: &CellAnalysis, tried: &[f64], width: f64) -> Option<Vec<f64>> {
    let (Some(&smallest), Some(&largest)) = (tried.first(), tried.last()) else {
        return Some(Vec::new());
    };
    let below = beyond(smallest, -OUTWARD);
    let above = beyond(largest, OUTWARD);
    let optimum = &cell.optimum;
    let Some(best) = optimum.best_tried else {
        // Where everything diverged, the learning rates were too large.
        let all_diverged = cell.counts.diverged > 0 && cell.counts.failed == 0;
        return Some(if all_diverged {
            vec![below]
        } else {
            Vec::new()
        });
    };
    match optimum.edge {
        Some(Edge::Smallest) => return Some(vec![below]),
        Some(Edge::Largest) => return Some(vec![above]),
        Some(Edge::Only) => return Some(vec![below, above]),
        None => {}
    }
    let gaps = || tried.windows(2).map(|pair| (pair[0], pair[1]));
    let beside_best = gaps().filter(|&(low, high)| low == best || high == best);
    match optimum.no_interval {
        // A neighbour diverged or failed: nearer ones may not.
        Some(NoInterval::TooFewPoints) => {
            let lost = |lr: f64| {
                let mut points = cell.points.iter();
                points.any(|point| point.lr == lr && point.val_loss.is_none())
            };
            let open = beside_best.filter(|&(low, high)| lost(low) || lost(high));
            return Some(open.filter_map(middle).collect());
        }
        // Without an interval the grid itself is the measure.
        Some(_) => {
            let coarse = beside_best.filter(|&(low, high)| distance(low, high) > width);
            let middles: Vec<f64> = coarse.filter_map(middle).collect();
            return (!middles.is_empty()).then_some(middles);
        }
        None => {}
    }
    if decades(optimum).is_some_and(|decades| decades <= width) {
        return None;
    }
    Some(widest(gaps(), best, optimum).into_iter().collect())
}

/// The middle of that gap about the best learning rate which has most of the interval, the wider one of two that have
/// the same.
fn widest(gaps: impl Iterator<Item = (f64, f64)>, best: f64, optimum: &Optimum) -> Option<f64> {
    let interval = optimum.interval.unwrap_or_default();
    // What the fit sees, rounded outwards.
    let seen = optimum.fit.as_ref().map(|fit| fit.lrs.as_slice());
    let (from, to) = match seen {
        Some([first, .., last]) => (first / 1.001, last * 1.001),
        _ => (beyond(best, -OUTWARD), beyond(best, OUTWARD)),
    };
    let low = interval.low.unwrap_or(from).max(from);
    let high = interval.high.unwrap_or(to).min(to);
    let inside = gaps.filter(|&(left, right)| left >= from && right <= to);
    let open = inside.filter_map(|gap| Some((gap, middle(gap)?)));
    let within = |&((left, right), _): &((f64, f64), f64)| {
        let (left_end, right_end) = (left.max(low), right.min(high));
        let covered = if left_end < right_end {
            distance(left_end, right_end)
        } else {
            0.0
        };
        (covered, distance(left, right))
    };
    let compared = |one: &_, other: &_| {
        let (one, other) = (within(one), within(other));
        one.0.total_cmp(&other.0).then(one.1.total_cmp(&other.1))
    };
    open.max_by(compared).map(|(_, middle)| middle)
}

/// The learning rate between two, if they are far enough from each other.
fn middle((low, high): (f64, f64)) -> Option<f64> {
    let far = distance(low, high) > 2.0 * FINEST;
    far.then(|| rounded((low * high).sqrt()))
}

fn beyond(lr: f64, decades: f64) -> f64 {
    rounded(lr * 10_f64.powf(decades))
}

fn distance(one: f64, other: f64) -> f64 {
    (other / one).log10().abs()
}

/// To four digits: a learning rate that can be read and typed.
fn rounded(lr: f64) -> f64 {
    format!("{lr:.3e}").parse().unwrap_or(lr)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::record::{RunRecord, Status};
    use crate::report::analysis::{Sources, analyse};
    use crate::report::test_support::{record, with_status};

    const SEARCH: Search = Search::Bracket {
        width: 0.25,
        budget: 12,
    };

    /// Runs of three seeds about an optimum, with a wall: above it runs diverge.
    struct Landscape {
        optimum: f64,
        wall: f64,
        noise: f64,
        seeds: u64,
    }

    impl Landscape {
        fn run(&self, lr: f64) -> Vec<RunRecord> {
            let one = |seed: u64| {
                let u = (lr / self.optimum).log10();
                // A noise that the same run always has.
                let bits = lr
                    .to_bits()
                    .wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ (seed << 20));
                let noise = (bits >> 40) as f64 / f64::from(1 << 24) - 0.5;
                let loss = 0.2 + 0.2 * u * u + 0.05 * u.powi(3) + self.noise * noise;
                let run = record("full", None, lr, seed, loss);
                if lr > self.wall {
                    with_status(run, Status::Diverged)
                } else {
                    run
                }
            };
            (1..=self.seeds).map(one).collect()
        }

        /// The learning rates in the order in which they were tried, and why it ended.
        fn search(&self, start: &[f64]) -> (Vec<f64>, Stopped, CellAnalysis) {
            let mut lrs = start.to_vec();
            loop {
                let records: Vec<_> = lrs.iter().flat_map(|&lr| self.run(lr)).collect();
                let cell = analysis_of(&records).cells.remove(0);
                match next(&cell, SEARCH) {
                    Next::Add(more) => lrs.extend(more),
                    Next::Stop(why) => return (lrs, why, cell),
                }
            }
        }
    }

    fn analysis_of(records: &[RunRecord]) -> Analysis {
        analyse(&Sources {
            records,
            unfinished: &[],
            histories: &HashMap::new(),
        })
    }

    const CALM: Landscape = Landscape {
        optimum: 7e-4,
        wall: 1.0,
        noise: 0.01,
        seeds: 3,
    };

    #[test]
    fn it_ends_with_an_interval_that_holds_the_optimum() {
        let (lrs, why, cell) = CALM.search(&[1e-4, 3e-4, 1e-3, 3e-3]);
        assert_eq!(why, Stopped::Narrow, "{lrs:?}");
        let interval = cell.optimum.interval.unwrap();
        assert!(interval.low.unwrap() < 7e-4 && interval.high.unwrap() > 7e-4);
        assert!(lrs.len() <= 8, "{lrs:?}");
    }

    #[test]
    fn it_never_stops_on_an_edge() {
        for start in [[1e-6, 3e-6], [0.03, 0.1]] {
            let (lrs, why, cell) = CALM.search(&start);
            assert_eq!(cell.optimum.edge, None);
            assert_ne!(why, Stopped::Budget, "{lrs:?}");
        }
        let (lrs, ..) = CALM.search(&[1e-5]);
        assert_eq!(lrs[1..3], [3.162e-6, 3.162e-5]);
    }

    #[test]
    fn a_wall_beside_the_optimum_is_approached() {
        let steep = Landscape { wall: 1e-3, ..CALM };
        let (lrs, why, cell) = steep.search(&[1e-4, 3e-4, 1e-3, 3e-3]);
        assert_ne!(why, Stopped::Budget, "{lrs:?}");
        assert!(cell.optimum.edge.is_none());
        let beyond = Landscape { wall: 1e-5, ..CALM };
        let (lrs, _, cell) = beyond.search(&[1e-4, 1e-3]);
        assert!(lrs.contains(&3.162e-5), "all diverged: {lrs:?}");
        assert!(cell.optimum.best_tried.is_some());
    }

    #[test]
    fn one_seed_ends_with_a_fine_grid() {
        let one = Landscape { seeds: 1, ..CALM };
        let (lrs, why, cell) = one.search(&[1e-4, 3e-4, 1e-3, 3e-3]);
        assert_eq!(why, Stopped::Narrow, "{lrs:?}");
        let best = cell.optimum.best_tried.unwrap();
        assert!(distance(best, 7e-4) < 0.25);
    }

    #[test]
    fn noise_ends_at_the_finest_grid_or_the_budget() {
        let loud = Landscape { noise: 0.5, ..CALM };
        let (lrs, why, _) = loud.search(&[1e-4, 3e-4, 1e-3, 3e-3]);
        assert!(matches!(why, Stopped::Budget | Stopped::Finest), "{why:?}");
        assert!(lrs.len() <= 12);
    }

    #[test]
    fn new_runs_have_every_seed_of_their_cell() {
        let records: Vec<_> = [1e-3, 1e-2].iter().flat_map(|&lr| CALM.run(lr)).collect();
        let planned: Vec<_> = records
            .iter()
            .map(|record| PlannedRun {
                spec: record.spec.spec.clone(),
                cell: record.spec.cell.clone(),
            })
            .collect();
        let runs = next_runs(&planned, &analysis_of(&records), SEARCH);
        let shown: Vec<_> = runs
            .iter()
            .map(|run| (run.spec.train.lr, run.spec.seeds.init))
            .collect();
        assert_eq!(shown, [(3.162e-4, 1), (3.162e-4, 2), (3.162e-4, 3)]);
        // A seed that is left out at the first rate is one all the same.
        let but_one: Vec<_> = planned
            .iter()
            .filter(|run| (run.spec.train.lr, run.spec.seeds.init) != (1e-3, 2))
            .cloned()
            .collect();
        let mut seeds: Vec<_> = next_runs(&but_one, &analysis_of(&records), SEARCH)
            .iter()
            .map(|run| run.spec.seeds.init)
            .collect();
        seeds.sort_unstable();
        assert_eq!(seeds, [1, 2, 3]);
        assert_eq!(
            next_runs(&planned, &analysis_of(&records), Search::Grid),
            []
        );
    }
}
