//! The first sentences of a report.

use super::words;
use crate::report::Edge;
use crate::report::analysis::{Analysis, CellAnalysis};

/// Cells that have a sentence each.
const FEW: usize = 12;

/// What is to be known of all figures, and the ratio of each cell where they are few.
pub fn findings(analysis: &Analysis) -> Vec<String> {
    let mut findings = Vec::new();
    let cells = &analysis.cells;
    if !cells.is_empty() && cells.iter().all(|cell| cell.seeds.len() < 2) {
        findings.push("One seed: there are no intervals, and no difference is sure.".to_owned());
    }
    let edges = cells
        .iter()
        .filter(|cell| matches!(cell.optimum.edge, Some(Edge::Smallest | Edge::Largest)))
        .count();
    if edges > 0 {
        findings.push(format!(
            "In {edges} of {} cells the best learning rate lies on the edge of what was tried: their optima and ratios are \
             bounds.",
            cells.len()
        ));
    }
    for cell in cells.iter().filter(|_| cells.len() <= FEW) {
        findings.extend(ratio(cell, analysis.level));
    }
    findings
}

fn ratio(cell: &CellAnalysis, level: f64) -> Option<String> {
    let ratio = cell.ratio_to_full.as_ref()?;
    let Some(value) = ratio
        .value
        .and_then(|value| words::ratio(value, ratio.bound))
    else {
        return Some(format!(
            "{}: the ratio to {} is unresolved.",
            cell.cell, ratio.full
        ));
    };
    let interval = ratio.interval.map_or("no interval".to_owned(), |interval| {
        format!(
            "{:.0}% interval {}",
            level * 100.0,
            words::interval(interval)
        )
    });
    Some(format!(
        "{}: optimum {value} times that of {} ({interval}).",
        cell.cell, ratio.full
    ))
}

#[cfg(test)]
mod tests {
    use super::super::sample::study;
    use super::*;

    #[test]
    fn bounds_and_single_seeds_come_first() {
        let mut analysis = study();
        let edge = "In 1 of 2 cells the best learning rate lies on the edge of what was tried: their optima and ratios are \
                    bounds.";
        let ratio = "lora-r4: optimum ≥ 12.0 times that of full (no interval).";
        assert_eq!(findings(&analysis), [edge, ratio]);
        for cell in &mut analysis.cells {
            cell.seeds.truncate(1);
        }
        assert!(findings(&analysis)[0].starts_with("One seed"));
    }

    #[test]
    fn the_only_learning_rate_bounds_nothing() {
        let mut analysis = study();
        analysis.cells[1].optimum.edge = Some(Edge::Only);
        let findings = findings(&analysis);
        assert!(!findings[0].contains("bounds"), "{findings:?}");
    }
}
