//! Tables as text.

use std::collections::BTreeSet;

use super::analysis::{Analysis, CellAnalysis, Interval, NoInterval, Optimum, Source, Verdict};
use super::{Bound, CellSummary, Edge, PointSummary, Summary};
use crate::record::python_float;
use crate::spec::Method;

/// What stands where there is no figure.
const NONE: &str = "-";

/// Every cell at every learning rate: best validation loss, test metric, and how runs ended that did not complete.
/// The best learning rate of a cell is marked.
#[must_use]
pub fn results_table(summary: &Summary) -> String {
    let headlines = summary.cells.iter().map(|cell| cell.headline.as_deref());
    let mut table = Table::new([
        "cell",
        "lr",
        "val loss",
        &metric_title(headlines),
        "seeds",
        "",
    ]);
    for cell in &summary.cells {
        for (index, point) in cell.points.iter().enumerate() {
            let name = if index == 0 { cell.cell.as_str() } else { "" };
            table.row([
                name.to_owned(),
                python_float(point.lr),
                shown(point.val_loss),
                test_figure(cell, point),
                point.runs.len().to_string(),
                mark(cell, point),
            ]);
        }
    }
    table.render()
}

/// The optimum learning rate of each cell, and LoRA's over that of full fine-tuning, with their intervals.
#[must_use]
pub fn best_table(analysis: &Analysis) -> String {
    let headlines = analysis.cells.iter().map(|cell| cell.headline.as_deref());
    let mut table = Table::new([
        "cell",
        "best lr",
        "optimum",
        "val loss",
        &metric_title(headlines),
        "lr / full lr",
        "",
    ]);
    for cell in &analysis.cells {
        let best = cell.best_point();
        table.row([
            cell.cell.clone(),
            best.map_or(NONE.to_owned(), |best| python_float(best.lr)),
            optimum(&cell.optimum),
            shown(best.and_then(|best| best.val_loss)),
            shown(best.and_then(|best| best.metric)),
            best.map_or(NONE.to_owned(), |_| ratio(cell)),
            note(&cell.optimum).to_owned(),
        ]);
    }
    let title = "LoRA less full";
    let mut regrets = Table::new([title, "of", "value", "90% interval", "p", ""]);
    for cell in &analysis.cells {
        let regret = cell.regret.iter();
        let differences = regret.flat_map(|regret| regret.loss.iter().chain(&regret.metric));
        for difference in differences.filter(|difference| difference.interval.is_some()) {
            regrets.row([
                cell.cell.clone(),
                difference.of.clone(),
                signed(difference.value),
                difference
                    .interval
                    .as_ref()
                    .map_or(NONE.to_owned(), |interval| range(interval, signed)),
                difference.p.map_or(NONE.to_owned(), |p| format!("{p:.3}")),
                if difference.verdict == Verdict::Unresolved {
                    "unresolved".to_owned()
                } else {
                    String::new()
                },
            ]);
        }
    }
    let regrets = if regrets.rows.len() > 1 {
        format!("\n{}", regrets.render())
    } else {
        String::new()
    };
    format!("{}{}{regrets}", table.render(), interval_note(analysis))
}

/// The test metric by its name, if all cells that have one have the same.
pub(super) fn metric_title<'a>(headlines: impl Iterator<Item = Option<&'a str>>) -> String {
    let names: BTreeSet<&str> = headlines.flatten().collect();
    match names.first() {
        Some(name) if names.len() == 1 => format!("test {name}"),
        _ => "test".to_owned(),
    }
}

fn test_figure(cell: &CellSummary, point: &PointSummary) -> String {
    let value = cell.headline.as_ref().and_then(|name| point.test.get(name));
    shown(value.copied())
}

fn shown(value: Option<f64>) -> String {
    value.map_or(NONE.to_owned(), figure)
}

/// Four decimals, or four digits where that would be nothing or too much.
fn figure(value: f64) -> String {
    if value == 0.0 || (1e-3..1e4).contains(&value.abs()) {
        format!("{value:.4}")
    } else {
        format!("{value:.3e}")
    }
}

