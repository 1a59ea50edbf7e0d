//! Figures over what varies beside the learning rate: rank, batch size, choice of layers, components.

use super::cell_figures::loss_kind;
use super::escape::shortened;
use super::figure::{About, Axis, Figure, Height, Kind, Mark, Series, Sign};
use super::layout::{Layout, Varying, described};
use super::palette::Look;
use super::words;
use crate::report::analysis::{CellAnalysis, Interval};
use crate::report::{Bound, Edge};
use crate::spec::Method;

/// Lines of one figure; more are spread over several.
const MOST: usize = 8;

/// What is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Optimum,
    Ratio,
    Loss,
}

/// A value with what is known of it.
struct Known {
    value: f64,
    interval: Option<Interval>,
    sign: Sign,
    remark: String,
}

/// Optimum, ratio to full fine-tuning and loss over each axis of the study.
pub fn axis_figures(layout: &Layout) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (number, axis) in layout.varying.iter().enumerate() {
        let groups = groups(layout, number);
        let parts = groups.chunks(MOST).enumerate();
        for (part, groups) in parts {
            for of in [Of::Ratio, Of::Optimum, Of::Loss] {
                let first = (number, part * MOST);
                let mut figure = figure(layout, axis, first, groups, of);
                if part > 0 {
                    figure.name = format!("{}-{}", figure.name, part + 1);
                }
                figures.push(figure);
            }
        }
    }
    figures.retain(|figure| !figure.is_empty());
    figures
}

/// The norm of what was learned against the optimum, a mark a cell.
pub fn norms_against_optimum(layout: &Layout) -> Figure {
    let series = layout.panels.iter().enumerate().map(|(nth, panel)| {
        let label = match panel.title.as_str() {
            "" => "LoRA",
            title => title,
        };
        let mut series = Series::new(format!("n{nth}"), label, Look::Nth(nth));
        let members = panel
            .members
            .iter()
            .filter(|member| member.look != Look::Full);
        series.marks = members
            .filter_map(|member| against_optimum(&layout.cells[member.cell]))
            .collect();
        series
    });
    let mut full = Series::new("n-full", "full", Look::Full);
    let cells = layout.cells.iter();
    full.marks = cells
        .filter(|cell| cell.method == Method::Full)
        .filter_map(against_optimum)
        .collect();
    let all = series.chain([full]);
    Figure {
        name: "norms-against-optimum".to_owned(),
        title: "Norm of what was learned against the optimum".to_owned(),
        note: "Frobenius norm of sBA (LoRA) or W - W0 (full fine-tuning) after the last step at the best learning rate tried, \
               against the optimum with its interval. Arrows: the optimum is a bound."
            .to_owned(),
        x: Axis::new("optimum learning rate", Kind::Log),
        y: Axis::new("‖sBA‖ or ‖W - W0‖", Kind::Log),
        series: all.filter(|series| !series.marks.is_empty()).collect(),
        reference: None,
        apart: false,
    }
}

fn against_optimum(cell: &CellAnalysis) -> Option<Mark> {
    let norm = cell.norms?.change?;
    let optimum = known(cell, Of::Optimum)?;
    let about = format!(
        "{}: norm {}, optimum {}",
        cell.cell,
        words::digits(norm),
        optimum.remark
    );
    // The arrow of a bound would point along the other axis.
    let sign = match optimum.sign {
        Sign::Mean => Sign::Mean,
        _ => Sign::Run,
    };
    let mut mark = Mark::new(optimum.value, Height::At(norm), sign, About::Text(about));
    mark.x_interval = match optimum.sign {
        Sign::AtLeast => Some(Interval {
            low: Some(optimum.value),
            high: None,
        }),
        Sign::AtMost => Some(Interval {
            low: None,
            high: Some(optimum.value),
        }),
        _ => optimum.interval,
    };
    Some(mark)
}

/// Cells that differ along the axis alone, under what they have in common.
struct Group<'a> {
    label: String,
    look: Look,
    cells: Vec<&'a CellAnalysis>,
}

