//! Progress of a sweep: bars on a terminal, lines elsewhere.

use std::io::Write;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{Notice, Observer, RunJob};
use crate::printable::printable;
use crate::record::{Event, RunRecord, Status, python_float};

/// Parts of a run in the overall bar.
const PARTS: u64 = 1000;

/// One line for each run that is done: for files and pipes.
pub struct PlainProgress<'a, W> {
    jobs: &'a [RunJob],
    out: W,
    done: usize,
}

impl<'a, W: Write> PlainProgress<'a, W> {
    pub fn new(jobs: &'a [RunJob], out: W) -> Self {
        Self { jobs, out, done: 0 }
    }

    /// Progress is a courtesy: a closed pipe does not end the sweep.
    fn line(&mut self, line: &str) {
        let _ = writeln!(self.out, "{line}");
    }
}

impl<W: Write> Observer for PlainProgress<'_, W> {
    fn notice(&mut self, notice: &Notice) {
        match notice {
            Notice::AlreadyDone { index, record } | Notice::Finished { index, record, .. } => {
                self.done += 1;
                let earlier = matches!(notice, Notice::AlreadyDone { .. });
                let (done, all) = (self.done, self.jobs.len());
                let line = outcome(&self.jobs[*index], record, earlier);
                self.line(&format!("[{done}/{all}] {line}"));
            }
            Notice::Log { line, .. } => self.line(line),
            Notice::Started { .. } | Notice::Event { .. } => {}
        }
    }
}

/// One bar a worker and one over all, on standard error.
pub struct TerminalProgress<'a> {
    jobs: &'a [RunJob],
    screen: MultiProgress,
    overall: ProgressBar,
    workers: Vec<ProgressBar>,
    /// For each worker, how much of its run is in the overall bar.
    counted: Vec<u64>,
}

impl<'a> TerminalProgress<'a> {
    #[must_use]
    pub fn new(jobs: &'a [RunJob], workers: usize) -> Self {
        let screen = MultiProgress::new();
        let workers = workers.max(1).min(jobs.len());
        let bars = (0..workers).map(|_| {
            let bar = screen.add(ProgressBar::new(1));
            bar.with_style(style("{msg:<44} {bar:24} {pos}/{len}"))
        });
        let workers: Vec<_> = bars.collect();
        let overall = screen.add(ProgressBar::new(jobs.len() as u64 * PARTS));
        overall.set_style(style(
            "{msg:<44} {bar:24} {percent}%  {elapsed} gone, {eta} to go",
        ));
        overall.set_message(format!("0 of {} runs", jobs.len()));
        let counted = vec![0; workers.len()];
        Self {
            jobs,
            screen,
            overall,
            workers,
            counted,
        }
    }

    fn print(&self, line: &str) {
        let _ = self.screen.println(line);
    }

    fn run_done(&mut self, line: &str) {
        self.print(line);
        let all = self.jobs.len() as u64;
        // Runs in work hold less than one part short of a whole each, so rounding down counts the done ones.
        let done = (self.overall.position() - self.counted.iter().sum::<u64>()) / PARTS;
        self.overall.set_message(format!("{done} of {all} runs"));
        if done == all {
            self.workers.iter().for_each(ProgressBar::finish_and_clear);
            self.overall.finish_and_clear();
        }
    }

    fn count(&mut self, worker: usize, parts: u64) {
        self.overall.inc(parts.saturating_sub(self.counted[worker]));
        self.counted[worker] = parts.max(self.counted[worker]);
    }
}

impl Observer for TerminalProgress<'_> {
    fn notice(&mut self, notice: &Notice) {
        match notice {
            Notice::AlreadyDone { index, record } => {
                self.overall.inc(PARTS);
                // The estimate of what is to come must not take these for work that was quick.
                self.overall.reset_eta();
                self.run_done(&outcome(&self.jobs[*index], record, true));
            }
            Notice::Started { worker, index } => {
                // Nothing, but for a run that was put back.
                let rest = self.overall.position() - self.counted[*worker];
                self.overall.set_position(rest);
                self.counted[*worker] = 0;
                let bar = &self.workers[*worker];
                bar.reset();
                bar.set_message(run_name(&self.jobs[*index]));
            }
            Notice::Event {
                worker,
                event: Event::Start { steps, .. },
                ..
            } => {
                self.workers[*worker].set_length(*steps as u64);
            }
            Notice::Event {
                worker,
                event: Event::Step { step, .. },
                ..
            } => {
                let bar = &self.workers[*worker];
                let step = *step as u64;
                bar.set_position(step);
                let steps = bar.length().unwrap_or(0).max(1);
                self.count(*worker, (step * PARTS / steps).min(PARTS - 1));
            }
            Notice::Event { .. } => {}
            Notice::Finished {
                worker,
                index,
                record,
            } => {
                self.count(*worker, PARTS);
                self.counted[*worker] = 0;
                self.run_done(&outcome(&self.jobs[*index], record, false));
            }
            Notice::Log { line, .. } => self.print(line),
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template);
    style
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸ ")
}

/// `lora-r16 lr 0.001 seed 42`
fn run_name(job: &RunJob) -> String {
    let (lr, seed) = (python_float(job.spec.train.lr), job.spec.seeds.label());
    format!("{} lr {lr} seed {seed}", job.cell)
}

/// `lora-r16 lr 0.001 seed 42: val loss 0.4231, test acc 0.8612 (12.3 s)`
fn outcome(job: &RunJob, record: &RunRecord, earlier: bool) -> String {
    let result = &record.result;
    let told = match (&result.status, &result.error) {
        // What a dead worker wrote stands on further lines, which were passed on when it wrote them.
        (Status::Failed, Some(error)) => {
            let error = error.to_string();
            let line = error.lines().next().unwrap_or_default();
            format!("failed: {}", printable(line))
        }
        (Status::Failed, None) => "failed".to_owned(),
        (Status::Diverged, _) => "diverged".to_owned(),
        (Status::Completed, _) => format!("val loss {:.4}", result.best_val_loss),
    };
    let test = match result.headline() {
        Some((name, value)) => format!(", test {name} {value:.4}"),
        None => String::new(),
    };
    let when = if earlier {
        "already done".into()
    } else {
        format!("{:.1} s", result.seconds)
    };
    format!("{}: {told}{test} ({when})", run_name(job))
}