fn mark(cell: &CellSummary, point: &PointSummary) -> String {
    let ended = |count: usize, how: &str| match (count, point.runs.len()) {
        (0, _) => None,
        (count, all) if count == all => Some(how.to_owned()),
        (count, _) => Some(format!("{count} {how}")),
    };
    let best = cell
        .best
        .as_ref()
        .is_some_and(|best| best.lr.total_cmp(&point.lr).is_eq());
    let marks = [
        best.then(|| "best".to_owned()),
        ended(point.diverged, "diverged"),
        ended(point.failed, "failed"),
    ];
    marks.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The fitted optimum with its interval, if it has them.
fn optimum(optimum: &Optimum) -> String {
    match (optimum.source, optimum.edge, optimum.lr) {
        (Source::Fit, _, Some(lr)) => with_interval(lr, optimum.interval.as_ref()),
        (_, Some(Edge::Largest), Some(lr)) => format!(">= {}", python_float(lr)),
        (_, Some(Edge::Smallest), Some(lr)) => format!("<= {}", python_float(lr)),
        _ => NONE.to_owned(),
    }
}

fn ratio(cell: &CellAnalysis) -> String {
    let Some(ratio) = &cell.ratio_to_full else {
        let of_itself = cell.method == Method::Full;
        return if of_itself { "1" } else { NONE }.to_owned();
    };
    let Some(value) = ratio.value else {
        return "unresolved".to_owned();
    };
    match ratio.bound {
        Bound::Inside => with_interval(value, ratio.interval.as_ref()),
        Bound::AtLeast => format!(">= {}", digits(value)),
        Bound::AtMost => format!("<= {}", digits(value)),
        Bound::Unresolved => "unresolved".to_owned(),
    }
}

/// An interval that is open on both sides says nothing.
fn with_interval(value: f64, interval: Option<&Interval>) -> String {
    let value = digits(value);
    match interval {
        None => value,
        Some(Interval {
            low: None,
            high: None,
        }) => format!("{value} (unresolved)"),
        Some(interval) => format!("{value} ({})", range(interval, digits)),
    }
}

fn range(interval: &Interval, shown: impl Fn(f64) -> String) -> String {
    match (interval.low, interval.high) {
        (Some(low), Some(high)) => format!("{} to {}", shown(low), shown(high)),
        (Some(low), None) => format!("from {}", shown(low)),
        (None, Some(high)) => format!("to {}", shown(high)),
        (None, None) => NONE.to_owned(),
    }
}

/// Three digits that say something, as Python writes the number: `0.00123`, `3.33`, `1.12e-05`.
fn digits(value: f64) -> String {
    let rounded: f64 = format!("{value:.2e}").parse().unwrap_or(value);
    python_float(rounded).trim_end_matches(".0").to_owned()
}

fn signed(value: f64) -> String {
    format!("{value:+.4}")
}

fn note(optimum: &Optimum) -> &'static str {
    match (optimum.edge, optimum.no_interval) {
        (Some(Edge::Smallest), _) => "edge of the grid: the optimum is this or smaller",
        (Some(Edge::Largest), _) => "edge of the grid: the optimum is this or larger",
        (Some(Edge::Only), _) => "the only learning rate tried: no optimum",
        (None, Some(NoInterval::NoResult)) => "no learning rate at which all runs completed",
        (None, Some(NoInterval::TooFewPoints)) => "a neighbour did not complete: no fit",
        (None, _) => "",
    }
}

fn interval_note(analysis: &Analysis) -> String {
    let seeds = analysis.cells.iter().map(|cell| cell.seeds.len());
    match (seeds.clone().min(), seeds.max()) {
        (None, _) | (_, None) => String::new(),
        (Some(_), Some(1)) => "no interval (1 seed)\n".to_owned(),
        _ if analysis
            .cells
            .iter()
            .all(|cell| cell.optimum.interval.is_none()) =>
        {
            "no interval\n".to_owned()
        }
        (Some(fewest), Some(most)) if fewest == most => {
            format!("intervals of 90% over {most} seeds\n")
        }
        (Some(fewest), Some(most)) => format!("intervals of 90% over {fewest} to {most} seeds\n"),
    }
}

