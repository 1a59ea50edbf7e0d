//! What a sweep tells whoever watches it.

use crate::record::{Event, RunRecord};

/// Something happened in a sweep. `index` is the run's place in the plan, `worker` counts from 0.
#[derive(Debug)]
pub enum Notice {
    /// The run was done before; its record is taken.
    AlreadyDone {
        index: usize,
        record: Box<RunRecord>,
    },
    Started {
        worker: usize,
        index: usize,
    },
    Event {
        worker: usize,
        index: usize,
        event: Event,
    },
    /// The run is done, in whatever way.
    Finished {
        worker: usize,
        index: usize,
        record: Box<RunRecord>,
    },
    /// A line that the worker wrote to its standard error.
    Log {
        worker: usize,
        line: String,
    },
}

/// Watches a sweep.
pub trait Observer {
    fn notice(&mut self, notice: &Notice);
}

/// Watches nothing.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Observer for Silent {
    fn notice(&mut self, _: &Notice) {}
}
