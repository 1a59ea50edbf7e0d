//! Colours and shapes. The colours are those of Okabe and Ito, which the colour-blind tell apart, darkened or lightened
//! until they stand out from the paper; a shape comes with each, so that none is told by its colour alone.

use std::fmt::Write as _;

/// How a series looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Full fine-tuning, in the colour of the text.
    Full,
    /// The n-th series.
    Nth(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Circle,
    Square,
    Triangle,
    Diamond,
}

/// Colours of the two kinds of paper.
#[derive(Debug)]
pub struct Theme {
    pub paper: &'static str,
    pub ink: &'static str,
    pub muted: &'static str,
    pub grid: &'static str,
    series: [&'static str; 7],
}

pub const LIGHT: Theme = Theme {
    paper: "#ffffff",
    ink: "#1b1f24",
    muted: "#59636e",
    grid: "#dfe3e8",
    series: [
        "#0072b2", "#d55e00", "#00805d", "#b0508a", "#946000", "#2b8cc4", "#5e4fa2",
    ],
};

pub const DARK: Theme = Theme {
    paper: "#14181d",
    ink: "#e8ebef",
    muted: "#9aa4af",
    grid: "#303841",
    series: [
        "#56a8e8", "#ff8a4c", "#2cc79a", "#e39bc4", "#e8b84a", "#8ccbf2", "#b3a5f2",
    ],
};

impl Look {
    /// Class of its colour.
    pub fn class(self) -> String {
        match self {
            Self::Full => "full".to_owned(),
            Self::Nth(n) => format!("k{}", n % LIGHT.series.len()),
        }
    }

    pub fn shape(self) -> Shape {
        match self {
            Self::Full => Shape::Square,
            // The shapes go round out of step with the colours.
            Self::Nth(n) => [Shape::Circle, Shape::Triangle, Shape::Diamond][n % 3],
        }
    }

    /// Dashes of its line: another pattern for each round of the colours.
    pub fn dashes(self) -> Option<&'static str> {
        match self {
            Self::Full => None,
            Self::Nth(n) => {
                [None, Some("7 3"), Some("2 3"), Some("9 3 2 3")][n / LIGHT.series.len() % 4]
            }
        }
    }
}

impl Theme {
    /// Style sheet of the figures. No variables: also what reads the files of the figures must know it.
    pub fn figure_css(&self) -> String {
        let Self {
            paper,
            ink,
            muted,
            grid,
            series,
        } = self;
        let mut css = format!(
            ".fig text{{font-family:'DejaVu Sans',Verdana,system-ui,sans-serif;font-size:12px;fill:{muted}}}\
             .fig .title{{font-size:15px;fill:{ink}}}.fig .axis{{fill:{ink}}}\
             .fig .paper{{fill:{paper}}}.fig .grid{{stroke:{grid};stroke-width:1}}\
             .fig .frame{{stroke:{muted};stroke-width:1;fill:none}}.fig .reference{{stroke:{muted};stroke-dasharray:1 3}}\
             .fig .line{{fill:none;stroke-width:2}}.fig .fit{{fill:none;stroke-width:1;stroke-dasharray:3 3}}\
             .fig .bar{{fill:none;stroke-width:1.5}}.fig .hit{{fill-opacity:0;stroke:none}}\
             .fig .run{{fill-opacity:.45;stroke:none}}.fig .open{{fill:{paper};stroke-width:1.5}}\
             .fig .cross{{fill:none;stroke-width:2}}"
        );
        let looks = (0..series.len()).map(|n| (Look::Nth(n), series[n]));
        for (look, colour) in looks.chain([(Look::Full, *ink)]) {
            let class = look.class();
            // Writing to a string cannot fail.
            let _ = write!(
                css,
                ".fig .{class} .ln{{stroke:{colour}}}.fig .{class} .dot,.fig .{class} .name{{fill:{colour}}}"
            );
        }
        css
    }
}
