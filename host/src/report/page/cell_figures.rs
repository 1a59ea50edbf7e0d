//! Figures of a plot's cells over learning rate and steps.

use super::figure::{About, Axis, Figure, Height, Kind, Mark, Series, Sign};
use super::layout::{Layout, Member, Panel};
use super::runs::RunIndex;
use super::words;
use crate::record::{Status, python_float};
use crate::report::Edge;
use crate::report::analysis::{CellAnalysis, CurvePoint, Optimum, Point};

/// Points of a curve that say what they are.
const TOLD: usize = 12;
/// Pieces of the line that stands for a fit.
const PIECES: u32 = 32;

/// Loss over learning rate, one U a cell.
pub fn u_curves(layout: &Layout, index: &RunIndex, panel: &Panel, name: String) -> Figure {
    let series = panel.members.iter().map(|member| {
        let cell = &layout.cells[member.cell];
        let mut series = series(member);
        series.line = with_values(cell, |point| point.val_loss).collect();
        series.fit = fitted(&cell.optimum);
        let runs = cell.points.iter().enumerate().flat_map(|(p, point)| {
            let first = index.first(member.cell, p);
            point.runs.iter().enumerate().map(move |(r, run)| {
                let (y, sign) = match (run.status, run.val_loss) {
                    (Some(Status::Completed), Some(loss)) => (Height::At(loss), Sign::Run),
                    (Some(Status::Failed), _) => (Height::Top, Sign::Failed),
                    (Some(_), _) => (Height::Top, Sign::Diverged),
                    (None, _) => (Height::Top, Sign::Unfinished),
                };
                Mark::new(point.lr, y, sign, About::Run(first + r))
            })
        });
        let means = cell.points.iter().filter_map(|point| {
            let loss = point.val_loss?;
            let about = About::Text(about_point(&member.label, point, loss));
            let mut mark = Mark::new(point.lr, Height::At(loss), Sign::Mean, about);
            mark.y_interval = point.interval;
            Some(mark)
        });
        series.marks = runs.chain(means).collect();
        series.marks.extend(optimum(member, &cell.optimum));
        series
    });
    Figure {
        name,
        title: titled("Validation loss over learning rate", panel),
        note: "Means over seeds with their intervals, and each run as a dot; dashed the fit. At the foot the optimum with \
               its interval; an arrow there says that it lies on the edge of what was tried. Above the frame, in no mean: \
               × diverged, + failed, ○ unfinished."
            .to_owned(),
        x: Axis::new("learning rate", Kind::Log),
        y: Axis::new("validation loss", loss_kind(layout)),
        series: series.collect(),
        reference: None,
        apart: true,
    }
}

/// What a learning curve is drawn over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    Steps,
    Tokens,
    MultiplyAdds,
}

/// The lowest loss over all learning rates, step by step.
pub fn learning_curves(layout: &Layout, panel: &Panel, over: Over, name: String) -> Figure {
    let (label, words) = match over {
        Over::Steps => ("steps", "steps"),
        Over::Tokens => ("tokens trained on", "tokens"),
        Over::MultiplyAdds => ("multiply-adds", "multiply-adds"),
    };
    let place = |point: &CurvePoint| match over {
        Over::Steps => Some(point.step as f64).filter(|step| *step > 0.0),
        Over::Tokens => point.tokens.filter(|tokens| *tokens > 0.0),
        Over::MultiplyAdds => point.multiply_adds.filter(|count| *count > 0.0),
    };
    let line = |points: &[CurvePoint]| -> Vec<(f64, f64)> {
        let points = points.iter();
        points
            .filter_map(|point| Some((place(point)?, point.val_loss)))
            .collect()
    };
    let series = panel.members.iter().map(|member| {
        let curves = &layout.cells[member.cell].curves;
        let mut series = series(member);
        series.line = line(&curves.lowest);
        series.fit = line(&curves.best);
        let every = curves.lowest.len().div_ceil(TOLD).max(1);
        let told = curves.lowest.iter().rev().step_by(every);
        series.marks = told
            .filter_map(|point| {
                let about = format!(
                    "{}: {} after {} steps, at lr {}",
                    member.label,
                    words::digits(point.val_loss),
                    point.step,
                    python_float(point.lr)
                );
                let y = Height::At(point.val_loss);
                Some(Mark::new(place(point)?, y, Sign::Mean, About::Text(about)))
            })
            .collect();
        series
    });
    Figure {
        name,
        title: titled(&format!("Lowest validation loss over {words}"), panel),
        note: "The lowest mean over all learning rates, step by step: each point may have another one. Dashed the curve at \
               the best learning rate tried."
            .to_owned(),
        x: Axis::new(label, Kind::Log),
        y: Axis::new("validation loss", loss_kind(layout)),
        series: series.collect(),
        reference: None,
        apart: false,
    }
}

