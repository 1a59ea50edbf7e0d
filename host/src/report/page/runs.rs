//! The runs of an analysis by one number each.

use crate::report::analysis::{Analysis, CellAnalysis, Point, RunPoint};

/// Numbers runs in the order of cells, learning rates and seeds.
#[derive(Debug)]
pub struct RunIndex {
    first: Vec<Vec<usize>>,
}

/// A run with where it belongs.
#[derive(Debug, Clone, Copy)]
pub struct NumberedRun<'a> {
    pub number: usize,
    pub cell: &'a CellAnalysis,
    pub point: &'a Point,
    pub run: &'a RunPoint,
}

impl RunIndex {
    pub fn of(analysis: &Analysis) -> Self {
        let mut next = 0;
        let mut take = |point: &Point| {
            let first = next;
            next += point.runs.len();
            first
        };
        let cells = analysis.cells.iter();
        Self {
            first: cells
                .map(|cell| cell.points.iter().map(&mut take).collect())
                .collect(),
        }
    }

    /// Number of the first run at a point of a cell.
    pub fn first(&self, cell: usize, point: usize) -> usize {
        self.first[cell][point]
    }
}

/// All runs in the order of their numbers.
pub fn numbered(analysis: &Analysis) -> impl Iterator<Item = NumberedRun<'_>> {
    let points = analysis
        .cells
        .iter()
        .flat_map(|cell| cell.points.iter().map(move |point| (cell, point)));
    let runs =
        points.flat_map(|(cell, point)| point.runs.iter().map(move |run| (cell, point, run)));
    runs.enumerate()
        .map(|(number, (cell, point, run))| NumberedRun {
            number,
            cell,
            point,
            run,
        })
}
