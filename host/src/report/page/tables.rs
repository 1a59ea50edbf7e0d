//! The tables of a report.

use super::runs::{RunIndex, numbered};
use super::table::{Cell, Column, Piece, Row, Table};
use super::words;
use crate::record::{Norms, python_float};
use crate::report::analysis::{Analysis, CellAnalysis, Difference, Interval};
use crate::report::table;

/// Runs of a point that are named one by one.
const NAMED: usize = 12;
const INTERVAL: &[&str] = &["interval_low", "interval_high"];

/// All tables of the figures, in the order in which they stand on the page. `runs` leads from the page to the folder of
/// runs, where there is a way.
pub fn tables(analysis: &Analysis, index: &RunIndex, runs: Option<&str>) -> Vec<Table> {
    let tables = vec![
        optima(analysis),
        comparisons(analysis),
        norms(analysis),
        points(analysis, index),
        all_runs(analysis, runs),
    ];
    tables
        .into_iter()
        .filter(|table| !table.rows.is_empty())
        .collect()
}

fn optima(analysis: &Analysis) -> Table {
    let percent = percent(analysis);
    let metric = metric_title(analysis);
    let columns = vec![
        Column::text("cell", &["cell"]),
        Column::figure("optimum lr", &["optimum_lr"]),
        Column::text(&format!("{percent} interval"), INTERVAL),
        Column::text("", &["remark"]),
        Column::figure("best tried", &["best_tried_lr"]),
        Column::figure("validation loss", &["val_loss"]),
        Column::figure(&metric, &["test_metric"]),
        Column::figure("seeds", &["seeds"]),
        Column::text("runs", &["runs"]),
    ];
    let row = |(number, cell): (usize, &CellAnalysis)| {
        let optimum = &cell.optimum;
        let best = best(number, cell);
        let metric = cell.best_point().and_then(|point| point.metric);
        Row {
            anchor: Some(format!("c{number}")),
            cells: vec![
                Cell::text(&cell.cell).linked(Some(point_anchor(number, 0))),
                Cell::figure(optimum.lr, words::digits).linked(best.clone()),
                interval(optimum.interval),
                Cell::text(words::remark(optimum)),
                Cell::figure(optimum.best_tried, python_float).linked(best.clone()),
                Cell::figure(optimum.val_loss, four).linked(best.clone()),
                Cell::figure(metric, four).linked(best),
                Cell::text(cell.seeds.len().to_string()),
                Cell::text(cell.counts.to_string()),
            ],
        }
    };
    Table {
        name: "optima",
        title: "Optimum of each cell".to_owned(),
        note: "Only completed runs have a part in a figure. Figures lead to the runs behind them."
            .to_owned(),
        columns,
        rows: analysis.cells.iter().enumerate().map(row).collect(),
    }
}

fn comparisons(analysis: &Analysis) -> Table {
    let percent = percent(analysis);
    let columns = vec![
        Column::text("cell", &["cell"]),
        Column::text("of", &["of"]),
        Column::figure("cell", &["cell_value"]),
        Column::figure("full", &["full_value"]),
        Column::text("", &["as"]),
        Column::figure("value", &["value"]),
        Column::text(&format!("{percent} interval"), INTERVAL),
        Column::figure("t", &["t"]),
        Column::figure("p", &["p"]),
        Column::figure("seeds", &["seeds"]),
        Column::text("verdict", &["verdict"]),
    ];
    let mut rows = Vec::new();
    for (number, cell) in analysis.cells.iter().enumerate() {
        let name = || Cell::text(&cell.cell).linked(Some(format!("#c{number}")));
        let full = |full: &str| {
            let mut cells = analysis.cells.iter();
            let full = cells.position(|cell| cell.cell == full)?;
            Some((best(full, &analysis.cells[full]), &analysis.cells[full]))
        };
        if let Some(ratio) = &cell.ratio_to_full {
            let (link, other) = full(&ratio.full).unzip();
            let link = link.flatten();
            let value = ratio
                .value
                .and_then(|value| Some((value, words::ratio(value, ratio.bound)?)));
            let remark = match (ratio.verdict, &value) {
                (Some(verdict), _) => words::verdict(verdict),
                (None, Some(_)) if ratio.bound != crate::report::Bound::Inside => "a bound",
                (None, Some(_)) => "no interval",
                (None, None) => "unresolved",
            };
            let value = match value {
                Some((value, shown)) => Cell::figure(Some(value), |_| shown.clone()),
                None => Cell::none(1),
            };
            rows.push(Row {
                anchor: None,
                cells: vec![
                    name(),
                    Cell::text("optimum lr"),
                    Cell::figure(cell.optimum.lr, words::digits).linked(best(number, cell)),
                    Cell::figure(other.and_then(|other| other.optimum.lr), words::digits)
                        .linked(link),
                    Cell::text("ratio"),
                    value,
                    interval(ratio.interval),
                    Cell::none(1),
                    Cell::none(1),
                    Cell::none(1),
                    Cell::text(remark),
                ],
            });
        }
        let Some(regret) = &cell.regret else { continue };
        let link = full(&regret.full).and_then(|full| full.0);
        for difference in [&regret.loss, &regret.metric].into_iter().flatten() {
            let mut cells = vec![name()];
            let links = (best(number, cell), link.clone());
            cells.extend(difference_cells(difference, links, regret.edge));
            rows.push(Row {
                anchor: None,
                cells,
            });
        }
    }
    Table {
        name: "comparisons",
        title: "Against full fine-tuning".to_owned(),
        note: "The ratio of the optima; and what the cell loses or wins, each at its best learning rate tried, paired by seed. \
               Unresolved: noise exceeds the gap, or there is one seed. On an edge: a better learning rate may not have been \
               tried."
            .to_owned(),
        columns,
        rows,
    }
}

