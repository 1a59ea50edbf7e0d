//! The U of loss over learning rate, as text for a terminal.

use std::fmt::Write;

use super::Summary;
use crate::record::python_float;

/// Rows of the plot.
const HEIGHT: usize = 12;
/// Characters between two learning rates; each cell has a place of its own among them, so that none hides another.
const STRIDE: usize = 10;
const MARKS: [char; 8] = ['●', '○', '■', '□', '▲', '△', '◆', '◇'];
/// Stands on top where no run completed.
const DIVERGED: char = '×';

/// Best validation loss over learning rate, one mark a cell. The loss is drawn by its logarithm, so that a run that went
/// wrong does not flatten the U; the learning rates stand at equal distances. Where a run
/// did not complete, the cell has a `×` on top. Empty if no run completed.
#[must_use]
pub fn curve(summary: &Summary) -> String {
    let points = || summary.cells.iter().flat_map(|cell| &cell.points);
    let mut lrs: Vec<f64> = points().map(|point| point.lr).collect();
    lrs.sort_by(f64::total_cmp);
    lrs.dedup();
    let losses = || points().filter_map(|point| point.val_loss);
    let (low, high) = (
        losses().fold(f64::NAN, f64::min),
        losses().fold(f64::NAN, f64::max),
    );
    if low.is_nan() {
        return String::new();
    }
    let mut canvas = vec![vec![' '; lrs.len() * STRIDE]; HEIGHT];
    for (index, cell) in summary.cells.iter().enumerate() {
        for point in &cell.points {
            let place = lrs.partition_point(|lr| lr.total_cmp(&point.lr).is_lt());
            let column = place * STRIDE + index % MARKS.len();
            match point.val_loss {
                Some(loss) => canvas[row(loss, low, high)][column] = MARKS[index % MARKS.len()],
                None => canvas[0][column] = DIVERGED,
            }
        }
    }
    let mut text = String::from("val loss, log scale\n");
    for (index, line) in canvas.iter().enumerate() {
        let label = match index {
            0 => format!("{high:.4}"),
            _ if index == HEIGHT - 1 && low < high => format!("{low:.4}"),
            _ => String::new(),
        };
        let line: String = line.iter().collect();
        push_line(&mut text, &format!("{label:>10} ┤ {line}"));
    }
    let mut labels = String::new();
    for lr in &lrs {
        // Writing to a string cannot fail.
        let _ = write!(labels, "{:<STRIDE$}", python_float(*lr));
    }
    push_line(
        &mut text,
        &format!("{:>10} └{}", "", "─".repeat(lrs.len() * STRIDE)),
    );
    push_line(&mut text, &format!("{:>10}   {labels}", "lr"));
    push_line(&mut text, &format!("{:>10}   {}", "", legend(summary)));
    text
}

/// Row 0 is the highest loss.
fn row(loss: f64, low: f64, high: f64) -> usize {
    let height = if high > low && low > 0.0 {
        (high / loss).ln() / (high / low).ln()
    } else {
        0.0
    };
    let row = (height * (HEIGHT - 1) as f64).round() as usize;
    row.min(HEIGHT - 1)
}

fn legend(summary: &Summary) -> String {
    let marks = summary.cells.iter().zip(MARKS.iter().cycle());
    let mut entries: Vec<_> = marks
        .map(|(cell, mark)| format!("{mark} {}", cell.cell))
        .collect();
    let unfinished = summary.cells.iter().flat_map(|cell| &cell.points);
    if unfinished.into_iter().any(|point| point.val_loss.is_none()) {
        entries.push(format!("{DIVERGED} not completed"));
    }
    entries.join("   ")
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::summary::{
        summarise,
        tests::{example, record},
    };

    #[test]
    fn two_cells() {
        insta::assert_snapshot!(curve(&summarise(&example())), @r#"
        val loss, log scale
            0.7500 ┤            ○        ××
                   ┤
                   ┤ ●
                   ┤
                   ┤
                   ┤
                   ┤
                   ┤           ●
                   ┤
                   ┤
                   ┤
            0.1250 ┤  ○
                   └──────────────────────────────
                lr   0.001     0.01      0.1
                     ● lora-r4   ○ full   × not completed
        "#);
    }

    #[test]
    fn one_point_and_none() {
        let one = curve(&summarise(&[record("full", None, 0.1, 1, 0.5)]));
        assert_eq!(one.matches('●').count(), 2, "{one}");
        assert_eq!(curve(&summarise(&[])), "");
    }
}
