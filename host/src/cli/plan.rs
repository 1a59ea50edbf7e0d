//! `lorahost plan`: what a sweep would do, before it does it.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;
use tch::Device;

use super::args::{LogArgs, Study};
use super::exit::Exit;
use super::experiment::{named, planned, recorded};
use super::failure::Failure;
use super::output::{aligned, duration, print};
use crate::model::grouped;
use crate::record::{PlanRecord, is_output, python_float};
use crate::spec::{Axis, Plan, Search};
use crate::sweep::{Standing, prepare_in, products_per_second};
use crate::train::resolve_device;

/// What `plan` tells.
#[derive(Serialize)]
struct Forecast<'a> {
    output: &'a Path,
    runs: usize,
    /// Runs that are done, and will not be repeated.
    done: usize,
    workers: usize,
    axes: &'a [Axis],
    cells: Vec<Cell<'a>>,
    /// Of the runs that are not done.
    steps: u64,
    multiply_adds: u64,
    time: Time,
    /// Learning rates that a cell may come to where they are searched for; those that are added are in no other figure.
    #[serde(skip_serializing_if = "Option::is_none")]
    rates_at_most: Option<usize>,
}

#[derive(Serialize)]
struct Cell<'a> {
    #[serde(rename = "cell")]
    name: &'a str,
    runs: usize,
    done: usize,
    /// Of one run.
    steps: usize,
    multiply_adds: u64,
}

/// The time of the runs that are not done.
#[derive(Serialize)]
#[serde(tag = "basis", rename_all = "kebab-case")]
enum Time {
    NothingToDo,
    /// At the pace of runs of this plan that are done.
    FinishedRuns {
        seconds: f64,
        runs: usize,
    },
    /// What the matrix products alone would take, at the pace of those of this machine.
    MatrixProducts {
        seconds_at_least: f64,
        multiply_adds_per_second: f64,
        threads: usize,
    },
    NotKnown,
}

/// Tells what the experiment comes to; nothing is trained, and the output folder is not made.
pub fn run(study: &Study<'_>, log: &LogArgs) -> Result<Exit, Failure> {
    let plan = planned(&study.experiment)?;
    let device = resolve_device(plan.execution.device)?;
    // Text that is tokenised now serves the sweep, where there is a place for it already.
    let scratch = tempfile::tempdir().map_err(Failure::Scratch)?;
    let cache = if is_output(&plan.output) {
        plan.output.join("cache")
    } else {
        scratch.path().to_owned()
    };
    let jobs = prepare_in(&plan, &plan.output, &cache, named(device))?;
    let record = recorded(&plan, study, &jobs, &plan.output, device)?;
    let standing = Standing::of(&record, &plan.output)?;
    let forecast = Forecast {
        output: &plan.output,
        runs: standing.total.planned,
        done: standing.total.done(),
        workers: record.workers,
        axes: &plan.axes,
        cells: cells(&record, &standing),
        steps: standing.steps_left,
        multiply_adds: standing.multiply_adds_left,
        time: time(&plan, &record, &standing, device)?,
        rates_at_most: match plan.search {
            Search::Grid => None,
            Search::Bracket { budget, .. } => Some(budget),
        },
    };
    if study.sweep.json {
        let json = serde_json::to_string_pretty(&forecast).map_err(Failure::Json)?;
        print(&format!("{json}\n"))?;
    } else if !log.quiet {
        print(&text(&forecast))?;
    }
    Ok(Exit::Ok)
}

fn cells<'a>(record: &'a PlanRecord, standing: &Standing) -> Vec<Cell<'a>> {
    let cells = record.cells.iter().zip(&standing.cells);
    cells
        .map(|(cell, standing)| {
            let one = cell.runs.first();
            Cell {
                name: &cell.cell,
                runs: cell.runs.len(),
                done: standing.counts.done(),
                steps: one.map_or(0, |run| run.steps),
                multiply_adds: one.map_or(0, |run| run.multiply_adds),
            }
        })
        .collect()
}

