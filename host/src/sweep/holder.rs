//! Which process holds a claim, and whether it still lives.

use std::{fmt, fs};

use serde::{Deserialize, Serialize};

/// A process, told from all others of all machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Holder {
    pub host: String,
    pub pid: u32,
    /// When it started, in clock ticks since the machine did: another process with the same id started later.
    started: Option<u64>,
    /// Identity of the machine's start.
    boot: Option<String>,
    /// Identity of what the process id is an id in: containers of one machine have processes of the same id.
    pids: Option<String>,
}

impl Holder {
    pub(super) fn this_process() -> Self {
        let pid = std::process::id();
        let line = |path: &str| {
            let text = fs::read_to_string(path).ok()?;
            Some(text.trim().to_owned()).filter(|text| !text.is_empty())
        };
        let pids = fs::read_link("/proc/self/ns/pid").ok();
        Self {
            host: line("/proc/sys/kernel/hostname").unwrap_or_else(|| "a machine".to_owned()),
            pid,
            started: started(pid),
            boot: line("/proc/sys/kernel/random/boot_id"),
            pids: pids.map(|pids| pids.display().to_string()),
        }
    }

    /// Whether this process is known to have ended. Of the processes of other machines nothing is known.
    pub(super) fn is_gone(&self, observer: &Self) -> bool {
        let same = |own: &Option<String>, other: &Option<String>| own.is_some() && own == other;
        same(&self.boot, &observer.boot)
            && same(&self.pids, &observer.pids)
            && self.started.is_some()
            && started(self.pid) != self.started
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on {}", self.pid, self.host)
    }
}

/// When a process started, if it lives: field 22 of `/proc/PID/stat`, see proc(5).
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?;
    let ended = ["Z", "X"].contains(&state);
    // From field 3, the state, to field 22.
    fields.nth(18).filter(|_| !ended)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_is_gone_once_it_ended_even_before_it_is_waited_for() {
        let observer = Holder::this_process();
        assert!(!observer.is_gone(&observer));
        let mut child = Command::new("sleep")
            .arg("100")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let holder = Holder {
            pid: child.id(),
            started: started(child.id()),
            ..observer.clone()
        };
        assert!(holder.started.is_some() && !holder.is_gone(&observer));
        child.kill().unwrap();
        while !holder.is_gone(&observer) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(holder.is_gone(&observer));
    }

    impl Holder {
        /// A process of another machine.
        pub(in crate::sweep) fn of_machine(name: &str) -> Self {
            Self {
                host: name.to_owned(),
                boot: Some(name.to_owned()),
                ..Self::this_process()
            }
        }

        /// A process of this machine that has ended: its id is another's now.
        pub(in crate::sweep) fn gone() -> Self {
            Self {
                started: Some(1),
                ..Self::this_process()
            }
        }
    }

    #[test]
    fn another_process_of_the_same_id_and_processes_elsewhere() {
        let observer = Holder::this_process();
        let earlier = Holder {
            started: Some(1),
            ..observer.clone()
        };
        assert!(earlier.is_gone(&observer));
        let elsewhere = Holder {
            boot: Some("another".to_owned()),
            ..earlier.clone()
        };
        let container = Holder {
            pids: Some("pid:[1]".to_owned()),
            ..earlier.clone()
        };
        let unknown = Holder {
            boot: None,
            ..earlier
        };
        for holder in [elsewhere, container, unknown.clone()] {
            assert!(!holder.is_gone(&observer));
        }
        assert!(!unknown.is_gone(&unknown));
    }
}
