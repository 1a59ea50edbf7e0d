//! The wish to stop, from a signal or from code.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use signal_hook::{
    consts::{SIGINT, SIGTERM, SIGUSR1},
    flag,
};

/// Exit code of an interrupted program.
const INTERRUPTED: i32 = 130;

/// A flag that ends a sweep: nothing more is handed out, workers keep a checkpoint at their next step boundary, their
/// runs stay unfinished.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// A flag that no signal raises.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A flag that SIGINT (Ctrl-C), SIGTERM and SIGUSR1 raise: the last is what a batch system sends some time before
    /// the end. SIGINT or SIGTERM after any of them ends the program at once, code 130, and with it its workers.
    ///
    /// # Errors
    /// When the system refuses to register a handler.
    pub fn on_signals() -> io::Result<Self> {
        let stop = Self::new();
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag down, and raises it.
            flag::register_conditional_shutdown(signal, INTERRUPTED, Arc::clone(&stop.0))?;
            flag::register(signal, Arc::clone(&stop.0))?;
        }
        flag::register(SIGUSR1, Arc::clone(&stop.0))?;
        Ok(stop)
    }

    pub fn request(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    #[must_use]
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