fn difference_cells(
    difference: &Difference,
    (own, full): (Option<String>, Option<String>),
    edge: bool,
) -> Vec<Cell> {
    let verdict = words::verdict(difference.verdict);
    let verdict = if edge {
        format!("{verdict} (on an edge)")
    } else {
        verdict.to_owned()
    };
    vec![
        Cell::text(&difference.of),
        Cell::figure(Some(difference.cell), four).linked(own),
        Cell::figure(Some(difference.full), four).linked(full),
        Cell::text("difference"),
        Cell::figure(Some(difference.value), words::digits),
        interval(difference.interval),
        Cell::figure(difference.t, |t| format!("{t:.2}")),
        Cell::figure(difference.p, words::digits),
        Cell::text(difference.seeds.to_string()),
        Cell::text(verdict),
    ]
}

fn norms(analysis: &Analysis) -> Table {
    let columns = vec![
        Column::text("cell", &["cell"]),
        Column::figure("best tried", &["best_tried_lr"]),
        Column::figure("‖sBA‖ or ‖W - W0‖", &["change"]),
        Column::figure("over ‖W0‖", &["relative_change"]),
        Column::figure("σ(A)", &["spectral_a"]),
        Column::figure("σ(B)", &["spectral_b"]),
        Column::figure("σ(BA)", &["spectral_ba"]),
        Column::figure("gradient", &["gradient"]),
        Column::figure("update", &["update"]),
    ];
    let rows = analysis
        .cells
        .iter()
        .enumerate()
        .filter_map(|(number, cell)| {
            let Norms {
                change,
                relative_change,
                spectral_a,
                spectral_b,
                spectral_ba,
                gradient,
                update,
            } = cell.norms?;
            let norms = [
                change,
                relative_change,
                spectral_a,
                spectral_b,
                spectral_ba,
                gradient,
                update,
            ];
            let mut cells = vec![
                Cell::text(&cell.cell).linked(Some(format!("#c{number}"))),
                Cell::figure(cell.optimum.best_tried, python_float).linked(best(number, cell)),
            ];
            cells.extend(norms.map(|norm| Cell::figure(norm, words::digits)));
            Some(Row {
                anchor: None,
                cells,
            })
        });
    Table {
        name: "norms",
        title: "Norms at the best learning rate tried".to_owned(),
        note: "After the last step, over all layers, means over seeds: Frobenius norms, and the largest singular values σ of \
               any layer."
            .to_owned(),
        rows: rows.collect(),
        columns,
    }
}

fn points(analysis: &Analysis, index: &RunIndex) -> Table {
    let percent = percent(analysis);
    let columns = vec![
        Column::text("cell", &["cell"]),
        Column::figure("lr", &["lr"]),
        Column::figure("validation loss", &["val_loss"]),
        Column::text(&format!("{percent} interval"), INTERVAL),
        Column::figure(&metric_title(analysis), &["test_metric"]),
        Column::text("ended", &["completed", "diverged", "failed", "unfinished"]),
        Column::text("runs", &["runs"]),
    ];
    let mut rows = Vec::new();
    for (number, cell) in analysis.cells.iter().enumerate() {
        for (place, point) in cell.points.iter().enumerate() {
            let first = index.first(number, place);
            let anchor = Some(
                point_anchor(number, place)
                    .trim_start_matches('#')
                    .to_owned(),
            );
            let link = Some(format!("#r{first}"));
            let named = point
                .runs
                .iter()
                .enumerate()
                .take(NAMED)
                .map(|(nth, run)| Piece {
                    text: run.seed.clone(),
                    href: Some(format!("#r{}", first + nth)),
                });
            let mut pieces: Vec<Piece> = named.collect();
            if point.runs.len() > NAMED {
                pieces.push(Piece {
                    text: format!("and {} more", point.runs.len() - NAMED),
                    href: Some(format!("#r{}", first + NAMED)),
                });
            }
            let ids: Vec<&str> = point.runs.iter().map(|run| run.id.as_str()).collect();
            let counts = point.counts;
            let numbers = [
                counts.completed,
                counts.diverged,
                counts.failed,
                counts.unfinished,
            ];
            rows.push(Row {
                anchor,
                cells: vec![
                    Cell::text(&cell.cell).linked(Some(format!("#c{number}"))),
                    Cell::figure(Some(point.lr), python_float),
                    Cell::figure(point.val_loss, four).linked(link.clone()),
                    interval(point.interval),
                    Cell::figure(point.metric, four).linked(link),
                    Cell {
                        exact: numbers.map(|number| number.to_string()).to_vec(),
                        ..Cell::text(counts.to_string())
                    },
                    Cell {
                        pieces,
                        exact: vec![ids.join(" ")],
                    },
                ],
            });
        }
    }
    Table {
        name: "points",
        title: "Every learning rate".to_owned(),
        note: "Means over the seeds that completed at most learning rates, where none diverged. Runs are named by their seeds."
            .to_owned(),
        columns,
        rows,
    }
}

