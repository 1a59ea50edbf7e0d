//! From the records of a folder to its analysis.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value as Json;

use super::super::summary::{by_cell, common};
use super::compare::{ratio, regret};
use super::curves::{curves, last_norms};
use super::losses::Losses;
use super::optimum::optimum;
use super::student::{self, LEVEL};
use super::types::{Analysis, CellAnalysis, Counts, Interval, Point, RunPoint};
use crate::record::{History, RECORD_VERSION, RunRecord, RunResult, SpecRecord, Status};
use crate::spec::{Method, RunSpec, shown};

/// What an analysis is made from.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// Runs that are done.
    pub records: &'a [RunRecord],
    /// Runs that were begun or planned and are not done: they are counted.
    pub unfinished: &'a [SpecRecord],
    /// What runs logged, by id; without it there are no curves and no norms.
    pub histories: &'a HashMap<String, History>,
}

/// One run, done or not.
#[derive(Clone, Copy)]
struct Run<'a> {
    spec: &'a SpecRecord,
    result: Option<&'a RunResult>,
    history: Option<&'a History>,
}

/// Analyses runs. Only completed ones have a part in a figure; the others are counted.
#[must_use]
pub fn analyse(sources: &Sources<'_>) -> Analysis {
    let history = |spec: &SpecRecord| sources.histories.get(&spec.id);
    let done = sources.records.iter().map(|record| Run {
        spec: &record.spec,
        result: Some(&record.result),
        history: history(&record.spec),
    });
    let unfinished = sources.unfinished.iter().map(|spec| Run {
        spec,
        result: None,
        history: None,
    });
    let runs = done.chain(unfinished);
    let groups = by_cell(runs.map(|run| (run.spec.cell.as_str(), run)));
    let mut cells: Vec<CellAnalysis> = groups
        .iter()
        .map(|(cell, runs)| analyse_cell(cell, runs))
        .collect();
    let common: Vec<String> = groups
        .iter()
        .map(|(_, runs)| common(&runs[0].spec.spec))
        .collect();
    compare_with_full(&mut cells, &common);
    Analysis {
        version: RECORD_VERSION,
        level: LEVEL,
        counts: cells.iter().map(|cell| cell.counts).sum(),
        cells,
    }
}

/// Compares each cell of LoRA with the one cell of full fine-tuning that has the same in common, if there is one.
fn compare_with_full(cells: &mut [CellAnalysis], common: &[String]) {
    let mut full: HashMap<&str, Vec<CellAnalysis>> = HashMap::new();
    for (cell, common) in cells.iter().zip(common) {
        if cell.method == Method::Full {
            full.entry(common).or_default().push(cell.clone());
        }
    }
    for (cell, common) in cells.iter_mut().zip(common) {
        if let Some([full]) = full.get(common.as_str()).map(Vec::as_slice)
            && cell.method == Method::Lora
        {
            cell.ratio_to_full = ratio(cell, full);
            cell.regret = regret(cell, full);
        }
    }
}

