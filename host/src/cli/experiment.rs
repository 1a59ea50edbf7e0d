//! The main job: settings to plan, plan to runs, runs to records, records to tables.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, IsTerminal, Write as _};
use std::num::NonZero;
use std::path::Path;
use std::thread::available_parallelism;

use tch::Device;

use super::args::{Experiment, LogArgs, LogFormat, Study};
use super::exit::Exit;
use super::failure::Failure;
use super::logging::{self, WORKER_LOG};
use super::output::print;
use super::share::Launched;
use super::watch::{Announce, LogProgress};
use crate::kit::Lock;
use crate::launch::{ArrayJob, LaunchError, Task};
use crate::plugins::{Registry, search_folders};
use crate::printable::printable;
use crate::record::{
    History, OutputFolder, PlanRecord, RecordError, RunRecord, SpecRecord, Status,
};
use crate::report::analysis::{Analysis, Sources, analyse};
use crate::report::{ResultFiles, best_table, curve, results_table, summarise};
use crate::spec::{self, Execution, Plan, Search};
use crate::sweep::{
    Care, Consent, NextRates, Observer, PlainProgress, RunJob, Sharing, Silent, Stop, SweepSummary,
    TerminalProgress, WorkerSetup, catch_up, check_study, decades, next, next_runs, plan_record,
    prepare, run_plan,
};
use crate::train::{gpus, resolve_device};

/// Runs an experiment: the main job, and `sweep`.
pub fn run(study: &Study<'_>, log: &LogArgs) -> Result<Exit, Failure> {
    let mut plan = planned(&study.experiment)?;
    let share = &study.sweep.share;
    if share.shard.is_some() && plan.search != Search::Grid {
        return Err(Failure::ShardedSearch);
    }
    let task = Task::of_this_process().map_err(Failure::Signals)?;
    let launches = share.launches(task.as_ref());
    let device = if launches {
        // What the machines have that the job gets is theirs to say.
        Device::Cpu
    } else {
        resolve_device(plan.execution.device)?
    };
    let output = OutputFolder::open(&plan.output)?;
    let jobs = match begin(&plan, study, &output, device) {
        Ok(jobs) => jobs,
        Err(error) => {
            output.undo();
            return Err(error);
        }
    };
    let mut setup = workers(&plan, device, jobs.len(), log)?;
    setup.sharing = share.sharing(task.as_ref());
    if let Some(cores) = task.as_ref().and_then(Task::cores) {
        setup.workers = plan
            .execution
            .workers(gpu_count(&plan, device), cores, jobs.len());
    }
    let stop = Stop::on_signals().map_err(Failure::Signals)?;
    if task.as_ref().is_some_and(Task::time_is_up) {
        stop.request();
    }
    let means = Means {
        study,
        output: &output,
        device,
        launches,
        setup: &setup,
        stop: &stop,
        log,
    };
    let Launched::Over(sweep, job) = means.make(&jobs, &plan.execution)? else {
        return Ok(Exit::Ok);
    };
    let mut done = Done { jobs, sweep, job };
    if !search(&mut plan, &mut done, &means)? {
        return Ok(Exit::Ok);
    }
    let job = done.job.take();
    let (interrupted, left, runs) = (done.sweep.interrupted, done.sweep.left(), done.jobs.len());
    let exit = report(&output, done, plan.search, study.sweep.json, log)?;
    match (job, task) {
        (Some(job), _) if left > 0 && !interrupted => Err(LaunchError::Unfinished {
            job: job.id,
            left,
            runs,
            logs: job.folder.display().to_string(),
        }
        .into()),
        (_, Some(task)) if share.requeue && task.time_is_up() && left > 0 => {
            task.requeue()?;
            Ok(exit)
        }
        _ => Ok(exit),
    }
}

