//! A sweep of so many tiny runs, good ones and failing ones, that a process that keeps anything of a run would show it.
//!
//! `scripts/test --package lorahost --test program -- --ignored --nocapture soak`, for half an hour or the minutes that
//! `LORAHOST_SOAK_MINUTES` says.

use std::env;
use std::fs::{self, File};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::processes::{Running, signal, until, workers};
use crate::sandbox::{Sandbox, small};

/// Two runs of three fail, in two ways: a component that panicked is only dropped.
const FLAGS: &str = "--plugin TEST/hostile_init --init uniform refuses panics --max-steps 1 --set seed=range(33000) \
                     --workers 2";

/// What the memory of a worker may differ by between two times: it is some tens of KiB, whatever the length; over ten
/// minutes, two hundred bytes that are lost in each run are more.
const NOISE: u64 = 1024;

/// KiB that the program itself may hold of each run that is done: the record, which its last tables are made of.
const RECORD: u64 = 6;

/// What a process holds at a moment.
#[derive(Debug, Clone, Copy)]
struct Holding {
    kilobytes: u64,
    descriptors: u64,
}

impl Holding {
    fn of(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
        Some(Self {
            kilobytes: resident.trim().trim_end_matches(" kB").parse().ok()?,
            descriptors: descriptors.count() as u64,
        })
    }

    /// The median of some moments, in each respect: a file that is open at one of them does not show.
    fn median(moments: &[Self]) -> Self {
        let of = |value: fn(&Self) -> u64| {
            let mut values: Vec<u64> = moments.iter().map(value).collect();
            values.sort_unstable();
            values[values.len() / 2]
        };
        Self {
            kilobytes: of(|moment| moment.kilobytes),
            descriptors: of(|moment| moment.descriptors),
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "takes half an hour, or as many minutes as LORAHOST_SOAK_MINUTES says"]
fn soak() {
    let minutes = env::var("LORAHOST_SOAK_MINUTES").map_or(30.0, |text| text.parse().unwrap());
    let length = Duration::from_secs_f64(60.0 * minutes);
    let sandbox = Sandbox::new();
    let log = sandbox.path("log");
    let mut command = sandbox.command(&small(FLAGS), &[]);
    command
        .stdout(Stdio::null())
        .stderr(File::create(&log).unwrap());
    let mut program = Running::new(command.spawn().unwrap());
    let made = || {
        let log = fs::read_to_string(&log).unwrap();
        log.lines().filter(|line| line.starts_with('[')).count()
    };
    until("the first runs", || (made() > 10).then_some(()));
    let mut processes = vec![program.id()];
    processes.extend(workers(program.id()));
    assert_eq!(processes.len(), 3);

    let mut moments = vec![Vec::new(); processes.len()];
    let started = Instant::now();
    while started.elapsed() < length {
        sleep(Duration::from_millis(250));
        assert!(program.try_wait().unwrap().is_none(), "it ended");
        for (pid, moments) in processes.iter().zip(&mut moments) {
            moments.push(Holding::of(*pid).expect("no worker was replaced"));
        }
    }
    signal("TERM", program.id());
    assert_eq!(program.output().status.code(), Some(130));
    let runs = made();
    println!("{runs} runs in {minutes} minutes");
    let log = fs::read_to_string(&log).unwrap();
    assert!(!log.contains("were not dropped"), "tensor handles leak");
    for (place, moments) in moments.iter().enumerate() {
        let tenth = moments.len() / 10;
        let early = Holding::median(&moments[tenth..2 * tenth]);
        let late = Holding::median(&moments[moments.len() - tenth..]);
        println!("process {place}: {early:?}, then {late:?}");
        assert_eq!(late.descriptors, early.descriptors);
        // From the middle of the second tenth to the middle of the last.
        let records = if place == 0 {
            RECORD * runs as u64 * 8 / 10
        } else {
            0
        };
        assert!(late.kilobytes <= early.kilobytes + NOISE + records);
    }
}
