//! `summary.json`: each cell's losses over the learning rates, its best one, and the ratio to full fine-tuning.
//!
//! Cells are compared by validation loss; test figures are reported, never selected by. The best learning rate is one of
//! those that were tried. Where it is the smallest or largest tried, the optimum may lie beyond, so it and its ratio are
//! bounds. Figures that do not exist are `null`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    record::{RECORD_VERSION, RunRecord, Status},
    spec::{Method, RunSpec, portable},
};

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    pub version: u32,
    /// In the order in which they first occur in the records.
    pub cells: Vec<CellSummary>,
}

/// Runs that differ in learning rate and seed alone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CellSummary {
    pub cell: String,
    pub method: Method,
    pub rank: Option<usize>,
    pub seeds: Vec<String>,
    /// Name of the task's metric.
    pub headline: Option<String>,
    /// By ascending learning rate.
    pub points: Vec<PointSummary>,
    pub best: Option<Best>,
    /// For LoRA, where there is one cell of full fine-tuning that agrees in all else.
    pub ratio_to_full: Option<Ratio>,
}

/// One learning rate of a cell, over seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PointSummary {
    pub lr: f64,
    /// Mean of the best validation losses; only where every run completed.
    pub val_loss: Option<f64>,
    /// Mean test metrics; only where every run completed.
    pub test: BTreeMap<String, f64>,
    pub completed: usize,
    pub diverged: usize,
    pub failed: usize,
    pub runs: Vec<RunSummary>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunSummary {
    /// Name of the run's folder.
    pub id: String,
    pub seed: String,
    pub status: Status,
    pub best_val_loss: Option<f64>,
    pub test_loss: Option<f64>,
    pub test: BTreeMap<String, f64>,
    pub seconds: f64,
    pub error: Option<String>,
}

/// The learning rate with the lowest mean validation loss.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Best {
    pub lr: f64,
    pub val_loss: f64,
    /// Set where the optimum may lie beyond what was tried.
    pub edge: Option<Edge>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Edge {
    Smallest,
    Largest,
    /// Nothing else was tried.
    Only,
}

/// A cell's best learning rate over that of full fine-tuning.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ratio {
    pub value: f64,
    /// The cell of full fine-tuning.
    pub full: String,
    pub bound: Bound,
}

/// What edges leave of a ratio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// Both optima lie inside: the ratio is known as finely as the grid.
    Inside,
    /// The true ratio is this or larger.
    AtLeast,
    /// The true ratio is this or smaller.
    AtMost,
    /// It may be either.
    Unresolved,
}

impl CellSummary {
    /// The point of [`CellSummary::best`].
    #[must_use]
    pub fn best_point(&self) -> Option<&PointSummary> {
        let best = self.best.as_ref()?;
        self.points
            .iter()
            .find(|point| point.lr.total_cmp(&best.lr).is_eq())
    }
}

/// Summarises the records of a sweep.
#[must_use]
pub fn summarise(records: &[RunRecord]) -> Summary {
    let groups = by_cell(
        records
            .iter()
            .map(|record| (record.spec.cell.as_str(), record)),
    );
    let mut cells: Vec<_> = groups
        .iter()
        .map(|(cell, runs)| summarise_cell(cell, runs))
        .collect();
    let common: Vec<_> = groups
        .iter()
        .map(|(_, runs)| common(&runs[0].spec.spec))
        .collect();
    let mut full: HashMap<&str, Vec<&CellSummary>> = HashMap::new();
    for (cell, common) in cells.iter().zip(&common) {
        if cell.method == Method::Full {
            full.entry(common).or_default().push(cell);
        }
    }
    let ratios: Vec<_> = cells
        .iter()
        .zip(&common)
        .map(
            |(cell, common)| match full.get(common.as_str())?.as_slice() {
                [full] if cell.method == Method::Lora => ratio(cell, full),
                _ => None,
            },
        )
        .collect();
    for (cell, ratio) in cells.iter_mut().zip(ratios) {
        cell.ratio_to_full = ratio;
    }
    Summary {
        version: RECORD_VERSION,
        cells,
    }
}

