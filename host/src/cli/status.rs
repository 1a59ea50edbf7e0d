//! `lorahost status`: how far the sweep of an output folder is.

use std::path::Path;

use serde_json::json;

use super::exit::Exit;
use super::failure::Failure;
use super::output::{aligned, duration, print};
use crate::record::{PlanRecord, check_output};
use crate::sweep::{Counts, Standing};

/// Tells how many runs of the plan are done, running, failed and to come, and how long the rest takes.
pub fn run(output: &Path, as_json: bool) -> Result<Exit, Failure> {
    check_output(output)?;
    let Some(plan) = PlanRecord::read(output)? else {
        return Err(Failure::NoPlan {
            path: output.to_owned(),
        });
    };
    let standing = Standing::of(&plan, output)?;
    let seconds_left = standing.seconds_left(plan.workers);
    if as_json {
        let mut value = json!(standing);
        value["experiment"] = json!(plan.experiment);
        value["workers"] = json!(plan.workers);
        value["seconds_left"] = json!(seconds_left);
        print(&format!("{value:#}\n"))?;
    } else {
        print(&text(&plan, &standing, seconds_left))?;
    }
    Ok(Exit::Ok)
}

fn text(plan: &PlanRecord, standing: &Standing, seconds_left: Option<f64>) -> String {
    let header = [
        "cell",
        "runs",
        "completed",
        "diverged",
        "failed",
        "running",
        "interrupted",
        "not begun",
    ];
    let mut rows = vec![header.map(str::to_owned)];
    let cells = standing.cells.iter();
    rows.extend(cells.map(|cell| row(&cell.cell, cell.counts)));
    if standing.cells.len() > 1 {
        rows.push(row("all", standing.total));
    }
    let (done, planned) = (standing.total.done(), standing.total.planned);
    let share = 100.0 * done as f64 / planned.max(1) as f64;
    let left = match seconds_left {
        _ if done == planned => "nothing is left".to_owned(),
        None => "time left not known: no run is done to go by".to_owned(),
        Some(seconds) => format!(
            "about {} left, {} at a time",
            duration(seconds),
            plan.workers
        ),
    };
    let others = match standing.others {
        0 => String::new(),
        1 => "1 run more in this folder, of earlier plans\n".to_owned(),
        count => format!("{count} runs more in this folder, of earlier plans\n"),
    };
    format!(
        "{}\n{done} of {planned} runs done ({share:.0}%), {left}\n{others}",
        aligned(&rows)
    )
}

fn row(name: &str, counts: Counts) -> [String; 8] {
    let figures = [
        counts.planned,
        counts.completed,
        counts.diverged,
        counts.failed,
        counts.running,
        counts.interrupted,
        counts.not_begun,
    ];
    let mut figures = figures.into_iter().map(|figure| figure.to_string());
    std::array::from_fn(|column| match column {
        0 => name.to_owned(),
        _ => figures.next().unwrap_or_default(),
    })
}
