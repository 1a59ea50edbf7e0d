//! The files of a report in its folder.

use std::fs;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde::{Deserialize, Serialize};

use super::draw::{Use, draw};
use super::figure::Figure;
use super::figures::figures;
use super::findings::findings;
use super::html::Page;
use super::layout::Layout;
use super::png::{PictureError, has_fonts, png};
use super::provenance;
use super::runs::RunIndex;
use super::table::Table;
use super::tables::tables;
use crate::record::{Provenance, RecordError, is_empty, read_if_there, write_atomically};
use crate::report::analysis::Analysis;

const PAGE: &str = "index.html";
const TEXT: &str = "report.md";
const DATA: &str = "report.json";
const FIGURES: &str = "figures";
const FORMAT: &str = "lorahost report";
const VERSION: u32 = 1;

/// A report to write.
#[derive(Debug)]
pub struct Report<'a> {
    pub title: &'a str,
    pub analysis: &'a Analysis,
    /// Of the runs that are done.
    pub origins: Vec<&'a Provenance>,
    /// From the report's folder to that of the runs, where there is a way.
    pub runs: Option<&'a str>,
    /// Seconds after which the page loads itself again, where it is still being written.
    pub reload: Option<u64>,
}

/// What was written.
#[derive(Debug)]
pub struct Written {
    pub page: PathBuf,
    /// All files, the page among them.
    pub files: usize,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error(transparent)]
    Record(#[from] RecordError),

    #[error(
        "the folder {} is not empty and holds no report of lorahost (no {DATA}); name a new or empty folder with --out",
        path.display()
    )]
    NotOurs { path: PathBuf },

    #[error("cannot draw the figure {name}: {source}")]
    Picture { name: String, source: PictureError },
}

/// The content of `report.json`.
#[derive(Serialize)]
struct Data<'a> {
    format: &'a str,
    version: u32,
    title: &'a str,
    /// Every other file, so that the next report removes what it does not write.
    files: &'a [String],
    analysis: &'a Analysis,
    origins: &'a [&'a Provenance],
}

/// What is read of an earlier `report.json`.
#[derive(Deserialize)]
struct Earlier {
    format: String,
    #[serde(default)]
    files: Vec<PathBuf>,
}

impl Report<'_> {
    /// Writes the report into a folder that is new, empty, or holds an earlier one. `report.json` comes first: it says that
    /// the folder is ours, also where the rest was never written.
    ///
    /// # Errors
    /// [`ReportError::NotOurs`] if the folder holds anything else; [`RecordError::Io`] if it cannot be written.
    pub fn write(&self, folder: &Path) -> Result<Written, ReportError> {
        let earlier = earlier(folder)?;
        let layout = Layout::of(self.analysis);
        let index = RunIndex::of(self.analysis);
        let figures = figures(&layout, &index);
        let results = tables(self.analysis, &index, self.runs);
        let origins = self.origins.iter().copied();
        let provenance = provenance::tables(self.analysis, &layout, origins);
        let tables = || results.iter().chain(&provenance);
        let findings = findings(self.analysis);

        let mut files: Vec<String> = figures.iter().flat_map(file_names).collect();
        files.extend(tables().map(csv_name));
        files.extend([TEXT, PAGE].map(str::to_owned));
        let pictures = folder.join(FIGURES);
        fs::create_dir_all(folder).map_err(RecordError::io("create the folder", folder))?;
        self.data(folder, &files)?;
        fs::create_dir_all(&pictures).map_err(RecordError::io("create the folder", &pictures))?;
        for stale in earlier {
            if is_ours(&stale) && !files.iter().any(|file| Path::new(file) == stale) {
                // What cannot be removed is merely old.
                let _ = fs::remove_file(folder.join(stale));
            }
        }

        let texts = || -> Result<(), RecordError> {
            for table in tables() {
                write_atomically(&folder.join(csv_name(table)), table.csv().as_bytes())?;
            }
            let text = self.markdown(&findings, &figures, tables());
            write_atomically(&folder.join(TEXT), text.as_bytes())?;
            let page = Page {
                title: self.title,
                counts: &self.analysis.counts,
                cells: self.analysis.cells.len(),
                findings: &findings,
                figures: &figures,
                tables: &results,
                provenance: &provenance,
                reload: self.reload,
            };
            write_atomically(&folder.join(PAGE), page.html().as_bytes())
        };
        // Pictures take longest.
        thread::scope(|scope| {
            let pictures = scope.spawn(|| draw_all(&figures, folder));
            texts()?;
            pictures.join().unwrap_or_else(|panic| resume_unwind(panic))
        })?;
        Ok(Written {
            page: folder.join(PAGE),
            files: files.len() + 1,
        })
    }

    fn data(&self, folder: &Path, files: &[String]) -> Result<(), RecordError> {
        let mut origins: Vec<&Provenance> = Vec::new();
        for origin in &self.origins {
            let same = |other: &&Provenance| is_same(other, origin);
            if !origins.iter().any(same) {
                origins.push(origin);
            }
        }
        let data = Data {
            format: FORMAT,
            version: VERSION,
            title: self.title,
            files,
            analysis: self.analysis,
            origins: &origins,
        };
        let path = folder.join(DATA);
        let mut json = serde_json::to_vec(&data).map_err(RecordError::json(&path))?;
        json.push(b'\n');
        write_atomically(&path, &json)
    }

    fn markdown<'t>(
        &self,
        findings: &[String],
        figures: &[Figure],
        tables: impl Iterator<Item = &'t Table>,
    ) -> String {
        let plain = super::table::plain;
        let counts = self.analysis.counts.to_string();
        let mut text = format!("# {}\n\nRuns: {counts}.\n", plain(self.title));
        for finding in findings {
            push!(text, "\n{}\n", plain(finding));
        }
        for figure in figures {
            let Figure {
                name, title, note, ..
            } = figure;
            let (title, note) = (plain(title), plain(note));
            push!(text, "\n![{title}]({FIGURES}/{name}.svg)\n\n{note}\n");
        }
        for table in tables {
            push!(text, "\n{}", table.markdown());
        }
        text
    }
}