/// Puts together what belongs to one cell, in the order in which the cells first occur.
pub(super) fn by_cell<'a, T>(runs: impl Iterator<Item = (&'a str, T)>) -> Vec<(&'a str, Vec<T>)> {
    let mut groups: Vec<(&str, Vec<T>)> = Vec::new();
    let mut places = HashMap::new();
    for (cell, run) in runs {
        let place = *places.entry(cell).or_insert_with(|| {
            groups.push((cell, Vec::new()));
            groups.len() - 1
        });
        groups[place].1.push(run);
    }
    groups
}

fn summarise_cell(cell: &str, runs: &[&RunRecord]) -> CellSummary {
    let spec = &runs[0].spec.spec;
    let lr = |run: &RunRecord| run.spec.spec.train.lr;
    let mut by_lr = runs.to_vec();
    by_lr.sort_by(|a, b| lr(a).total_cmp(&lr(b)));
    let points: Vec<_> = by_lr
        .chunk_by(|a, b| lr(a).total_cmp(&lr(b)).is_eq())
        .map(|runs| summarise_point(lr(runs[0]), runs))
        .collect();
    let seeds: BTreeSet<String> = runs.iter().map(|run| run.spec.spec.seeds.label()).collect();
    let headline = runs
        .iter()
        .find_map(|run| run.result.measured.headline.clone());
    CellSummary {
        cell: cell.to_owned(),
        method: spec.method,
        rank: spec.lora.as_ref().map(|lora| lora.rank),
        seeds: seeds.into_iter().collect(),
        headline,
        best: best(&points),
        points,
        ratio_to_full: None,
    }
}

fn summarise_point(lr: f64, runs: &[&RunRecord]) -> PointSummary {
    let runs: Vec<RunSummary> = runs.iter().map(|run| summarise_run(run)).collect();
    let count = |status| runs.iter().filter(|run| run.status == status).count();
    let completed = count(Status::Completed);
    let (val_loss, test) = if completed == runs.len() {
        (
            mean(runs.iter().map(|run| run.best_val_loss)),
            mean_metrics(&runs),
        )
    } else {
        (None, BTreeMap::new())
    };
    PointSummary {
        lr,
        val_loss,
        test,
        completed,
        diverged: count(Status::Diverged),
        failed: count(Status::Failed),
        runs,
    }
}

fn summarise_run(run: &RunRecord) -> RunSummary {
    let result = &run.result;
    let test = result.measured.test.as_ref();
    RunSummary {
        id: run.spec.id.clone(),
        seed: run.spec.spec.seeds.label(),
        status: result.status,
        best_val_loss: Some(result.best_val_loss).filter(|loss| loss.is_finite()),
        test_loss: test.map(|test| test.loss).filter(|loss| loss.is_finite()),
        test: test.map(|test| test.metrics.clone()).unwrap_or_default(),
        seconds: result.seconds,
        error: result.error.as_ref().map(ToString::to_string),
    }
}

/// The metrics that every run has.
fn mean_metrics(runs: &[RunSummary]) -> BTreeMap<String, f64> {
    let names = runs
        .iter()
        .flat_map(|run| run.test.keys())
        .collect::<BTreeSet<_>>();
    let means = names.into_iter().filter_map(|name| {
        let mean = mean(runs.iter().map(|run| run.test.get(name).copied()))?;
        Some((name.clone(), mean))
    });
    means.collect()
}

/// None if there is no value, or one is missing or not finite.
fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0.0);
    for value in values {
        sum += value?;
        count += 1.0;
    }
    Some(sum / count).filter(|mean: &f64| mean.is_finite())
}

/// A point where a run diverged bounds the optimum as much as a high loss does; one whose runs all failed says nothing.
fn best(points: &[PointSummary]) -> Option<Best> {
    let tried = points.iter().filter(|p| p.completed + p.diverged > 0);
    best_of(tried.map(|point| (point.lr, point.val_loss)))
}

/// The best of what was tried, by ascending learning rate; a loss is absent where a run did not complete.
pub(super) fn best_of(tried: impl IntoIterator<Item = (f64, Option<f64>)>) -> Option<Best> {
    let tried: Vec<_> = tried.into_iter().collect();
    let with_loss = tried
        .iter()
        .enumerate()
        .filter_map(|(index, &(lr, loss))| Some((index, lr, loss?)));
    let (index, lr, val_loss) = with_loss.min_by(|a, b| a.2.total_cmp(&b.2))?;
    let edge = match (index, tried.len() - 1) {
        (0, 0) => Some(Edge::Only),
        (0, _) => Some(Edge::Smallest),
        (index, last) if index == last => Some(Edge::Largest),
        _ => None,
    };
    Some(Best { lr, val_loss, edge })
}

