//! Tables as text.

use super::{Best, Bound, CellSummary, Edge, PointSummary, Summary};
use crate::record::python_float;
use crate::spec::Method;

/// What stands where there is no figure.
const NONE: &str = "-";

/// Every cell at every learning rate: best validation loss, test metric, and how runs ended that did not complete.
/// The best learning rate of a cell is marked.
#[must_use]
pub fn results_table(summary: &Summary) -> String {
    let mut table = Table::new([
        "cell",
        "lr",
        "val loss",
        &metric_title(summary),
        "seeds",
        "",
    ]);
    for cell in &summary.cells {
        for (index, point) in cell.points.iter().enumerate() {
            let name = if index == 0 { cell.cell.as_str() } else { "" };
            table.row([
                name.to_owned(),
                python_float(point.lr),
                point.val_loss.map_or(NONE.to_owned(), figure),
                test_figure(cell, point),
                point.runs.len().to_string(),
                mark(cell, point),
            ]);
        }
    }
    table.render()
}

/// The best learning rate of each cell, and LoRA's over that of full fine-tuning.
#[must_use]
pub fn best_table(summary: &Summary) -> String {
    let mut table = Table::new([
        "cell",
        "best lr",
        "val loss",
        &metric_title(summary),
        "lr / full lr",
        "",
    ]);
    for cell in &summary.cells {
        let Some(best) = &cell.best else {
            let none = || NONE.to_owned();
            let remark = "no learning rate at which all runs completed".to_owned();
            table.row([cell.cell.clone(), none(), none(), none(), none(), remark]);
            continue;
        };
        table.row([
            cell.cell.clone(),
            python_float(best.lr),
            figure(best.val_loss),
            cell.best_point()
                .map_or(NONE.to_owned(), |point| test_figure(cell, point)),
            ratio(cell),
            edge_note(best).to_owned(),
        ]);
    }
    format!("{}{}", table.render(), interval_note(summary))
}

fn metric_title(summary: &Summary) -> String {
    let name = summary
        .cells
        .iter()
        .find_map(|cell| cell.headline.as_deref());
    name.map_or("test".to_owned(), |name| format!("test {name}"))
}

fn test_figure(cell: &CellSummary, point: &PointSummary) -> String {
    let value = cell.headline.as_ref().and_then(|name| point.test.get(name));
    value.map_or(NONE.to_owned(), |value| figure(*value))
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

fn ratio(cell: &CellSummary) -> String {
    match (&cell.ratio_to_full, cell.method) {
        (None, Method::Full) => "1".to_owned(),
        (None, Method::Lora) => NONE.to_owned(),
        (Some(ratio), _) => {
            // Two digits are more than a grid of learning rates resolves.
            let value = format!("{:.2}", ratio.value);
            let value = value.trim_end_matches('0').trim_end_matches('.');
            match ratio.bound {
                Bound::Inside => value.to_owned(),
                Bound::AtLeast => format!(">= {value}"),
                Bound::AtMost => format!("<= {value}"),
                Bound::Unresolved => format!("{value} (unresolved)"),
            }
        }
    }
}

fn edge_note(best: &Best) -> &'static str {
    match best.edge {
        None => "",
        Some(Edge::Smallest) => "edge of the grid: the optimum is this or smaller",
        Some(Edge::Largest) => "edge of the grid: the optimum is this or larger",
        Some(Edge::Only) => "the only learning rate tried: no optimum",
    }
}

fn interval_note(summary: &Summary) -> String {
    let fewest = summary.cells.iter().map(|cell| cell.seeds.len()).min();
    match fewest {
        None => String::new(),
        Some(1) => "no interval (1 seed)\n".to_owned(),
        Some(seeds) => format!("means over {seeds} seeds at least; no interval\n"),
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
    use super::*;
    use crate::report::summary::{
        summarise,
        tests::{example, record, with_status},
    };

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
        insta::assert_snapshot!(best_table(&summarise(&example())), @r#"
        cell     best lr  val loss  test acc  lr / full lr
        lora-r4     0.01    0.2500    0.7500         >= 10
        full       0.001    0.1250    0.8750             1  edge of the grid: the optimum is this or smaller
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
        let both = format!("{}\n{}", results_table(&summary), best_table(&summary));
        insta::assert_snapshot!(both, @r#"
        cell        lr  val loss  test acc  seeds
        full     1e-05         -         -      2  1 diverged
        lora-r4  1e-05    0.3750    0.6250      2  best

        cell     best lr  val loss  test acc  lr / full lr
        full           -         -         -             -  no learning rate at which all runs completed
        lora-r4    1e-05    0.3750    0.6250             -  the only learning rate tried: no optimum
        means over 2 seeds at least; no interval
        "#);
    }

    #[test]
    fn nothing_at_all() {
        let empty = summarise(&[]);
        assert_eq!(results_table(&empty).lines().count(), 1);
        assert_eq!(best_table(&empty).lines().count(), 1);
    }
}