/// The plan of an experiment.
pub fn planned(experiment: &Experiment<'_>) -> Result<Plan, Failure> {
    let args = experiment.args;
    let raw = experiment.raw_spec()?;
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
    Ok(plan)
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
    let record = plan_record(jobs, study.experiment.file, workers)?;
    if let Some(earlier) = PlanRecord::read(output)? {
        let consent = Consent {
            other_study: study.experiment.args.yes,
            changed_plugins: study.sweep.accept_changed_plugins,
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

/// Jobs and what came of them, in the same order.
struct Done {
    jobs: Vec<RunJob>,
    sweep: SweepSummary,
    /// The array job that made the last of them.
    job: Option<ArrayJob>,
}

/// All that carrying out takes beside the jobs.
struct Means<'a> {
    study: &'a Study<'a>,
    output: &'a OutputFolder,
    device: Device,
    /// Whether an array job makes the runs, and not this process.
    launches: bool,
    setup: &'a WorkerSetup,
    stop: &'a Stop,
    log: &'a LogArgs,
}

impl Means<'_> {
    fn make(&self, jobs: &[RunJob], execution: &Execution) -> Result<Launched, Failure> {
        if !self.launches {
            let sweep = carry_out(jobs, self.setup, self.stop, self.log)?;
            return Ok(Launched::Over(sweep, None));
        }
        let mut observer = observer(jobs, self.setup, self.log);
        let share = &self.study.sweep.share;
        share.launch(jobs, execution, self.output, self.stop, observer.as_mut())
    }
}

/// Adds to the plan what its search wants, and carries it out, until it wants nothing more; false where that is left to an
/// array job.
fn search(plan: &mut Plan, done: &mut Done, means: &Means<'_>) -> Result<bool, Failure> {
    while done.sweep.left() == 0 {
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
        let jobs = prepare(&further, means.output, named(means.device))?;
        done.jobs.extend(jobs.clone());
        let path = means.output.path();
        recorded(plan, means.study, &done.jobs, path, means.device)?.write(path)?;
        let Launched::Over(sweep, job) = means.make(&jobs, &plan.execution)? else {
            return Ok(false);
        };
        done.sweep.records.extend(sweep.records);
        done.sweep.already_done += sweep.already_done;
        done.sweep.interrupted |= sweep.interrupted;
        done.job = job.or(done.job.take());
    }
    Ok(true)
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
pub fn named(device: Device) -> spec::Device {
    match device {
        Device::Cuda(index) => spec::Device::Cuda(Some(index)),
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
        gpus: gpus(plan.execution.device),
        care: Care {
            checkpoint_every: plan.execution.checkpoint_every,
            heartbeat: plan.execution.heartbeat,
            retries: plan.execution.retries,
        },
        sharing: Sharing::default(),
    })
}

fn worker_count(plan: &Plan, device: Device, runs: usize) -> usize {
    let cores = available_parallelism().map_or(1, NonZero::get);
    plan.execution.workers(gpu_count(plan, device), cores, runs)
}

/// Number of GPUs that the runs compute on.
fn gpu_count(plan: &Plan, device: Device) -> usize {
    if device.is_cuda() {
        gpus(plan.execution.device).len().max(1)
    } else {
        0
    }
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
    done: Done,
    search: Search,
    json: bool,
    log: &LogArgs,
) -> Result<Exit, Failure> {
    let Done {
        jobs, mut sweep, ..
    } = done;
    let planned = jobs.iter().map(|job| (job.cell.as_str(), &job.spec.seeds));
    let files = ResultFiles::of(output.path(), planned);
    let (records, summary, analysis, written) = loop {
        let records: Vec<RunRecord> = sweep.done().cloned().collect();
        let summary = summarise(&records);
        let undone = jobs.iter().zip(&sweep.records);
        let undone = undone.filter(|(_, record)| record.is_none());
        let unfinished: Vec<SpecRecord> = undone.map(|(job, _)| job.record()).collect();
        let histories = History::read_all(&records, |id| output.run_folder(id))?;
        let analysis = analyse(&Sources {
            records: &records,
            unfinished: &unfinished,
            histories: &histories,
        });
        let written = files.write(&records, &summary, &analysis, sweep.left() > 0)?;
        // Another process may have done the last run meanwhile, and written the results of all before this wrote those
        // of some.
        if !catch_up(&mut sweep, &jobs)? {
            break (records, summary, analysis, written);
        }
    };
    let (interrupted, failed) = (sweep.interrupted, sweep.count(Status::Failed));
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
            best_table(&analysis),
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
                    let _ = writeln!(io::stderr(), "{}", printable(&line));
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
        let NextRates::Stop(why) = next(cell, search) else {
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
