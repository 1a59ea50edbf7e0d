//! Processes of a test: waiting for them, signals to them, and who works for whom.

use std::fs;
use std::ops::{Deref, DerefMut};
use std::process::{Child, Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A program that was started; it ends with the test, also where that fails.
pub struct Running(Option<Child>);

impl Running {
    pub fn new(child: Child) -> Self {
        Self(Some(child))
    }

    /// Waits for its end.
    pub fn output(mut self) -> Output {
        let child = self.0.take().expect("taken by its end alone");
        child.wait_with_output().unwrap()
    }
}

impl Deref for Running {
    type Target = Child;

    fn deref(&self) -> &Child {
        self.0.as_ref().expect("taken by its end alone")
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        self.0.as_mut().expect("taken by its end alone")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits until something is there, and fails after a time that is long on any machine.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            started.elapsed() < Duration::from_mins(5),
            "waited in vain for {what}"
        );
        sleep(Duration::from_millis(5));
    }
}

/// Sends a signal by its name: `KILL`.
pub fn signal(name: &str, pid: u32) {
    // It may have ended by itself.
    let _ = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status();
}

/// The workers of a program that lives.
pub fn workers(program: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let worker = |process: fs::DirEntry| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        let status = fs::read_to_string(process.path().join("status")).ok()?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
        let command = fs::read(process.path().join("cmdline")).ok()?;
        let mut words = command.split(|byte| *byte == 0);
        (parent.trim().parse() == Ok(program) && words.any(|word| word == b"worker")).then_some(pid)
    };
    processes.filter_map(worker).collect()
}