fn groups<'a>(layout: &Layout<'a>, axis: usize) -> Vec<Group<'a>> {
    let others: Vec<Varying> = layout
        .varying
        .iter()
        .enumerate()
        .filter(|(number, _)| *number != axis)
        .map(|(_, other)| Varying {
            key: other.key,
            values: Vec::new(),
        })
        .collect();
    let mut groups: Vec<Group> = Vec::new();
    for cell in layout.cells {
        if layout.varying[axis].place(cell).is_none() {
            continue;
        }
        let rest = described(cell, &others);
        let label = match (cell.method, rest.is_empty()) {
            (Method::Full, true) => "full".to_owned(),
            (Method::Full, false) => format!("full, {rest}"),
            (Method::Lora, true) => "LoRA".to_owned(),
            (Method::Lora, false) => rest,
        };
        match groups.iter_mut().find(|group| group.label == label) {
            Some(group) => group.cells.push(cell),
            None => groups.push(Group {
                look: match cell.method {
                    Method::Full => Look::Full,
                    Method::Lora => Look::Nth(groups.len()),
                },
                label,
                cells: vec![cell],
            }),
        }
    }
    groups
}

/// `groups` are those of an axis from one on; `first` are the numbers of both.
fn figure(
    layout: &Layout,
    axis: &Varying,
    (number, first): (usize, usize),
    groups: &[Group],
    of: Of,
) -> Figure {
    let label = axis.label();
    let (name, title, y, note) = match of {
        Of::Optimum => (
            "optimum",
            format!("Optimum learning rate by {label}"),
            Axis::new("optimum learning rate", Kind::Log),
            "With intervals. An arrow is a bound: the best one tried lies on the edge of what was tried.",
        ),
        Of::Ratio => (
            "ratio",
            format!("LoRA's optimum over that of full fine-tuning, by {label}"),
            Axis::new("ratio of optima", Kind::Log),
            "With intervals. An arrow is a bound: the true ratio is that or further.",
        ),
        Of::Loss => (
            "loss",
            format!("Validation loss at the best learning rate, by {label}"),
            Axis::new("validation loss", loss_kind(layout)),
            "At the best learning rate tried, means over seeds with their intervals.",
        ),
    };
    let numbers = axis.numbers();
    let x = match &numbers {
        Some(numbers) => Kind::LogAt(numbers.clone()),
        None => Kind::Names(
            axis.values
                .iter()
                .map(|value| shortened(value, 24))
                .collect(),
        ),
    };
    let mut series: Vec<Series> = groups
        .iter()
        .enumerate()
        .map(|(nth, group)| {
            let id = format!("a{number}-{}", first + nth);
            let mut series = Series::new(id, &group.label, group.look);
            let mut points: Vec<(f64, Known, &CellAnalysis)> = group
                .cells
                .iter()
                .filter_map(|cell| {
                    let place = axis.place(cell)?;
                    let x = numbers
                        .as_ref()
                        .map_or(place as f64, |numbers| numbers[place]);
                    Some((x, known(cell, of)?, *cell))
                })
                .collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            if numbers.is_some() {
                series.line = points
                    .iter()
                    .map(|(x, known, _)| (*x, known.value))
                    .collect();
            }
            series.marks = points
                .into_iter()
                .map(|(x, known, cell)| mark(x, &known, cell))
                .collect();
            series
        })
        .collect();
    if axis.key == "rank" && of != Of::Ratio {
        series.extend(full_line(layout, &x, of));
    }
    Figure {
        name: format!("{name}-by-{}", file_name(axis.key)),
        title,
        note: note.to_owned(),
        x: Axis::new(label, x),
        y,
        series,
        reference: (of == Of::Ratio).then_some((1.0, "as full fine-tuning")),
        apart: true,
    }
}

/// Full fine-tuning has no rank: the only cell of it is a line across.
fn full_line(layout: &Layout, x: &Kind, of: Of) -> Option<Series> {
    let Kind::LogAt(ranks) = x else { return None };
    let mut cells = layout
        .cells
        .iter()
        .filter(|cell| cell.method == Method::Full);
    let (cell, None) = (cells.next()?, cells.next()) else {
        return None;
    };
    let (first, last) = (*ranks.first()?, *ranks.last()?);
    let known = known(cell, of)?;
    let mut series = Series::new("full", "full", Look::Full);
    series.line = vec![(first, known.value), (last, known.value)];
    series.marks = vec![mark(last, &known, cell)];
    Some(series)
}

fn mark(x: f64, known: &Known, cell: &CellAnalysis) -> Mark {
    let about = About::Text(format!("{}: {}", cell.cell, known.remark));
    let mut mark = Mark::new(x, Height::At(known.value), known.sign, about);
    mark.y_interval = known.interval;
    mark
}

