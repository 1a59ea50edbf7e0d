//! The main job: settings to plan, plan to runs, runs to records, records to tables.

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
use crate::record::{History, OutputFolder, RunRecord, Status};
use crate::report::analysis::{Sources, analyse};
use crate::report::{ResultFiles, best_table, curve, results_table, summarise};
use crate::spec::{self, Plan};
use crate::sweep::{
    Observer, PlainProgress, RunJob, Silent, Stop, SweepSummary, TerminalProgress, WorkerSetup,
    prepare, run_plan,
};
use crate::train::resolve_device;

/// Runs the experiment that the flags describe.
pub fn run(args: &ExperimentArgs, log: &LogArgs) -> Result<Exit, Failure> {
    let raw = args.raw_spec()?;
    let registry = Registry::search(&args.plugin, &search_folders())?;
    for error in registry.broken() {
        tracing::warn!("left out: {error}");
    }
    let plan = raw.plan(&registry)?;
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
    let summary = {
        let mut observer = observer(&jobs, &setup, log);
        run_plan(&jobs, &setup, &stop, observer.as_mut())?
    };
    let planned = jobs.iter().map(|job| (job.cell.as_str(), &job.spec.seeds));
    let files = ResultFiles::of(output.path(), planned);
    report(&output, &files, summary, log)
}

/// The device as the workers are told it.
fn named(device: Device) -> spec::Device {
    match device {
        Device::Cuda(index) => spec::Device::Cuda(index),
        _ => spec::Device::Cpu,
    }
}

fn workers(
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
    sweep: SweepSummary,
    log: &LogArgs,
) -> Result<Exit, Failure> {
    let (interrupted, failed) = (sweep.interrupted, sweep.count(Status::Failed));
    let records: Vec<RunRecord> = sweep.records.into_iter().flatten().collect();
    let summary = summarise(&records);
    let histories = History::read_all(&records, |id| output.run_folder(id))?;
    let analysis = analyse(&Sources {
        records: &records,
        unfinished: &[],
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
