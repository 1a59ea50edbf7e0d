//! Known properties of LoRA, tried on the model and data at hand.

use std::fmt::Write as _;

use super::args::{LogArgs, SubjectArgs, VerifyCommand};
use super::exit::Exit;
use super::experiment::{self, carry_out, named, workers};
use super::failure::Failure;
use super::output::print;
use crate::record::{Event, OutputFolder, PlanRecord, RunRecord, read_metrics};
use crate::spec::{Method, Plan, PlannedRun};
use crate::sweep::{Stop, prepare};
use crate::train::resolve_device;
use crate::verify::{self, Difference, Trade, VerifyError};

/// Runs what a property speaks of, and says whether it holds.
pub fn run(command: &VerifyCommand, log: &LogArgs) -> Result<Exit, Failure> {
    match command {
        VerifyCommand::C12 { p, q, subject } => trade(Trade { p: *p, q: *q }, subject, log),
        VerifyCommand::C5 {
            ranks,
            steps,
            tolerance,
            subject,
        } => {
            let ranks: Vec<usize> = ranks.iter().map(|rank| rank.get()).collect();
            first_steps(&ranks, steps.get(), *tolerance, subject, log)
        }
    }
}

fn trade(trade: Trade, args: &SubjectArgs, log: &LogArgs) -> Result<Exit, Failure> {
    let (mut plan, plain) = planned(args, "c12")?;
    plan.runs = verify::traded(&plain, trade)?.into();
    let Some(runs) = carried_out(&plan, log)? else {
        return Ok(Exit::Interrupted);
    };
    let [plain, traded] = runs.as_slice() else {
        return Err(VerifyError::SameRun.into());
    };
    let (count, difference) = verify::compare(&plain.1, &traded.1);
    let Trade { p, q } = trade;
    let title = format!(
        "(alpha, A, lr of A, lr of B) and (alpha/{}, {p} A, {p} lr, {q} lr)",
        p * q
    );
    let (text, exit) = match difference {
        None => (
            format!("{title}: {count} figures are equal bit for bit\n"),
            Exit::Ok,
        ),
        Some(Difference { place, one, other }) => {
            let text = format!("{title} differ: {place} is {one:e} and {other:e}\n");
            (text, Exit::Failure)
        }
    };
    print(&(text + &folders(&runs)))?;
    Ok(exit)
}

fn first_steps(
    ranks: &[usize],
    steps: usize,
    tolerance: f64,
    args: &SubjectArgs,
    log: &LogArgs,
) -> Result<Exit, Failure> {
    let (mut plan, base) = planned(args, "c5")?;
    plan.runs = verify::of_ranks(&base, ranks, steps)?;
    let Some(runs) = carried_out(&plan, log)? else {
        return Ok(Exit::Interrupted);
    };
    let losses: Vec<_> = runs
        .iter()
        .map(|(_, events)| verify::losses(events))
        .collect();
    let mut text =
        String::from("step  loss by rank, and the largest difference relative to the first rank\n");
    let mut largest: f64 = 0.0;
    let compared = losses.iter().map(Vec::len).min().unwrap_or(0);
    for step in 0..compared {
        let at: Vec<f64> = losses.iter().map(|losses| losses[step]).collect();
        let spread = verify::spread(&at);
        largest = largest.max(spread);
        let shown: Vec<String> = at.iter().map(|loss| format!("{loss:.4}")).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:>4}  {}  {spread:.4}", step + 1, shown.join("  "));
    }
    let holds = compared > 0 && largest <= tolerance;
    let verdict = if holds { "within" } else { "beyond" };
    let _ = writeln!(
        text,
        "ranks {ranks:?}, {compared} of {steps} first steps compared: losses differ by {largest:.4} at most, {verdict} {tolerance}"
    );
    print(&(text + &folders(&runs)))?;
    Ok(if holds { Exit::Ok } else { Exit::Failure })
}

/// The experiment of the flags, and its first run of LoRA.
fn planned(args: &SubjectArgs, property: &str) -> Result<(Plan, PlannedRun), Failure> {
    let mut plan = experiment::planned(&args.experiment())?;
    if plan.output_is_default {
        // Not the sweep's own: its report would take these runs for those of its cells.
        let folder = plan.output.file_name().unwrap_or_default();
        let folder = format!("{}-{property}", folder.to_string_lossy());
        plan.output.set_file_name(folder);
    } else if PlanRecord::read(&plan.output)?.is_some() {
        let path = plan.output;
        return Err(VerifyError::HoldsASweep { path }.into());
    }
    let mut runs = plan.runs.iter();
    let base = runs.find(|run| run.spec.method == Method::Lora).cloned();
    let base = base.ok_or(VerifyError::NoLora)?;
    Ok((plan, base))
}

type RunEvents = (RunRecord, Vec<Event>);

/// All runs of the plan with what they logged; none where it was interrupted.
fn carried_out(plan: &Plan, log: &LogArgs) -> Result<Option<Vec<RunEvents>>, Failure> {
    let device = resolve_device(plan.execution.device)?;
    let output = OutputFolder::open(&plan.output)?;
    let jobs = match prepare(plan, &output, named(device)) {
        Ok(jobs) => jobs,
        Err(error) => {
            output.undo();
            return Err(error.into());
        }
    };
    let setup = workers(plan, device, jobs.len(), log)?;
    let stop = Stop::on_signals().map_err(Failure::Signals)?;
    let sweep = carry_out(&jobs, &setup, &stop, log)?;
    if sweep.interrupted {
        return Ok(None);
    }
    let with_events = sweep.records.into_iter().flatten().map(|record| {
        if let Some(error) = &record.result.error {
            return Err(VerifyError::Failed {
                id: record.spec.id.clone(),
                message: error.to_string(),
            }
            .into());
        }
        let events = read_metrics(&output.run_folder(&record.spec.id))?;
        Ok((record, events))
    });
    with_events.collect::<Result<Vec<_>, Failure>>().map(Some)
}

fn folders(runs: &[RunEvents]) -> String {
    let ids = runs.iter().map(|(record, _)| record.spec.id.as_str());
    format!("runs {}\n", ids.collect::<Vec<_>>().join(", "))
}