fn analyse_cell(cell: &str, runs: &[Run<'_>]) -> CellAnalysis {
    let first = &runs[0].spec.spec;
    let mut by_lr = runs.to_vec();
    by_lr.sort_by(|a, b| a.lr().total_cmp(&b.lr()));
    let by_lr: Vec<&[Run<'_>]> = by_lr.chunk_by(|a, b| a.lr() == b.lr()).collect();
    let seeds = sorted_seeds(runs);
    let table = table(&by_lr, &seeds);
    let points: Vec<Point> = by_lr
        .iter()
        .map(|runs| point(runs, &seeds, &table.at(runs)))
        .collect();
    let tried: Vec<(f64, Option<f64>)> = points
        .iter()
        .filter(|point| point.counts.completed + point.counts.diverged > 0)
        .map(|point| (point.lr, point.val_loss))
        .collect();
    let optimum = optimum(&tried, &table.losses);
    let logged: Vec<(f64, Vec<&History>)> = by_lr
        .iter()
        .map(|runs| (runs[0].lr(), histories(&table.at(runs))))
        .collect();
    let at_best = points
        .iter()
        .find(|point| Some(point.lr) == optimum.best_tried);
    CellAnalysis {
        cell: cell.to_owned(),
        method: first.method,
        rank: first.lora.as_ref().map(|lora| lora.rank),
        settings: settings(first),
        headline: runs
            .iter()
            .find_map(|run| run.result?.measured.headline.clone()),
        counts: points.iter().map(|point| point.counts).sum(),
        curves: curves(&logged, optimum.best_tried),
        norms: at_best.and_then(|point| point.norms),
        seeds,
        points,
        optimum,
        ratio_to_full: None,
        regret: None,
    }
}

/// The runs that have a part in figures.
struct Table<'a> {
    /// Of those learning rates alone that have all seeds that are kept.
    losses: Losses,
    /// Labels of the seeds.
    kept: Vec<&'a str>,
}

/// Those seeds that have most learning rates, at those learning rates that have all of these seeds: a sweep whose last seed
/// has just begun is seen without it. Where a run diverged, the learning rate has no loss.
fn table<'a>(by_lr: &[&[Run<'_>]], seeds: &'a [String]) -> Table<'a> {
    let usable: Vec<&[Run<'_>]> = by_lr
        .iter()
        .copied()
        .filter(|runs| {
            runs.iter()
                .all(|run| run.status() != Some(Status::Diverged))
        })
        .filter(|runs| runs.iter().any(|run| run.loss().is_some()))
        .collect();
    let loss = |runs: &[Run<'_>], seed: &str| of_seed(runs, seed).and_then(|run| run.loss());
    let kept: Vec<&str> = seeds
        .iter()
        .map(String::as_str)
        .filter(|seed| {
            let count = usable.iter().filter(|runs| loss(runs, seed).is_some());
            2 * count.count() > usable.len()
        })
        .collect();
    let mut losses = Losses {
        x: Vec::new(),
        rows: vec![Vec::new(); kept.len()],
    };
    for runs in usable {
        let column: Option<Vec<f64>> = kept.iter().map(|seed| loss(runs, seed)).collect();
        let Some(column) = column.filter(|column| !column.is_empty()) else {
            continue;
        };
        losses.x.push(runs[0].lr().log10());
        for (row, loss) in losses.rows.iter_mut().zip(column) {
            row.push(loss);
        }
    }
    Table { losses, kept }
}

impl Table<'_> {
    /// The runs of the table at a learning rate, in the order of its seeds; none where it has no loss.
    fn at<'r>(&self, runs: &[Run<'r>]) -> Vec<Run<'r>> {
        if !self.losses.x.contains(&runs[0].lr().log10()) {
            return Vec::new();
        }
        let kept = self.kept.iter();
        kept.filter_map(|seed| of_seed(runs, seed)).collect()
    }
}

fn of_seed<'r>(runs: &[Run<'r>], seed: &str) -> Option<Run<'r>> {
    runs.iter().find(|run| run.seed() == seed).copied()
}

/// `kept` are those of the runs that have a part in figures.
fn point<'a>(runs: &[Run<'a>], seeds: &[String], kept: &[Run<'a>]) -> Point {
    let mut by_seed: Vec<&Run<'_>> = runs.iter().collect();
    by_seed.sort_by_cached_key(|run| {
        let seed = run.seed();
        seeds.iter().position(|other| *other == seed)
    });
    let figures = |figure: fn(&Run<'a>) -> Option<f64>| {
        let figures: Option<Vec<f64>> = kept.iter().map(figure).collect();
        figures.filter(|figures| !figures.is_empty())
    };
    let losses = figures(Run::loss);
    Point {
        lr: runs[0].lr(),
        val_loss: losses.as_deref().map(mean),
        interval: losses.as_deref().and_then(spread),
        metric: figures(Run::metric).as_deref().map(mean),
        counts: runs.iter().map(Run::count).sum(),
        norms: last_norms(histories(kept)),
        runs: by_seed.into_iter().map(Run::shown).collect(),
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Student's interval of the mean.
fn spread(values: &[f64]) -> Option<Interval> {
    let degrees = values.len().checked_sub(1)?;
    let t = student::quantile(degrees)?;
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let half = t * (squares / degrees as f64 / values.len() as f64).sqrt();
    Some(Interval {
        low: Some(mean - half),
        high: Some(mean + half),
    })
}

fn histories<'a>(runs: &[Run<'a>]) -> Vec<&'a History> {
    runs.iter().filter_map(|run| run.history).collect()
}