fn ratio(lora: &CellSummary, full: &CellSummary) -> Option<Ratio> {
    let (best, best_full) = (lora.best.as_ref()?, full.best.as_ref()?);
    Some(Ratio {
        value: best.lr / best_full.lr,
        full: full.cell.clone(),
        bound: bound(best.edge, best_full.edge),
    })
}

/// Settings in which runs may differ that are compared: learning rates, and what is kept of the weights.
pub(super) const APART: [&str; 4] = ["train.lr", "train.lr_a", "train.lr_b", "train.save"];

/// Two runs are compared where they agree in this: all but what is LoRA's own, seeds, and [`APART`].
pub(super) fn common(spec: &RunSpec) -> String {
    let mut spec = portable(spec);
    if let Some(train) = spec["train"].as_object_mut() {
        train.retain(|key, _| !APART.contains(&format!("train.{key}").as_str()));
    }
    let sections = ["model", "data", "optimizer", "head", "train"];
    json!(sections.map(|name| spec[name].take())).to_string()
}

pub(super) fn bound(lora: Option<Edge>, full: Option<Edge>) -> Bound {
    // A larger optimum of LoRA raises the ratio, one of full fine-tuning lowers it.
    let raises = lora == Some(Edge::Largest) || full == Some(Edge::Smallest);
    let lowers = lora == Some(Edge::Smallest) || full == Some(Edge::Largest);
    if lora == Some(Edge::Only) || full == Some(Edge::Only) {
        return Bound::Unresolved;
    }
    match (raises, lowers) {
        (false, false) => Bound::Inside,
        (true, false) => Bound::AtLeast,
        (false, true) => Bound::AtMost,
        (true, true) => Bound::Unresolved,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        record::{Failure, Measured, Platform, Provenance, RunResult, SpecRecord, TestResult},
        spec::{Save, test_support::run_spec},
    };

    /// A completed run; its accuracy is 1 less its validation loss.
    pub(crate) fn record(
        cell: &str,
        rank: Option<usize>,
        lr: f64,
        seed: u64,
        val_loss: f64,
    ) -> RunRecord {
        let spec = run_spec(rank, lr, seed);
        let metrics = [("acc".to_owned(), 1.0 - val_loss)].into();
        let measured = Measured {
            train_losses: vec![1.5, 0.75],
            val_losses: vec![1.25, val_loss],
            untrained_val_loss: Some(1.4),
            test: Some(TestResult {
                loss: val_loss,
                metrics,
            }),
            headline: Some("acc".to_owned()),
            ..Measured::default()
        };
        let platform = Platform {
            device: "cpu".to_owned(),
            libtorch: None,
        };
        let provenance = Provenance::collect(&spec, platform, 1);
        let result = RunResult::new(Ok(measured), 2.5, None, provenance);
        let id = format!("{cell}-{lr}-{seed}");
        RunRecord {
            spec: SpecRecord {
                version: RECORD_VERSION,
                id,
                cell: cell.to_owned(),
                spec,
            },
            result,
        }
    }

    pub(crate) fn with_status(mut record: RunRecord, status: Status) -> RunRecord {
        record.result.status = status;
        if status == Status::Failed {
            record.result.measured = Measured::default();
            record.result.best_val_loss = f64::NAN;
            record.result.error = Some(Failure::new("no more memory"));
        }
        record
    }

    /// LoRA best inside its grid, full fine-tuning at its lower edge, one run diverged, one failed.
    pub(crate) fn example() -> Vec<RunRecord> {
        vec![
            record("lora-r4", Some(4), 1e-3, 42, 0.5),
            record("lora-r4", Some(4), 1e-2, 42, 0.25),
            with_status(record("lora-r4", Some(4), 1e-1, 42, 1.5), Status::Diverged),
            record("full", None, 1e-3, 42, 0.125),
            record("full", None, 1e-2, 42, 0.75),
            with_status(record("full", None, 1e-1, 42, 0.0), Status::Failed),
        ]
    }

    fn best_of(losses: &[(f64, f64)]) -> Best {
        let runs: Vec<_> = losses
            .iter()
            .map(|&(lr, loss)| record("full", None, lr, 1, loss))
            .collect();
        summarise(&runs).cells.remove(0).best.unwrap()
    }

    #[test]
    fn the_best_learning_rate_on_an_edge_is_said_to_be_there() {
        assert_eq!(best_of(&[(0.1, 1.0), (0.2, 0.5), (0.3, 1.0)]).edge, None);
        assert_eq!(
            best_of(&[(0.1, 0.4), (0.2, 0.5), (0.3, 1.0)]).edge,
            Some(Edge::Smallest)
        );
        assert_eq!(
            best_of(&[(0.3, 0.1), (0.2, 0.5), (0.1, 1.0)]).edge,
            Some(Edge::Largest)
        );
        assert_eq!(best_of(&[(0.1, 1.0)]).edge, Some(Edge::Only));
    }

    #[test]
    fn a_diverged_neighbour_bounds_the_optimum_and_a_failed_one_does_not() {
        let summary = summarise(&example());
        let [lora, full] = summary.cells.as_slice() else {
            panic!("two cells")
        };
        assert_eq!(lora.best.as_ref().unwrap().edge, None);
        assert_eq!(full.best.as_ref().unwrap().edge, Some(Edge::Smallest));
        let ratio = lora.ratio_to_full.as_ref().unwrap();
        assert_eq!((ratio.value, ratio.bound), (10.0, Bound::AtLeast));
        assert_eq!(full.ratio_to_full, None);
    }

    #[test]
    fn bounds_follow_from_the_edges() {
        use Edge::{Largest, Only, Smallest};
        assert_eq!(bound(None, None), Bound::Inside);
        assert_eq!(bound(Some(Largest), None), Bound::AtLeast);
        assert_eq!(bound(Some(Smallest), None), Bound::AtMost);
        assert_eq!(bound(None, Some(Largest)), Bound::AtMost);
        assert_eq!(bound(Some(Largest), Some(Smallest)), Bound::AtLeast);
        assert_eq!(bound(Some(Largest), Some(Largest)), Bound::Unresolved);
        assert_eq!(bound(Some(Only), None), Bound::Unresolved);
    }

    #[test]
    fn seeds_are_averaged_where_all_of_them_completed() {
        let mut runs = vec![
            record("full", None, 0.1, 1, 0.5),
            record("full", None, 0.1, 2, 0.25),
        ];
        let cell = summarise(&runs).cells.remove(0);
        assert_eq!(cell.seeds, ["1", "2"]);
        assert_eq!(cell.points[0].val_loss, Some(0.375));
        assert_eq!(cell.points[0].test.get("acc"), Some(&0.625));

        runs.push(with_status(
            record("full", None, 0.1, 3, 1.0),
            Status::Diverged,
        ));
        let cell = summarise(&runs).cells.remove(0);
        assert_eq!((cell.points[0].val_loss, cell.best), (None, None));
    }

    #[test]
    fn a_ratio_needs_one_full_cell_that_agrees_in_all_else() {
        let mut other = record("full", None, 1e-3, 42, 0.1);
        other.spec.spec.train.batch_size = 64;
        let lora = record("lora-r4", Some(4), 1e-3, 42, 0.1);
        let summary = summarise(&[lora.clone(), other]);
        assert_eq!(summary.cells[0].ratio_to_full, None);

        let mut kept = record("full", None, 1e-3, 42, 0.1);
        kept.spec.spec.train.save = Save::Full;
        let summary = summarise(&[lora.clone(), kept.clone()]);
        assert!(summary.cells[0].ratio_to_full.is_some(), "what is kept");
        kept.spec.spec.optimizer.file = "elsewhere/adamw_optimizer.so".into();
        let summary = summarise(&[lora, kept]);
        assert!(summary.cells[0].ratio_to_full.is_some(), "where it lies");
    }

    #[test]
    fn the_summary_file() {
        let json = serde_json::to_string_pretty(&summarise(&example()[1..5])).unwrap();
        insta::assert_snapshot!(json);
    }
}
