//! Keeps the claims of running workers, and ends a worker whose run became another process's.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    claim::Claim,
    process::{Handle, locked},
};

/// How often the keeper looks whether it is needed any more.
const TICK: Duration = Duration::from_millis(20);

/// The claims of the runs that are being made.
pub(super) struct Keeper {
    /// Time between two renewals.
    interval: Duration,
    kept: Mutex<Vec<(Arc<Claim>, Handle)>>,
    over: AtomicBool,
}

impl Keeper {
    /// Renews often enough that a lease outlasts several renewals that fail.
    pub(super) fn new(lease: Duration) -> Self {
        Self {
            interval: lease / 6,
            kept: Mutex::new(Vec::new()),
            over: AtomicBool::new(false),
        }
    }

    /// Keeps a claim while this worker makes its run.
    pub(super) fn add(&self, claim: &Arc<Claim>, worker: Handle) {
        locked(&self.kept).push((Arc::clone(claim), worker));
    }

    pub(super) fn remove(&self, claim: &Arc<Claim>) {
        locked(&self.kept).retain(|(kept, _)| !Arc::ptr_eq(kept, claim));
    }

    /// Renews until [`Keeper::end`].
    pub(super) fn run(&self) {
        let mut renewed = Instant::now();
        while !self.over.load(Ordering::SeqCst) {
            if renewed.elapsed() >= self.interval {
                renewed = Instant::now();
                self.renew();
            }
            thread::sleep(TICK);
        }
    }

    pub(super) fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    fn renew(&self) {
        // Not under the lock: a server that does not answer must not hold up the others.
        let kept = locked(&self.kept).clone();
        for (claim, worker) in kept {
            if claim.renew() {
                continue;
            }
            // A worker that went on to its next run is not meant.
            let kept = locked(&self.kept);
            if kept.iter().any(|(kept, _)| Arc::ptr_eq(kept, &claim)) {
                tracing::warn!("{claim} is made by another process now: its worker here is ended");
                worker.kill();
            }
        }
    }
}