/// Norm of what was learned over learning rate, the best one marked.
pub fn norms(layout: &Layout, panel: &Panel, name: String) -> Figure {
    let change = |point: &Point| point.norms.and_then(|norms| norms.change);
    let series = panel.members.iter().map(|member| {
        let cell = &layout.cells[member.cell];
        let mut series = series(member);
        series.line = with_values(cell, change).collect();
        let marks = cell.points.iter().filter_map(|point| {
            let norm = change(point)?;
            let best = cell.optimum.best_tried == Some(point.lr);
            let about = format!(
                "{} at lr {}: norm {}{}",
                member.label,
                python_float(point.lr),
                words::digits(norm),
                if best { ", the best tried" } else { "" }
            );
            let sign = if best { Sign::Optimum } else { Sign::Run };
            Some(Mark::new(
                point.lr,
                Height::At(norm),
                sign,
                About::Text(about),
            ))
        });
        series.marks = marks.collect();
        series
    });
    Figure {
        name,
        title: titled("Norm of what was learned over learning rate", panel),
        note: "Frobenius norm of sBA (LoRA) and of W - W0 (full fine-tuning) over all layers, after the last step; means over \
               seeds. Open marks stand at the best learning rate tried."
            .to_owned(),
        x: Axis::new("learning rate", Kind::Log),
        y: Axis::new("‖sBA‖ or ‖W - W0‖", Kind::Log),
        series: series.collect(),
        reference: None,
        apart: false,
    }
}

/// Losses have a logarithmic axis, so that one that went wrong does not flatten the rest; unless one is not positive.
pub fn loss_kind(layout: &Layout) -> Kind {
    let points = layout.cells.iter().flat_map(|cell| &cell.points);
    let mut runs = points.flat_map(|point| &point.runs);
    if runs.any(|run| run.val_loss.is_some_and(|loss| loss <= 0.0)) {
        Kind::Linear
    } else {
        Kind::Log
    }
}

fn series(member: &Member) -> Series {
    Series::new(format!("c{}", member.cell), &member.label, member.look)
}

fn titled(title: &str, panel: &Panel) -> String {
    if panel.title.is_empty() {
        title.to_owned()
    } else {
        format!("{title}, {}", panel.title)
    }
}

fn with_values<'a>(
    cell: &'a CellAnalysis,
    value: impl Fn(&Point) -> Option<f64> + 'a,
) -> impl Iterator<Item = (f64, f64)> + 'a {
    let points = cell.points.iter();
    points.filter_map(move |point| Some((point.lr, value(point)?)))
}

fn about_point(label: &str, point: &Point, loss: f64) -> String {
    let interval = point.interval.map_or(String::new(), |interval| {
        format!(" ({})", words::interval(interval))
    });
    let (lr, loss) = (python_float(point.lr), words::digits(loss));
    format!(
        "{label} at lr {lr}: mean loss {loss}{interval}, {}",
        point.counts
    )
}