fn known(cell: &CellAnalysis, of: Of) -> Option<Known> {
    match of {
        Of::Optimum => {
            let optimum = &cell.optimum;
            let value = optimum.lr?;
            let sign = match optimum.edge {
                None => Sign::Mean,
                Some(Edge::Smallest) => Sign::AtMost,
                Some(Edge::Largest) => Sign::AtLeast,
                Some(Edge::Only) => return None,
            };
            let about = words::remark(optimum);
            Some(told(value, optimum.interval, sign, about))
        }
        Of::Ratio => {
            let ratio = cell.ratio_to_full.as_ref()?;
            let value = ratio.value?;
            let (sign, about) = match ratio.bound {
                Bound::Inside => (Sign::Mean, "times that of full fine-tuning"),
                Bound::AtLeast => (Sign::AtLeast, "or more times that of full fine-tuning"),
                Bound::AtMost => (Sign::AtMost, "or fewer times that of full fine-tuning"),
                Bound::Unresolved => return None,
            };
            Some(told(value, ratio.interval, sign, about))
        }
        Of::Loss => {
            let value = cell.optimum.val_loss?;
            let interval = cell.best_point().and_then(|point| point.interval);
            Some(told(
                value,
                interval,
                Sign::Mean,
                "at the best learning rate tried",
            ))
        }
    }
}

fn told(value: f64, interval: Option<Interval>, sign: Sign, about: &str) -> Known {
    let range = interval.map_or(String::new(), |interval| {
        format!(" ({})", words::interval(interval))
    });
    Known {
        value,
        interval,
        sign,
        remark: format!("{}{range}, {about}", words::digits(value)),
    }
}

/// A dotted key as part of a file's name.
fn file_name(key: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    key.chars().map(safe).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::sample::study;
    use super::*;
    use crate::report::analysis::Analysis;

    /// The study at two ranks and two batch sizes.
    fn two_axes() -> Analysis {
        let mut analysis = study();
        let lora = analysis.cells[0].clone();
        for (rank, batch) in [(16, "32"), (4, "8"), (16, "8")] {
            let mut cell = lora.clone();
            cell.rank = Some(rank);
            cell.settings
                .insert("train.batch_size".to_owned(), batch.to_owned());
            analysis.cells.push(cell);
        }
        analysis
    }

    #[test]
    fn each_axis_has_its_figures() {
        let analysis = two_axes();
        let layout = Layout::of(&analysis);
        let figures = axis_figures(&layout);
        let names: Vec<&str> = figures.iter().map(|figure| figure.name.as_str()).collect();
        let expected = [
            "ratio-by-rank",
            "optimum-by-rank",
            "loss-by-rank",
            "ratio-by-train-batch-size",
        ];
        assert_eq!(names[..4], expected);
        let ratio = &figures[0];
        let labels: Vec<&str> = ratio.series.iter().map(|s| s.label.as_str()).collect();
        assert_eq!(labels, ["train.batch_size=32", "train.batch_size=8"]);
        assert_eq!(ratio.series[0].marks[0].sign, Sign::AtLeast);
        let optimum = &figures[1];
        assert_eq!(
            optimum.series.last().unwrap().line,
            [(4.0, 1e-4), (16.0, 1e-4)]
        );
        assert_eq!(optimum.series[0].line, [(4.0, 1.2e-3), (16.0, 1.2e-3)]);
    }

    /// The page switches by the names of series, and a series of one part is not one of another.
    #[test]
    fn series_of_parts_have_names_of_their_own() {
        let mut analysis = study();
        let lora = analysis.cells.remove(0);
        for batch in 1..=MOST + 2 {
            for rank in [4, 16] {
                let mut cell = lora.clone();
                cell.rank = Some(rank);
                let settings = &mut cell.settings;
                settings.insert("train.batch_size".to_owned(), batch.to_string());
                analysis.cells.push(cell);
            }
        }
        let layout = Layout::of(&analysis);
        let figures = axis_figures(&layout);
        let parts = figures
            .iter()
            .filter(|figure| figure.name.starts_with("ratio-by-rank"));
        let names: Vec<&str> = parts
            .flat_map(|figure| figure.series.iter().map(|series| series.id.as_str()))
            .collect();
        let distinct: BTreeSet<&&str> = names.iter().collect();
        assert_eq!((names.len(), distinct.len()), (MOST + 2, MOST + 2));
    }

    #[test]
    fn norms_stand_against_the_optimum() {
        let analysis = study();
        let layout = Layout::of(&analysis);
        let figure = norms_against_optimum(&layout);
        assert_eq!(figure.series.len(), 1, "full fine-tuning has no norms here");
        let mark = &figure.series[0].marks[0];
        assert_eq!((mark.x, mark.y), (1.2e-3, Height::At(0.7)));
    }
}
