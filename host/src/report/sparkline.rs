//! A small U for each cell, where there are more than a plot on a terminal can hold.

use super::analysis::Analysis;

const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Where there is no mean.
const NOTHING: char = '×';

/// One line a cell: mean validation loss over learning rate, from its lowest to its highest, a `×` where not all runs
/// completed.
#[must_use]
pub fn sparklines(analysis: &Analysis) -> String {
    let widest = |of: fn(&super::analysis::CellAnalysis) -> usize| {
        analysis.cells.iter().map(of).max().unwrap_or(0)
    };
    let name = widest(|cell| cell.cell.chars().count());
    let lrs = widest(|cell| cell.points.len());
    let line = |cell: &super::analysis::CellAnalysis| {
        let losses: Vec<Option<f64>> = cell.points.iter().map(|point| point.val_loss).collect();
        let range = match (cell.points.first(), cell.points.last()) {
            (Some(first), Some(last)) => format!("lr {:e} to {:e}", first.lr, last.lr),
            _ => String::new(),
        };
        let padding = " ".repeat(lrs - losses.len());
        format!(
            "{:<name$}  {}{padding}  {range}\n",
            cell.cell,
            spark(&losses)
        )
    };
    analysis.cells.iter().map(line).collect()
}

fn spark(losses: &[Option<f64>]) -> String {
    let known = || losses.iter().flatten();
    let low = known().copied().fold(f64::INFINITY, f64::min);
    let high = known().copied().fold(f64::NEG_INFINITY, f64::max);
    let level = |loss: &Option<f64>| match loss {
        None => NOTHING,
        Some(_) if high <= low => LEVELS[0],
        Some(loss) => {
            let share = (loss - low) / (high - low);
            LEVELS[(share * (LEVELS.len() - 1) as f64).round() as usize]
        }
    };
    losses.iter().map(level).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_u_and_what_has_none() {
        assert_eq!(spark(&[Some(1.0), Some(0.25), Some(0.5), None]), "█▁▃×");
        assert_eq!(spark(&[Some(1.0), Some(1.0)]), "▁▁");
        assert_eq!(spark(&[None]), "×");
        assert_eq!(spark(&[]), "");
    }
}