/// The parabola, from the first to the last point that it goes through.
fn fitted(optimum: &Optimum) -> Vec<(f64, f64)> {
    let Some(fit) = &optimum.fit else {
        return Vec::new();
    };
    let lows = fit.lrs.iter().copied().fold(f64::INFINITY, f64::min);
    let highs = fit.lrs.iter().copied().fold(0.0, f64::max);
    let (low, high) = ((lows / fit.centre).log10(), (highs / fit.centre).log10());
    let [c0, c1, c2] = fit.coefficients;
    let piece = |piece| {
        let u = low + (high - low) * f64::from(piece) / f64::from(PIECES);
        (fit.centre * 10f64.powf(u), c0 + c1 * u + c2 * u * u)
    };
    (0..=PIECES).map(piece).collect()
}

fn optimum(member: &Member, optimum: &Optimum) -> Option<Mark> {
    let lr = optimum.lr?;
    let sign = match optimum.edge {
        None => Sign::Optimum,
        Some(Edge::Smallest) => Sign::AtMost,
        Some(Edge::Largest) => Sign::AtLeast,
        Some(Edge::Only) => return None,
    };
    let interval = optimum.interval.map_or(String::new(), |interval| {
        format!(" ({})", words::interval(interval))
    });
    let about = format!(
        "{}: optimum {}{interval}, {}",
        member.label,
        words::digits(lr),
        words::remark(optimum)
    );
    let mut mark = Mark::new(lr, Height::Foot, sign, About::Text(about));
    mark.x_interval = optimum.interval;
    Some(mark)
}

#[cfg(test)]
mod tests {
    use super::super::sample::study;
    use super::*;

    fn signs(figure: &Figure, series: usize) -> Vec<Sign> {
        figure.series[series]
            .marks
            .iter()
            .map(|mark| mark.sign)
            .collect()
    }

    #[test]
    fn what_did_not_complete_stands_above_and_in_no_line() {
        let analysis = study();
        let layout = Layout::of(&analysis);
        let index = RunIndex::of(&analysis);
        let figure = u_curves(&layout, &index, &layout.panels[0], "u".to_owned());
        assert_eq!(figure.series[0].line.len(), 3);
        let lora = signs(&figure, 0);
        assert_eq!(lora.iter().filter(|sign| **sign == Sign::Run).count(), 6);
        assert!(lora.contains(&Sign::Diverged) && lora.contains(&Sign::Failed));
        assert!(lora.contains(&Sign::Optimum));
        let full = signs(&figure, 1);
        assert_eq!(figure.series[1].line, [(1e-4, 0.35)]);
        assert!(full.contains(&Sign::Unfinished) && full.contains(&Sign::AtMost));
        let last = figure.series[1]
            .marks
            .iter()
            .rev()
            .find_map(|mark| match mark.about {
                About::Run(run) => Some(run),
                About::Text(_) => None,
            });
        assert_eq!(last, Some(11), "runs are counted over all cells");
    }

    #[test]
    fn curves_begin_after_the_first_step() {
        let analysis = study();
        let layout = Layout::of(&analysis);
        let figure = learning_curves(&layout, &layout.panels[0], Over::Steps, String::new());
        assert_eq!(figure.series[0].line, [(10.0, 0.5), (20.0, 0.31)]);
        let figure = learning_curves(
            &layout,
            &layout.panels[0],
            Over::MultiplyAdds,
            String::new(),
        );
        assert_eq!(figure.series[0].line[0].0, 1e10);
        assert!(figure.series[1].line.is_empty());
    }

    #[test]
    fn the_fit_goes_through_its_range() {
        let analysis = study();
        let fit = fitted(&analysis.cells[0].optimum);
        assert!((fit[0].0 - 1e-4).abs() < 1e-12 && (fit[32].0 - 1e-2).abs() < 1e-12);
        assert!((fit[16].1 - 0.31).abs() < 1e-12);
    }
}
