//! All figures of a report.

use super::axis_figures::{axis_figures, norms_against_optimum};
use super::cell_figures::{Over, learning_curves, norms, u_curves};
use super::figure::Figure;
use super::layout::Layout;
use super::runs::RunIndex;

/// Those for which there are data, in the order in which they stand on the page.
pub fn figures(layout: &Layout, index: &RunIndex) -> Vec<Figure> {
    let panels = || layout.panels.iter().enumerate();
    let name = |name: &str, panel: usize| match layout.panels.len() {
        1 => name.to_owned(),
        _ => format!("{name}-{}", panel + 1),
    };
    let mut figures: Vec<Figure> = panels()
        .map(|(n, panel)| u_curves(layout, index, panel, name("loss-over-lr", n)))
        .collect();
    figures.extend(axis_figures(layout));
    for (over, words) in [
        (Over::Steps, "curves-over-steps"),
        (Over::Tokens, "curves-over-tokens"),
        (Over::MultiplyAdds, "curves-over-multiply-adds"),
    ] {
        let curves =
            panels().map(|(n, panel)| learning_curves(layout, panel, over, name(words, n)));
        // One evaluation is no curve.
        figures.extend(curves.filter(Figure::has_a_line));
    }
    figures.extend(panels().map(|(n, panel)| norms(layout, panel, name("norms-over-lr", n))));
    figures.push(norms_against_optimum(layout));
    figures.retain(|figure| !figure.is_empty());
    figures
}