fn time(
    plan: &Plan,
    record: &PlanRecord,
    standing: &Standing,
    device: Device,
) -> Result<Time, Failure> {
    let to_do = standing.total.to_do();
    if to_do == 0 {
        return Ok(Time::NothingToDo);
    }
    if let (Some(seconds), Some(pace)) = (standing.seconds_left(record.workers), standing.pace) {
        let runs = pace.runs;
        return Ok(Time::FinishedRuns { seconds, runs });
    }
    if device.is_cuda() {
        return Ok(Time::NotKnown);
    }
    let threads = plan.execution.threads;
    let rate = products_per_second(threads).map_err(|error| Failure::Model(error.into()))?;
    let at_a_time = record.workers.clamp(1, to_do) as f64;
    Ok(Time::MatrixProducts {
        seconds_at_least: standing.multiply_adds_left as f64 / rate / at_a_time,
        multiply_adds_per_second: rate,
        threads,
    })
}

fn text(forecast: &Forecast<'_>) -> String {
    let Forecast {
        output,
        runs,
        done,
        workers,
        axes,
        cells,
        steps,
        multiply_adds,
        time,
        rates_at_most,
    } = forecast;
    let axes = axes
        .iter()
        .map(|axis| [axis.key.to_owned(), shortened(&axis.values)]);
    let mut rows =
        vec![["cell", "runs", "done", "steps a run", "multiply-adds a run"].map(str::to_owned)];
    rows.extend(cells.iter().map(|cell| {
        [
            cell.name.to_owned(),
            cell.runs.to_string(),
            cell.done.to_string(),
            grouped(cell.steps),
            format!("{:.2e}", cell.multiply_adds as f64),
        ]
    }));
    let to_do = runs - done;
    let search = rates_at_most.map(|most| {
        let text = format!("adds what the optimum needs, to {most} learning rates a cell at most");
        ["search".to_owned(), text]
    });
    let sums = [
        [
            "runs".to_owned(),
            format!("{runs}, of which {done} are done"),
        ],
        [
            "to do".to_owned(),
            format!(
                "{to_do} runs, {} steps, {:.2e} multiply-adds in the encoder's linear layers",
                grouped(usize::try_from(*steps).unwrap_or(usize::MAX)),
                *multiply_adds as f64
            ),
        ],
        ["time".to_owned(), shown(time, *workers)],
        ["output".to_owned(), output.display().to_string()],
    ];
    let sums: Vec<_> = sums.into_iter().chain(search).collect();
    [
        aligned(&axes.collect::<Vec<_>>()),
        aligned(&rows),
        aligned(&sums),
    ]
    .into_iter()
    .filter(|part| !part.is_empty())
    .collect::<Vec<_>>()
    .join("\n")
}

/// All values where they are few, else the first and last ones.
fn shortened(values: &[Value]) -> String {
    let words: Vec<String> = values.iter().map(word).collect();
    match words.as_slice() {
        [first, second, .., last] if words.len() > 12 => {
            format!("{first}, {second}, ..., {last} ({} values)", words.len())
        }
        _ => words.join(", "),
    }
}

/// A number as it stands in `results.json`, a text without quotes.
fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => {
            number.as_f64().map_or_else(String::new, python_float)
        }
        _ => value.to_string(),
    }
}

fn shown(time: &Time, workers: usize) -> String {
    let at_a_time = match workers {
        1 => "one run at a time".to_owned(),
        count => format!("{count} runs at a time"),
    };
    match time {
        Time::NothingToDo => "none: all runs are done".to_owned(),
        Time::FinishedRuns { seconds, runs } => format!(
            "about {}, {at_a_time}, at the pace of {} of this plan",
            duration(*seconds),
            match runs {
                1 => "one finished run".to_owned(),
                count => format!("{count} finished runs"),
            }
        ),
        Time::MatrixProducts {
            seconds_at_least,
            multiply_adds_per_second,
            threads,
        } => format!(
            "more than {}, {at_a_time}: what the products alone would take, at the {:.1e} multiply-adds a second that \
             large ones reach here with {threads} thread{}; none of these runs is done to go by",
            duration(*seconds_at_least),
            multiply_adds_per_second,
            if *threads == 1 { "" } else { "s" }
        ),
        Time::NotKnown => "not known: none of these runs is done to go by".to_owned(),
    }
}
