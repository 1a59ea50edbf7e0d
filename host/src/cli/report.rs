//! `lorahost report`: records to a page, pictures and tables.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{io, thread};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::args::{LogArgs, ReportArgs};
use super::exit::Exit;
use super::failure::Failure;
use super::output::print;
use crate::record::StoredRuns;
use crate::report::analysis::{Analysis, Sources, analyse};
use crate::report::page::{Report, Written};
use crate::report::{best_table, curve, results_table, sparklines, summarise, tensorboard};

/// Cells that a terminal shows in full.
const FEW: usize = 8;
/// How soon a signal is heard.
const NAP: Duration = Duration::from_millis(100);

/// Writes the report, once or as long as runs end.
pub fn run(args: &ReportArgs, log: &LogArgs) -> Result<Exit, Failure> {
    let runs = StoredRuns::read(&args.output)?;
    for (folder, why) in &runs.unreadable {
        tracing::warn!(
            "left out: {} does not say which run it is: {why}",
            folder.display()
        );
    }
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| args.output.join("report"));
    if args.watch {
        return watch(runs, args, &out, log);
    }
    if runs.records.is_empty() && runs.unfinished.is_empty() {
        return Err(Failure::NoRuns {
            path: args.output.clone(),
        });
    }
    let (analysis, written) = write(&runs, args, &out, None)?;
    if !log.quiet {
        print(&summary(&runs, &analysis, &written))?;
    }
    if let Some(folder) = &args.tensorboard {
        let count = tensorboard::write(&runs, folder)?;
        if !log.quiet {
            print(&format!("{count} event files in {}\n", folder.display()))?;
        }
    }
    Ok(Exit::Ok)
}

/// The last page, which a signal asks for, does not load itself again.
fn watch(
    mut runs: StoredRuns,
    args: &ReportArgs,
    out: &Path,
    log: &LogArgs,
) -> Result<Exit, Failure> {
    let stop = stop_on_signals().map_err(Failure::Signals)?;
    let mut changed = true;
    while !stop.load(Ordering::Relaxed) {
        if changed {
            let (analysis, written) = write(&runs, args, out, Some(args.every))?;
            if !log.quiet {
                print(&line(&analysis, &written))?;
            }
        }
        let next = Instant::now() + Duration::from_secs(args.every);
        while Instant::now() < next && !stop.load(Ordering::Relaxed) {
            thread::sleep(NAP);
        }
        changed = runs.refresh()?;
    }
    let (analysis, written) = write(&runs, args, out, None)?;
    if let Some(folder) = &args.tensorboard {
        tensorboard::write(&runs, folder)?;
    }
    if !log.quiet {
        print(&line(&analysis, &written))?;
    }
    Ok(Exit::Ok)
}

fn stop_on_signals() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The second one ends the process at once.
        flag::register_conditional_default(signal, Arc::clone(&stop))?;
        flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

fn write(
    runs: &StoredRuns,
    args: &ReportArgs,
    out: &Path,
    reload: Option<u64>,
) -> Result<(Analysis, Written), Failure> {
    let mut analysis = analyse(&Sources {
        records: &runs.records,
        unfinished: &runs.unfinished,
        histories: &runs.histories,
    });
    analysis.counts.not_begun = runs.not_begun;
    let to_runs = way_to_runs(&args.output, out);
    let report = Report {
        title: &title(&args.output),
        analysis: &analysis,
        origins: runs.origins().collect(),
        runs: to_runs.as_deref(),
        reload,
    };
    let written = report.write(out)?;
    Ok((analysis, written))
}

/// The report is named by the folder of the runs.
fn title(output: &Path) -> String {
    let path = output.canonicalize().unwrap_or_else(|_| output.to_owned());
    path.file_name().map_or_else(
        || path.display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// From the report to the runs, if the report lies in the output folder, so that both may be moved together.
fn way_to_runs(output: &Path, out: &Path) -> Option<String> {
    let absolute = |path: &Path| std::path::absolute(path).ok();
    let inner = absolute(out)?
        .strip_prefix(absolute(output)?)
        .ok()?
        .to_owned();
    let up: PathBuf = inner.components().map(|_| "..").collect();
    Some(up.join("runs").to_string_lossy().into_owned())
}

fn summary(runs: &StoredRuns, analysis: &Analysis, written: &Written) -> String {
    let summary = summarise(&runs.records);
    let mut parts = Vec::new();
    if summary.cells.len() <= FEW {
        parts.extend([results_table(&summary), curve(&summary)]);
    } else {
        parts.push(sparklines(analysis));
    }
    parts.push(best_table(analysis));
    parts.push(line(analysis, written));
    parts.retain(|part| !part.is_empty());
    parts.join("\n")
}

fn line(analysis: &Analysis, written: &Written) -> String {
    format!(
        "{} runs: {}; {} files: {}\n",
        analysis.counts.all(),
        analysis.counts,
        written.files,
        written.page.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_within_the_output_folder_finds_the_runs() {
        let way = |out: &str| way_to_runs(Path::new("some/out"), Path::new(out));
        assert_eq!(way("some/out/report").as_deref(), Some("../runs"));
        assert_eq!(way("some/out/a/b").as_deref(), Some("../../runs"));
        assert_eq!(way("elsewhere"), None);
    }
}
