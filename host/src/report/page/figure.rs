//! A figure as data: what stands where, before anything is drawn.

use super::palette::Look;
use crate::report::analysis::Interval;

/// One plot. It is drawn once for the page and once for its own files, see [`super::draw`].
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Name of its files, without extension.
    pub name: String,
    pub title: String,
    /// What one has to know to read it.
    pub note: String,
    pub x: Axis,
    pub y: Axis,
    pub series: Vec<Series>,
    /// A horizontal line for orientation, with what it stands for.
    pub reference: Option<(f64, &'static str)>,
    /// Whether series stand a little apart where they share a place.
    pub apart: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    pub label: String,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Linear,
    /// Values that are not positive have no place.
    Log,
    /// As [`Kind::Log`], with these values as ticks: ranks, batch sizes.
    LogAt(Vec<f64>),
    /// The value is the index of a name.
    Names(Vec<String>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What is switched on and off together, on the whole page: `c3` for the fourth cell.
    pub id: String,
    pub label: String,
    pub look: Look,
    /// Drawn through these points, in their order.
    pub line: Vec<(f64, f64)>,
    /// Likewise, thin and dashed: a fit.
    pub fit: Vec<(f64, f64)>,
    pub marks: Vec<Mark>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    pub x: f64,
    pub y: Height,
    pub sign: Sign,
    pub x_interval: Option<Interval>,
    pub y_interval: Option<Interval>,
    pub about: About,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Height {
    At(f64),
    /// In a strip above the frame: there is no value.
    Top,
    /// In a strip within the foot of the frame, where each series has a row.
    Foot,
}

/// What a mark looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// A value over several runs, in the shape of the series.
    Mean,
    /// One run.
    Run,
    Optimum,
    /// The true value is this or larger, or smaller: an arrow along the axis of the value.
    AtLeast,
    AtMost,
    Diverged,
    Failed,
    Unfinished,
}

/// What is shown where the pointer rests.
#[derive(Debug, Clone, PartialEq)]
pub enum About {
    /// The run with this index; its row in the table of runs says the rest.
    Run(usize),
    Text(String),
}

impl Axis {
    pub fn new(label: impl Into<String>, kind: Kind) -> Self {
        Self {
            label: label.into(),
            kind,
        }
    }
}

impl Series {
    pub fn new(id: impl Into<String>, label: impl Into<String>, look: Look) -> Self {
        Self {
            id: id.into(),
            label: label.into(),
            look,
            line: Vec::new(),
            fit: Vec::new(),
            marks: Vec::new(),
        }
    }
}

impl Mark {
    pub fn new(x: f64, y: Height, sign: Sign, about: About) -> Self {
        Self {
            x,
            y,
            sign,
            x_interval: None,
            y_interval: None,
            about,
        }
    }
}

impl Figure {
    pub fn has_a_line(&self) -> bool {
        self.series.iter().any(|series| series.line.len() > 1)
    }

    /// Whether there is anything to draw.
    pub fn is_empty(&self) -> bool {
        self.series
            .iter()
            .all(|series| series.line.is_empty() && series.marks.is_empty())
    }
}
