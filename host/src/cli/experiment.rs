//! The main job: settings to plan, plan to runs, runs to records, records to tables.

use std::fs;
use std::io::{self, IsTerminal, Write as _};
use std::num::NonZero;
use std::path::Path;
use std::thread::available_parallelism;

use tch::Device;

use super::args::{LogArgs, LogFormat, Study};
use super::exit::Exit;
use super::failure::Failure;
use super::logging::{self, WORKER_LOG};
use super::output::print;
use super::watch::{Announce, LogProgress};
use crate::kit::Lock;
use crate::plugins::{Registry, search_folders};
use crate::record::{OutputFolder, PlanRecord, RecordError, RunRecord, Status};
use crate::report::{ResultFiles, best_table, curve, results_table, summarise};
use crate::spec::{self, Plan};
use crate::sweep::{
    Consent, Observer, PlainProgress, RunJob, Silent, Stop, SweepSummary, TerminalProgress,
    WorkerSetup, check_study, plan_record, prepare, run_plan,
};
use crate::train::resolve_device;

/// Runs an experiment: the main job, and `sweep`.
pub fn run(study: &Study<'_>, log: &LogArgs) -> Result<Exit, Failure> {
    let (plan, device) = planned(study)?;
    let output = OutputFolder::open(&plan.output)?;
    let begun = begin(&plan, study, &output, device);
    let jobs = match begun {
        Ok(jobs) => jobs,
        Err(error) => {
            output.undo();
            return Err(error);
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
    report(&files, summary, study.args.json, log)
}

/// The plan of an experiment, and the device that it runs on.
pub fn planned(study: &Study<'_>) -> Result<(Plan, Device), Failure> {
    let args = study.args;
    let raw = study.raw_spec()?;
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
    Ok((plan, device))
}

/// The record of the plan of these jobs, which must belong to the study that the output folder holds.
pub fn recorded(
    plan: &Plan,
    study: &Study<'_>,
    jobs: &[RunJob],
    output: &Path,
    device: Device,
) -> Result<PlanRecord, Failure> {
    let workers = worker_count(plan, device, jobs.len());
    let record = plan_record(jobs, study.file, workers)?;
    if let Some(earlier) = PlanRecord::read(output)? {
        let consent = Consent {
            other_study: study.args.yes,
            changed_plugins: study.args.accept_changed_plugins,
        };
        check_study(output, &earlier, &record, consent)?;
    }
    Ok(record)
}

/// The jobs of the plan; the output folder says from now on what its sweep is about.
fn begin(
    plan: &Plan,
    study: &Study<'_>,
    output: &OutputFolder,
    device: Device,
) -> Result<Vec<RunJob>, Failure> {
    let jobs = prepare(plan, output, named(device))?;
    recorded(plan, study, &jobs, output.path(), device)?.write(output.path())?;
    Ok(jobs)
}

/// The device as the workers are told it.
pub fn named(device: Device) -> spec::Device {
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
    let mut command = vec![own.display().to_string(), "worker".to_owned()];
    if log.log_format == LogFormat::Json {
        command.extend(["--log-format".to_owned(), "json".to_owned()]);
    }
    let level = logging::level(log).to_string();
    Ok(WorkerSetup {
        command,
        environment: vec![(WORKER_LOG.to_owned(), level)],
        workers: worker_count(plan, device, runs),
        threads: plan.execution.threads,
    })
}

fn worker_count(plan: &Plan, device: Device, runs: usize) -> usize {
    let cores = available_parallelism().map_or(1, NonZero::get);
    plan.execution.workers(device.is_cuda(), cores, runs)
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
    files: &ResultFiles,
    sweep: SweepSummary,
    json: bool,
    log: &LogArgs,
) -> Result<Exit, Failure> {
    let (interrupted, failed) = (sweep.interrupted, sweep.count(Status::Failed));
    let records: Vec<RunRecord> = sweep.records.into_iter().flatten().collect();
    let summary = summarise(&records);
    let written = files.write(&records, &summary, interrupted)?;
    if json {
        // The last file is the summary.
        if let Some(path) = written.last() {
            let summary = fs::read_to_string(path);
            print(&summary.map_err(RecordError::io("read", path))?)?;
        }
    } else if !log.quiet {
        let mut text = [
            results_table(&summary),
            curve(&summary),
            best_table(&summary),
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
