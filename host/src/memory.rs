//! What Linux tells of memory.

use std::fs;

/// Memory of this machine, in bytes; absent where the system does not tell.
#[must_use]
pub fn of_machine() -> Option<u64> {
    bytes("/proc/meminfo", "MemTotal")
}

/// Largest resident memory of this process since its start or the last reset, in bytes.
#[must_use]
pub fn peak_of_process() -> Option<u64> {
    bytes("/proc/self/status", "VmHWM")
}

/// The value of the line `name: N kB` of a file of proc(5), in bytes.
fn bytes(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kibibytes: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