fn all_runs(analysis: &Analysis, folder: Option<&str>) -> Table {
    let columns = vec![
        Column::text("run", &["run"]),
        Column::text("cell", &["cell"]),
        Column::figure("lr", &["lr"]),
        Column::text("seed", &["seed"]),
        Column::text("status", &["status"]),
        Column::figure("validation loss", &["val_loss"]),
        Column::figure("test loss", &["test_loss"]),
        Column::figure(&metric_title(analysis), &["test_metric"]),
        Column::figure("seconds", &["seconds"]),
        Column::text("error", &["error"]),
    ];
    let rows = numbered(analysis).map(|numbered| {
        let run = numbered.run;
        let href = folder.map(|folder| format!("{folder}/{}/", run.id));
        let error = run.error.as_ref();
        Row {
            anchor: Some(format!("r{}", numbered.number)),
            cells: vec![
                Cell::text(&run.id).linked(href),
                Cell::text(&numbered.cell.cell),
                Cell::figure(Some(numbered.point.lr), python_float),
                Cell::text(&run.seed),
                Cell::text(words::status(run.status)),
                Cell::figure(run.val_loss, four),
                Cell::figure(run.test_loss, four),
                Cell::figure(run.metric, four),
                Cell::figure(run.seconds, |seconds| format!("{seconds:.1}")),
                error.map_or(Cell::none(1), Cell::text),
            ],
        }
    });
    Table {
        name: "runs",
        title: "Runs".to_owned(),
        note: "Each is the folder of that name below runs/.".to_owned(),
        rows: rows.collect(),
        columns,
    }
}

fn interval(interval: Option<Interval>) -> Cell {
    let Some(interval) = interval else {
        return Cell::none(2);
    };
    let end = |end: Option<f64>| end.map_or(String::new(), |end| end.to_string());
    Cell {
        exact: vec![end(interval.low), end(interval.high)],
        ..Cell::text(words::interval(interval))
    }
}

/// Where the best learning rate tried stands among the points.
fn best(number: usize, cell: &CellAnalysis) -> Option<String> {
    let best = cell.optimum.best_tried?;
    let place = cell.points.iter().position(|point| point.lr == best)?;
    Some(point_anchor(number, place))
}

fn point_anchor(cell: usize, point: usize) -> String {
    format!("#p{cell}-{point}")
}

fn percent(analysis: &Analysis) -> String {
    format!("{:.0}%", analysis.level * 100.0)
}

fn metric_title(analysis: &Analysis) -> String {
    table::metric_title(analysis.cells.iter().map(|cell| cell.headline.as_deref()))
}

/// Four decimals, or three digits where that would be nothing or too much.
fn four(value: f64) -> String {
    if value == 0.0 || (1e-3..1e4).contains(&value.abs()) {
        format!("{value:.4}")
    } else {
        words::digits(value)
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::study;
    use super::*;

    #[test]
    fn tables_of_a_small_study() {
        let analysis = study();
        let index = RunIndex::of(&analysis);
        let tables = tables(&analysis, &index, Some("../runs"));
        let text: Vec<String> = tables.iter().map(Table::markdown).collect();
        insta::assert_snapshot!(text.join("\n"));
    }

    #[test]
    fn every_link_of_a_figure_leads_to_a_row() {
        let analysis = study();
        let index = RunIndex::of(&analysis);
        let tables = tables(&analysis, &index, Some("../runs"));
        let rows = || tables.iter().flat_map(|table| &table.rows);
        let anchors: Vec<&str> = rows().filter_map(|row| row.anchor.as_deref()).collect();
        let cells = rows().flat_map(|row| &row.cells);
        let links = cells
            .flat_map(|cell| &cell.pieces)
            .filter_map(|p| p.href.as_deref());
        let inner: Vec<&str> = links.filter_map(|href| href.strip_prefix('#')).collect();
        assert!(inner.len() > 20);
        for link in inner {
            assert!(anchors.contains(&link), "{link}");
        }
    }

    #[test]
    fn csv_has_as_many_fields_in_each_line() {
        let analysis = study();
        let index = RunIndex::of(&analysis);
        for table in tables(&analysis, &index, None) {
            let csv = table.csv();
            let mut reader = csv::Reader::from_reader(csv.as_bytes());
            let rows = reader.records().map(Result::unwrap).count();
            assert_eq!(rows, table.rows.len(), "{}", table.name);
        }
    }
}
