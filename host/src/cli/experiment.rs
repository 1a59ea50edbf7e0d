//! The main job: settings to plan, plan to runs, runs to records, records to tables.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::num::NonZero;
use std::path::Path;
use std::thread::available_parallelism;

use tch::Device;

use super::args::{ExperimentArgs, LogArgs, LogFormat};
use super::exit::Exit;
use super::failure::Failure;
use super::logging::{self, WORKER_LOG};
use super::output::print;
use super::watch::{Announce, LogProgress};
use crate::kit::Lock;
use crate::plugins::{Registry, search_folders};
use crate::record::{History, OutputFolder, RunRecord, SpecRecord, Status};
use crate::report::analysis::{Analysis, Sources, analyse};
use crate::report::{ResultFiles, best_table, curve, results_table, summarise};
use crate::spec::{self, Plan, Search};
use crate::sweep::{
    Next, Observer, PlainProgress, RunJob, Silent, Stop, SweepSummary, TerminalProgress,
    WorkerSetup, decades, next, next_runs, prepare, run_plan,
};
use crate::train::resolve_device;

/// Runs the experiment that the flags describe.
pub fn run(args: &ExperimentArgs, log: &LogArgs) -> Result<Exit, Failure> {
    let raw = args.raw_spec()?;
    let registry = Registry::search(&args.plugin, &search_folders())?;
    for error in registry.broken() {
        tracing::warn!("left out: {error}");
    }
    let mut plan = raw.plan(&registry)?;
    if args.locked {
        let path = Path::new(Lock::FILE);
        Lock::read(path)?.check(&plan, path)?;
    }
    registry.check_requires(&plan)?;
    for notice in registry.notices().iter().chain(&plan.notices) {
        tracing::warn!("{notice}");
    }

    let device = resolve_device(plan.execution.device)?;
    let output = OutputFolder::open(&plan.output)?;
    let jobs = match prepare(&plan, &output, named(device)) {
        Ok(jobs) => jobs,
        Err(error) => {
            output.undo();
            return Err(error.into());
        }
    };
    let setup = workers(&plan, device, jobs.len(), log)?;
    let stop = Stop::on_signals().map_err(Failure::Signals)?;
    let mut done = Done {
        sweep: carry_out(&jobs, &setup, &stop, log)?,
        jobs,
    };
    search(
        &mut plan,
        &output,
        named(device),
        &setup,
        &stop,
        &mut done,
        log,
    )?;
    let planned = done.jobs.iter();
    let planned = planned.map(|job| (job.cell.as_str(), &job.spec.seeds));
    let files = ResultFiles::of(output.path(), planned);
    report(&output, &files, done, plan.search, log)
}

/// Jobs and what came of them, in the same order.
struct Done {
    jobs: Vec<RunJob>,
    sweep: SweepSummary,
}

/// Adds to the plan what its search wants, and carries it out, until it wants nothing more.
fn search(
    plan: &mut Plan,
    output: &OutputFolder,
    device: spec::Device,
    setup: &WorkerSetup,
    stop: &Stop,
    done: &mut Done,
    log: &LogArgs,
) -> Result<(), Failure> {
    while !done.sweep.interrupted {
        let records: Vec<RunRecord> = done.sweep.done().cloned().collect();
        let runs = next_runs(&plan.runs, &analysed(&records), plan.search);
        if runs.is_empty() {
            break;
        }
        plan.runs.extend(runs.clone());
        let further = Plan {
            runs,
            ..plan.clone()
        };
        let jobs = prepare(&further, output, device)?;
        let SweepSummary {
            records,
            already_done,
            interrupted,
        } = carry_out(&jobs, setup, stop, log)?;
        done.jobs.extend(jobs);
        done.sweep.records.extend(records);
        done.sweep.already_done += already_done;
        done.sweep.interrupted |= interrupted;
    }
    Ok(())
}

/// Carries out runs under the eyes of an observer.
pub(super) fn carry_out(
    jobs: &[RunJob],
    setup: &WorkerSetup,
    stop: &Stop,
    log: &LogArgs,
) -> Result<SweepSummary, Failure> {
    let mut observer = observer(jobs, setup, log);
    Ok(run_plan(jobs, setup, stop, observer.as_mut())?)
}

/// What a search decides by.
fn analysed(records: &[RunRecord]) -> Analysis {
    analyse(&Sources {
        records,
        unfinished: &[],
        histories: &HashMap::new(),
    })
}