/// Columns aligned with two spaces between them; numbers stand at the right.
struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    fn new(titles: [&str; N]) -> Self {
        Self {
            rows: vec![titles.map(str::to_owned)],
        }
    }

    fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }

    fn render(&self) -> String {
        let width = |column: usize| {
            self.rows
                .iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..N).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let cells = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(column, (cell, &width))| {
                    // The first column holds names, the last one notes.
                    if column == 0 || column == N - 1 {
                        format!("{cell:<width$}")
                    } else {
                        format!("{cell:>width$}")
                    }
                });
            let line = cells.collect::<Vec<_>>().join("  ");
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::record::RunRecord;
    use crate::report::analysis::{Sources, analyse};
    use crate::report::summary::{
        summarise,
        tests::{example, record, with_status},
    };

    fn best(records: &[RunRecord]) -> String {
        best_table(&analyse(&Sources {
            records,
            unfinished: &[],
            histories: &HashMap::new(),
        }))
    }

    #[test]
    fn all_results() {
        insta::assert_snapshot!(results_table(&summarise(&example())), @r#"
        cell        lr  val loss  test acc  seeds
        lora-r4  0.001    0.5000    0.5000      1
                  0.01    0.2500    0.7500      1  best
                   0.1         -         -      1  diverged
        full     0.001    0.1250    0.8750      1  best
                  0.01    0.7500    0.2500      1
                   0.1         -         -      1  failed
        "#);
    }

    #[test]
    fn best_learning_rates() {
        insta::assert_snapshot!(best(&example()), @r#"
        cell     best lr   optimum  val loss  test acc  lr / full lr
        lora-r4     0.01         -    0.2500    0.7500         >= 10  a neighbour did not complete: no fit
        full       0.001  <= 0.001    0.1250    0.8750             1  edge of the grid: the optimum is this or smaller
        no interval (1 seed)
        "#);
    }

    #[test]
    fn several_seeds_and_no_best() {
        let diverged = crate::record::Status::Diverged;
        let runs = [
            record("full", None, 1e-5, 1, 0.5),
            with_status(record("full", None, 1e-5, 2, 2.0), diverged),
            record("lora-r4", Some(4), 1e-5, 1, 0.5),
            record("lora-r4", Some(4), 1e-5, 2, 0.25),
        ];
        let summary = summarise(&runs);
        let both = format!("{}\n{}", results_table(&summary), best(&runs));
        insta::assert_snapshot!(both, @r#"
        cell        lr  val loss  test acc  seeds
        full     1e-05         -         -      2  1 diverged
        lora-r4  1e-05    0.3750    0.6250      2  best

        cell     best lr  optimum  val loss  test acc  lr / full lr
        full           -        -         -         -             -  no learning rate at which all runs completed
        lora-r4    1e-05        -    0.3750    0.6250             -  the only learning rate tried: no optimum
        no interval
        "#);
    }

    #[test]
    fn intervals_where_seeds_allow() {
        let runs: Vec<_> = [("lora-r4", Some(4), 1e-3), ("full", None, 1e-4)]
            .into_iter()
            .flat_map(|(cell, rank, centre)| {
                (1..=3).flat_map(move |seed| {
                    (0..5).map(move |step| {
                        let lr: f64 = centre * 10_f64.powf(f64::from(step) / 2.0 - 1.0);
                        let place = 2 * rank.unwrap_or(0) + seed as usize + step as usize;
                        let shake = [0.0, 2e-3, 1e-3, 4e-3, 1e-3][place % 5];
                        let loss = 0.2 + 0.1 * (lr / centre).log10().powi(2) + shake;
                        record(cell, rank, lr, seed, loss)
                    })
                })
            })
            .collect();
        insta::assert_snapshot!(best(&runs), @r#"
        cell     best lr                         optimum  val loss  test acc         lr / full lr
        lora-r4    0.001  0.000988 (0.000944 to 0.00102)    0.2023    0.7977  9.77 (9.21 to 10.2)
        full      0.0001  0.000101 (9.8e-05 to 0.000105)    0.2017    0.7983                    1
        intervals of 90% over 3 seeds

        LoRA less full         of    value        90% interval      p
        lora-r4         test loss  +0.0007  -0.0045 to +0.0058  0.742  unresolved
        lora-r4               acc  -0.0007  -0.0058 to +0.0045  0.742  unresolved
        "#);
    }

    #[test]
    fn a_metric_has_its_name_where_all_agree() {
        let acc = Some("acc");
        assert_eq!(metric_title([acc, None, acc].into_iter()), "test acc");
        assert_eq!(metric_title([acc, Some("ppl")].into_iter()), "test");
        assert_eq!(metric_title([None].into_iter()), "test");
    }

    /// The last seed of one learning rate is missing: the others are compared without it.
    #[test]
    fn the_best_is_that_of_the_analysis() {
        let runs: Vec<_> = [(1e-4, 0.5), (1e-3, 0.25), (1e-2, 0.5)]
            .into_iter()
            .flat_map(|(lr, loss)| (1..=3).map(move |seed| record("full", None, lr, seed, loss)))
            .chain([record("full", None, 1e-3, 4, 1.0)])
            .collect();
        let best = best(&runs);
        let row = best.lines().nth(1).unwrap();
        assert!(row.starts_with("full    0.001  "), "{best}");
        assert!(row.contains("  0.2500    0.7500  "), "{best}");
    }

    #[test]
    fn nothing_at_all() {
        let empty = summarise(&[]);
        assert_eq!(results_table(&empty).lines().count(), 1);
        assert_eq!(best(&[]).lines().count(), 1);
    }
}
