//! Observers of the command line: what a cell trains, said once, and progress as log lines.

use std::collections::HashSet;
use std::io::{self, Write as _};

use crate::model::Description;
use crate::record::Event;
use crate::sweep::{Notice, Observer, RunJob};

/// Wraps an observer.
pub struct Announce<'a> {
    jobs: &'a [RunJob],
    inner: Box<dyn Observer + 'a>,
    said: HashSet<&'a str>,
}

impl<'a> Announce<'a> {
    pub fn new(jobs: &'a [RunJob], inner: Box<dyn Observer + 'a>) -> Self {
        Self {
            jobs,
            inner,
            said: HashSet::new(),
        }
    }
}

impl Observer for Announce<'_> {
    fn notice(&mut self, notice: &Notice) {
        self.inner.notice(notice);
        let Notice::Event {
            worker,
            index,
            event:
                Event::Start {
                    linear_layers,
                    wrapped_layers,
                    trainable_parameters,
                    total_parameters,
                    ..
                },
        } = notice
        else {
            return;
        };
        let cell = self.jobs[*index].cell.as_str();
        if self.said.insert(cell) {
            let description = Description {
                linear_layers: *linear_layers,
                wrapped: *wrapped_layers,
                total: *total_parameters as usize,
                trainable: *trainable_parameters as usize,
            };
            self.inner.notice(&Notice::Log {
                worker: *worker,
                line: format!("{cell}: {description}"),
            });
        }
    }
}

/// Progress as log lines, for `--log-format json`: standard error holds nothing else.
pub struct LogProgress<'a> {
    jobs: &'a [RunJob],
}

impl<'a> LogProgress<'a> {
    pub fn new(jobs: &'a [RunJob]) -> Self {
        Self { jobs }
    }
}

impl Observer for LogProgress<'_> {
    fn notice(&mut self, notice: &Notice) {
        match notice {
            Notice::AlreadyDone { index, record } | Notice::Finished { index, record, .. } => {
                let job = &self.jobs[*index];
                tracing::info!(
                    run = job.id.as_str(),
                    cell = job.cell,
                    lr = job.spec.train.lr,
                    status = ?record.result.status,
                    val_loss = record.result.best_val_loss,
                    seconds = record.result.seconds,
                    "run done"
                );
            }
            // A worker's lines are JSON already.
            Notice::Log { line, .. } => {
                let _ = writeln!(io::stderr(), "{line}");
            }
            Notice::Started { .. } | Notice::Event { .. } => {}
        }
    }
}
