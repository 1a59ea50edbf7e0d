//! What Linux tells of this machine and of this process.

use std::fs;

/// The processor, in its maker's words.
#[must_use]
pub fn cpu_model() -> Option<String> {
    field("/proc/cpuinfo", "model name")
}

/// Memory of this machine, in bytes.
#[must_use]
pub fn memory() -> Option<u64> {
    bytes("/proc/meminfo", "MemTotal")
}

/// Largest resident memory of this process since its start or the last [`reset_peak_memory`], in bytes.
#[must_use]
pub fn peak_memory() -> Option<u64> {
    bytes("/proc/self/status", "VmHWM")
}

/// Starts a new measurement of [`peak_memory`]; where the system refuses, the old one goes on.
pub fn reset_peak_memory() {
    // "5" is the code of proc(5) for resetting VmHWM of one's own process.
    if let Err(error) = fs::write("/proc/self/clear_refs", "5") {
        tracing::debug!("peak memory is counted from the start of the process: {error}");
    }
}

/// The value of the first line `name: value` of a file.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

/// The same of a value `N kB`, in bytes.
fn bytes(path: &str, name: &str) -> Option<u64> {
    let value = field(path, name)?;
    let kibibytes: u64 = value.strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