/// Draws each figure into its two files, on all cores. They are not synced to the disk: the next report makes them anew.
fn draw_all(figures: &[Figure], folder: &Path) -> Result<(), ReportError> {
    if !has_fonts() {
        tracing::warn!("this machine has no font: figures are written as SVG alone, not as PNG");
    }
    let next = AtomicUsize::new(0);
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let work = || -> Result<(), ReportError> {
        while let Some(figure) = figures.get(next.fetch_add(1, Ordering::Relaxed)) {
            let svg = draw(figure, Use::File);
            let mut contents = vec![svg.clone().into_bytes()];
            if has_fonts() {
                contents.push(png(&svg).map_err(|source| ReportError::Picture {
                    name: figure.name.clone(),
                    source,
                })?);
            }
            for (name, content) in file_names(figure).iter().zip(contents) {
                let path = folder.join(name);
                fs::write(&path, content).map_err(RecordError::io("write", path))?;
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..cores.min(figures.len()))
            .map(|_| scope.spawn(work))
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

fn csv_name(table: &Table) -> String {
    format!("{}.csv", table.name)
}

/// Without a font on this machine there are no PNG files.
fn file_names(figure: &Figure) -> Vec<String> {
    let forms = if has_fonts() {
        &["svg", "png"][..]
    } else {
        &["svg"]
    };
    let name = |form| format!("{FIGURES}/{}.{form}", figure.name);
    forms.iter().map(name).collect()
}

/// The files that an earlier report left.
fn earlier(folder: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let not_ours = || ReportError::NotOurs {
        path: folder.to_owned(),
    };
    if folder.exists() && !folder.is_dir() {
        return Err(not_ours());
    }
    let Some(json) = read_if_there(&folder.join(DATA))? else {
        return if !folder.exists() || is_empty(folder)? {
            Ok(Vec::new())
        } else {
            Err(not_ours())
        };
    };
    match serde_json::from_slice::<Earlier>(&json) {
        Ok(earlier) if earlier.format == FORMAT => Ok(earlier.files),
        _ => Err(not_ours()),
    }
}

/// Whether a path can be one of ours: within the folder, and of the right form.
fn is_ours(file: &Path) -> bool {
    let inside = |part| matches!(part, Component::Normal(_));
    let form = file.extension().and_then(|form| form.to_str());
    file.components().all(inside) && matches!(form, Some("svg" | "png" | "csv" | "md" | "html"))
}

/// Whether two runs come from the same program, plugins and machine.
fn is_same(one: &Provenance, other: &Provenance) -> bool {
    let at = |origin: &Provenance| Provenance {
        recorded_at: 0,
        ..origin.clone()
    };
    at(one) == at(other)
}

#[cfg(test)]
mod tests {
    use super::super::sample::study;
    use super::*;

    #[test]
    fn a_report_that_was_interrupted_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        fs::write(path.join(".writing-abc"), "{").unwrap();
        let analysis = study();
        let report = Report {
            title: "study",
            analysis: &analysis,
            origins: Vec::new(),
            runs: None,
            reload: None,
        };
        report.write(path).unwrap();
        let written = |name: &str| fs::metadata(path.join(name)).unwrap().modified().unwrap();
        for later in [PAGE, TEXT, "runs.csv", "figures/loss-over-lr.svg"] {
            assert!(written(DATA) <= written(later), "{later}");
            fs::remove_file(path.join(later)).unwrap();
        }
        report.write(path).unwrap();
        fs::remove_file(path.join(DATA)).unwrap();
        let error = report.write(path).unwrap_err();
        assert!(matches!(error, ReportError::NotOurs { .. }), "{error}");
    }
}