/// Numbers in their order, other labels after them.
fn sorted_seeds(runs: &[Run<'_>]) -> Vec<String> {
    let mut seeds: Vec<String> = runs.iter().map(Run::seed).collect();
    seeds.sort_by_cached_key(|seed| (seed.parse().unwrap_or(u64::MAX), seed.clone()));
    seeds.dedup();
    seeds
}

/// All that a run is but learning rate, seeds and hashes, by dotted key.
fn settings(spec: &RunSpec) -> BTreeMap<String, String> {
    const COMPONENTS: [&str; 4] = ["init", "alpha", "optimizer", "head"];
    let mut settings = BTreeMap::new();
    let Ok(Json::Object(sections)) = serde_json::to_value(spec) else {
        return settings;
    };
    for (name, section) in &sections {
        match section {
            Json::Object(component) if COMPONENTS.contains(&name.as_str()) => {
                settings.insert(name.clone(), shown(&component["name"]));
                let parameters = component["parameters"].as_object().into_iter().flatten();
                for (parameter, value) in parameters {
                    settings.insert(format!("{name}.{parameter}"), shown(value));
                }
            }
            Json::Object(fields) if name != "seeds" => {
                for (field, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
                    settings.insert(format!("{name}.{field}"), shown(value));
                }
            }
            Json::String(text) => {
                settings.insert(name.clone(), text.clone());
            }
            _ => {}
        }
    }
    settings.remove("train.lr");
    settings
}

impl Run<'_> {
    fn lr(&self) -> f64 {
        self.spec.spec.train.lr
    }

    fn seed(&self) -> String {
        self.spec.spec.seeds.label()
    }

    fn status(&self) -> Option<Status> {
        self.result.map(|result| result.status)
    }

    /// Of a completed run.
    fn loss(&self) -> Option<f64> {
        let completed = self.status() == Some(Status::Completed);
        let loss = self.result?.best_val_loss;
        Some(loss).filter(|loss| completed && loss.is_finite())
    }

    fn metric(&self) -> Option<f64> {
        let (_, value) = self.result?.headline()?;
        Some(value).filter(|value| value.is_finite())
    }

    fn count(&self) -> Counts {
        let mut counts = Counts::default();
        *match self.status() {
            Some(Status::Completed) => &mut counts.completed,
            Some(Status::Diverged) => &mut counts.diverged,
            Some(Status::Failed) => &mut counts.failed,
            None => &mut counts.unfinished,
        } = 1;
        counts
    }

    fn shown(&self) -> RunPoint {
        let result = self.result;
        let finite = |figure: f64| Some(figure).filter(|figure| figure.is_finite());
        RunPoint {
            id: self.spec.id.clone(),
            seed: self.seed(),
            status: self.status(),
            val_loss: result.and_then(|result| finite(result.best_val_loss)),
            test_loss: result
                .and_then(|result| result.measured.test.as_ref())
                .and_then(|test| finite(test.loss)),
            metric: self.metric(),
            seconds: result.map(|result| result.seconds),
            error: result
                .and_then(|result| result.error.as_ref())
                .map(ToString::to_string),
        }
    }
}

impl CellAnalysis {
    /// The point of the best learning rate that was tried.
    #[must_use]
    pub fn best_point(&self) -> Option<&Point> {
        let best = self.optimum.best_tried?;
        self.points.iter().find(|point| point.lr == best)
    }
}

impl Counts {
    /// However they ended.
    #[must_use]
    pub fn all(&self) -> usize {
        self.completed + self.diverged + self.failed + self.unfinished + self.not_begun
    }
}

/// `12 completed, 1 diverged`.
impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = [
            (self.completed, "completed"),
            (self.diverged, "diverged"),
            (self.failed, "failed"),
            (self.unfinished, "unfinished"),
            (self.not_begun, "not begun"),
        ];
        let parts = parts.into_iter().filter(|(count, _)| *count > 0);
        let words: Vec<String> = parts.map(|(count, how)| format!("{count} {how}")).collect();
        if words.is_empty() {
            f.write_str("none")
        } else {
            f.write_str(&words.join(", "))
        }
    }
}

impl std::iter::Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |sum, one| Self {
            completed: sum.completed + one.completed,
            diverged: sum.diverged + one.diverged,
            failed: sum.failed + one.failed,
            unfinished: sum.unfinished + one.unfinished,
            not_begun: sum.not_begun + one.not_begun,
        })
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