/// The device as the workers are told it.
pub(super) fn named(device: Device) -> spec::Device {
    match device {
        Device::Cuda(index) => spec::Device::Cuda(index),
        _ => spec::Device::Cpu,
    }
}

pub(super) fn workers(
    plan: &Plan,
    device: Device,
    runs: usize,
    log: &LogArgs,
) -> Result<WorkerSetup, Failure> {
    let own = std::env::current_exe().map_err(Failure::OwnFile)?;
    let cores = available_parallelism().map_or(1, NonZero::get);
    let mut command = vec![own.display().to_string(), "worker".to_owned()];
    if log.log_format == LogFormat::Json {
        command.extend(["--log-format".to_owned(), "json".to_owned()]);
    }
    let level = logging::level(log).to_string();
    Ok(WorkerSetup {
        command,
        environment: vec![(WORKER_LOG.to_owned(), level)],
        workers: plan.execution.workers(device.is_cuda(), cores, runs),
        threads: plan.execution.threads,
    })
}

/// Who shows the progress: log lines where the log is JSON, else bars on a terminal, else lines.
fn observer<'a>(jobs: &'a [RunJob], setup: &WorkerSetup, log: &LogArgs) -> Box<dyn Observer + 'a> {
    let shown: Box<dyn Observer + 'a> = if log.log_format == LogFormat::Json {
        return Box::new(LogProgress::new(jobs));
    } else if log.quiet {
        Box::new(Silent)
    } else if io::stderr().is_terminal() {
        Box::new(TerminalProgress::new(jobs, setup.workers))
    } else {
        Box::new(PlainProgress::new(jobs, io::stderr()))
    };
    Box::new(Announce::new(jobs, shown))
}

/// Writes the result files, prints the tables, and says how it went.
fn report(
    output: &OutputFolder,
    files: &ResultFiles,
    Done { jobs, sweep }: Done,
    search: Search,
    log: &LogArgs,
) -> Result<Exit, Failure> {
    let (interrupted, failed) = (sweep.interrupted, sweep.count(Status::Failed));
    let undone = jobs.iter().zip(&sweep.records);
    let undone = undone.filter(|(_, record)| record.is_none());
    let unfinished: Vec<SpecRecord> = undone.map(|(job, _)| job.record()).collect();
    let records: Vec<RunRecord> = sweep.records.into_iter().flatten().collect();
    let summary = summarise(&records);
    let histories = History::read_all(&records, |id| output.run_folder(id))?;
    let analysis = analyse(&Sources {
        records: &records,
        unfinished: &unfinished,
        histories: &histories,
    });
    let written = files.write(&records, &summary, &analysis, interrupted)?;
    if !log.quiet {
        let mut text = [
            results_table(&summary),
            curve(&summary),
            best_table(&summary, &analysis),
        ]
        .join("\n");
        text.push_str(&search_notes(&analysis, search));
        text.push_str("\nresults:\n");
        text.extend(written.iter().map(|path| format!("  {}\n", path.display())));
        print(&text)?;
    }
    for record in &records {
        if let Some(error) = &record.result.error {
            let (id, cell) = (&record.spec.id, &record.spec.cell);
            match log.log_format {
                LogFormat::Json => tracing::error!("run {id} ({cell}) failed: {error}"),
                LogFormat::Text => {
                    let line = format!("lorahost: run {id} ({cell}) failed: {error}");
                    let _ = writeln!(io::stderr(), "{line}");
                }
            }
        }
    }
    Ok(if interrupted {
        Exit::Interrupted
    } else if failed > 0 {
        Exit::RunsFailed
    } else {
        Exit::Ok
    })
}

/// Why each cell has the learning rates that it has, where they were searched for.
fn search_notes(analysis: &Analysis, search: Search) -> String {
    let mut text = String::new();
    let cells = analysis.cells.iter().filter(|_| search != Search::Grid);
    for cell in cells {
        let Next::Stop(why) = next(cell, search) else {
            continue;
        };
        let width = decades(&cell.optimum).map_or("no interval".to_owned(), |decades| {
            format!("an interval of {decades:.2} decades")
        });
        let (name, lrs) = (&cell.cell, cell.points.len());
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "search of {name}: {lrs} learning rates, {width}; {}",
            why.reason()
        );
    }
    text
}
