//! The report of a folder of runs: a page that asks for nothing else, pictures of its figures, its tables as CSV and
//! Markdown, and all of it as JSON.
//!
//! Nothing is computed here: every number comes from [`super::analysis::Analysis`], and leads to its runs. A figure is
//! data first (`figure`), laid out by cells and axes (`layout`, `cell_figures`, `axis_figures`), and drawn once for the
//! page and once for its file (`draw`); a table likewise (`table`, `tables`, `provenance`).

#[macro_use]
mod escape;

mod axis_figures;
mod cell_figures;
mod draw;
mod figure;
mod figures;
mod files;
mod findings;
mod html;
mod layout;
mod marks;
mod palette;
mod png;
mod provenance;
mod runs;
#[cfg(test)]
mod sample;
mod scale;
mod table;
mod tables;
mod words;

pub use files::{Report, ReportError, Written};
