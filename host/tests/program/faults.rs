//! Faults of the machine and of what lies on its disk: each ends in words that say what is wrong, and in a folder with
//! which an undisturbed sweep goes on, to the numbers of one that nothing happened to.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use lorahost::record::Status;

use crate::processes::{signal, until};
use crate::sandbox::{Outcome, Run, Sandbox, small, test_plugin};
use crate::sharing::numbers;
use crate::survival::{KEPT, lines};

/// Two runs of two steps, and one of them.
const FLAGS: &str = "--max-steps 2 --lrs 1e-3 3e-3";
const ONE: &str = "--max-steps 2 --lrs 1e-3";

/// What those runs measure where nothing happens to them.
struct Undisturbed {
    sandbox: Sandbox,
    numbers: Vec<(String, String)>,
}

impl Undisturbed {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let numbers = numbers(&sandbox.train(&format!("{FLAGS} --output whole")));
        Self { sandbox, numbers }
    }

    /// The words for the same runs in another folder.
    fn words() -> String {
        small(&format!("{FLAGS} --output cut"))
    }

    /// Brings the other folder to its end, and compares.
    fn goes_on(&self) -> Outcome {
        let outcome = self.sandbox.lorahost(&Self::words());
        assert_eq!(outcome.code, 0, "{}", outcome.err);
        assert_eq!(numbers(&self.sandbox.runs("cut")), self.numbers);
        outcome
    }
}

/// Asserts that a program that failed said why, and how many of these did.
fn refused<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>, why: &[&str]) -> usize {
    let failed = outcomes.into_iter().filter(|outcome| outcome.code != 0);
    let failed = failed.inspect(|Outcome { code, err, .. }| {
        // 127 is the loader's, which found no room for the program itself.
        assert!([1, 3, 127].contains(code), "{code}: {err}");
        assert!(why.iter().any(|why| err.contains(why)), "{code}: {err}");
    });
    failed.count()
}

#[cfg(target_os = "linux")]
#[test]
fn too_few_file_descriptors() {
    let whole = Undisturbed::new();
    let outcomes = [4, 8, 12].map(|limit| {
        let limited = format!("ulimit -n {limit}");
        whole
            .sandbox
            .lorahost_after(&limited, &Undisturbed::words())
    });
    let why = ["Too many open files (os error 24)"];
    assert!(refused(&outcomes, &why) >= 2, "{outcomes:?}");
    whole.goes_on();
}

#[cfg(target_os = "linux")]
#[test]
fn too_little_memory() {
    let whole = Undisturbed::new();
    let outcomes = [256, 512, 640, 768].map(|megabytes| {
        let limited = format!("ulimit -v {}", megabytes << 10);
        whole
            .sandbox
            .lorahost_after(&limited, &Undisturbed::words())
    });
    let why = [
        "annot allocate memory",
        "memory allocation",
        "failed to map segment",
    ];
    assert!(refused(&outcomes, &why) >= 1, "{outcomes:?}");
    whole.goes_on();
}

/// In a process that may have 20 GiB of addresses; the plugin touches none of them.
#[cfg(target_os = "linux")]
#[test]
fn a_plugin_that_takes_all_memory_costs_its_run_alone() {
    let sandbox = Sandbox::new();
    let words = small("--plugin TEST/hoards --init hoards uniform --set run.retries=0");
    let limited = "export RUST_BACKTRACE=0; ulimit -v 20971520";
    let outcome = sandbox.lorahost_after(limited, &words);
    assert_eq!(outcome.code, 3, "{}", outcome.err);
    let cells = sandbox.cells("out");
    let result = |cell: &str| cells[cell].record.result.clone();
    assert_eq!(result("lora-r4-uniform").status, Status::Completed);
    let error = result("lora-r4-hoards").error.unwrap();
    let killed = "the worker was killed by SIGABRT (signal 6)\nits last words:\n";
    assert!(error.message.starts_with(killed), "{error}");
    assert!(
        error
            .message
            .contains("memory allocation of 67108864 bytes failed"),
        "{error}"
    );
    assert_eq!(error.call.unwrap().component, "init hoards");
}

/// As on a disk that is full, at places that depend on how much still fits.
#[test]
fn files_that_cannot_grow() {
    let whole = Undisturbed::new();
    let grows_to = |blocks: u32| {
        let limited = format!("trap '' XFSZ; ulimit -f {blocks}");
        whole
            .sandbox
            .lorahost_after(&limited, &Undisturbed::words())
    };
    let why = ["File too large (os error 27)"];
    // The folder, then its tokens.
    assert_eq!(refused(&[0, 1].map(grows_to), &why), 2);
    // The tokens are there; so the runs cannot be kept.
    let one = small(&format!("{ONE} --output cut"));
    assert_eq!(whole.sandbox.lorahost(&one).code, 0);
    assert_eq!(refused(&[1, 2, 3].map(grows_to), &why), 3);
    whole.goes_on();
}

#[test]
fn folders_and_files_that_may_not_be_written_or_read() {
    let whole = Undisturbed::new();
    let sandbox = &whole.sandbox;
    let words = Undisturbed::words();
    let denied = |path: &str, mode: u32| {
        let path = sandbox.path(path);
        let before = fs::metadata(&path).unwrap().permissions();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let outcome = sandbox.lorahost_without_powers(&words);
        let status = sandbox.lorahost_without_powers("status cut");
        fs::set_permissions(&path, before).unwrap();
        assert_eq!(outcome.code, 1, "{}", outcome.err);
        let line = outcome.err.lines().last().unwrap();
        assert!(line.contains("Permission denied (os error 13)"), "{line}");
        (line.to_owned(), status.code)
    };
    let (line, _) = denied("", 0o555);
    assert!(line.contains("cannot create the folder cut: "), "{line}");
    let one = small(&format!("{ONE} --output cut"));
    assert_eq!(sandbox.lorahost(&one).code, 0);
    let done = format!("cut/runs/{}/done.json", whole.numbers[0].0);
    let there = sandbox.path(&done).exists();
    let other = format!("cut/runs/{}/done.json", whole.numbers[1].0);
    let done = if there { done } else { other };
    for (path, mode, told, readable) in [
        ("cut", 0o555, "cannot write SANDBOX/cut/plan.json: ", true),
        (
            "cut/claims",
            0o555,
            "cannot write a claim in SANDBOX/cut/claims: ",
            true,
        ),
        (
            "cut/runs",
            0o555,
            "cannot write to SANDBOX/cut/runs/ID: ",
            true,
        ),
        (
            &done,
            0o000,
            "cannot read SANDBOX/cut/runs/ID/done.json: ",
            false,
        ),
    ] {
        let (line, status) = denied(path, mode);
        assert!(line.contains(told), "{path}: {line}");
        assert_eq!(status == 0, readable, "{path}");
    }
    whole.goes_on();
}

#[test]
fn a_file_system_that_is_read_only() {
    let test = "a_file_system_that_is_read_only";
    let whole = Undisturbed::new();
    let begun = small(&format!("{ONE} --output small/cut"));
    let all = small(&format!("{FLAGS} --output small/cut"));
    let script = format!(
        "$LORAHOST {begun} -q || exit 98
         mount -o remount,ro small
         $LORAHOST {all} -q; echo code $?
         $LORAHOST status small/cut >/dev/null || exit 97
         mount -o remount,rw small
         $LORAHOST {all} -q || exit 96
         cp -r small/cut ."
    );
    let Some((out, told)) = whole.sandbox.with_a_small_disk(test, &script) else {
        return;
    };
    assert_eq!(out.trim(), "code 1", "{told}");
    assert!(
        told.contains("Read-only file system (os error 30)"),
        "{told}"
    );
    assert_eq!(numbers(&whole.sandbox.runs("cut")), whole.numbers);
}

/// As [`File::set_len`] cuts them, at a share of their length.
fn cut(path: &Path, share: f64) {
    let file = File::options().write(true).open(path).unwrap();
    let bytes = file.metadata().unwrap().len();
    file.set_len((bytes as f64 * share) as u64).unwrap();
}

/// Each of six runs has one file that is cut; so have the marker of the folder, its tokens and its plan.
#[test]
fn files_that_are_cut() {
    let sandbox = Sandbox::new();
    let flags = "--max-steps 2 --lrs 1e-4 3e-4 1e-3 3e-3 1e-2 3e-2";
    let whole = numbers(&sandbox.train(&format!("{flags} --output whole")));
    let runs = sandbox.train(&format!("{flags} --output cut"));
    let files = [
        ("spec.json", 0.5),
        ("metrics.jsonl", 0.9),
        ("result.json", 0.0),
        ("done.json", 0.0),
        ("done.json", 0.5),
        ("done.json", 0.99),
    ];
    for (run, (name, share)) in runs.iter().zip(files) {
        cut(&run.folder.join(name), share);
    }
    cut(&sandbox.path("cut/lorahost.json"), 0.5);
    for tokens in fs::read_dir(sandbox.path("cut/cache")).unwrap() {
        cut(&tokens.unwrap().path(), 0.5);
    }
    cut(&sandbox.path("cut/plan.json"), 0.5);
    let words = small(&format!("{flags} --output cut"));
    let refused = sandbox.lorahost(&words);
    assert_eq!(refused.code, 1, "{}", refused.err);
    for told in [
        "SANDBOX/cut/plan.json is not what lorahost wrote there: EOF",
        "remove it, and the next sweep makes it anew",
    ] {
        assert!(refused.err.contains(told), "{}", refused.err);
    }
    fs::remove_file(sandbox.path("cut/plan.json")).unwrap();
    let outcome = sandbox.lorahost(&words);
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    assert!(!outcome.err.contains("already done"), "{}", outcome.err);
    assert_eq!(numbers(&sandbox.runs("cut")), whole);
    assert_eq!(sandbox.lorahost("status cut").err, "");
}

#[test]
fn records_of_other_versions() {
    let whole = Undisturbed::new();
    whole.goes_on();
    let folder = &whole.sandbox.runs("cut")[0].folder;
    let files = ["lorahost.json", "plan.json"].map(|name| whole.sandbox.path("cut").join(name));
    for file in files.into_iter().chain([folder.join("done.json")]) {
        let sound = fs::read_to_string(&file).unwrap();
        for (version, which) in [(0, "older"), (2, "newer")] {
            let other = sound.replacen("\"version\": 1", &format!("\"version\": {version}"), 1);
            let other = other.replacen("\"version\":1", &format!("\"version\":{version}"), 1);
            assert_ne!(other, sound);
            fs::write(&file, other).unwrap();
            for words in [&Undisturbed::words(), "status cut"] {
                let refused = whole.sandbox.lorahost(words);
                let name = file.file_name().unwrap().display();
                assert!([1, 2].contains(&refused.code), "{refused:?}");
                let line = refused.err.trim_end();
                let told = format!("lorahost: record version {version} of ");
                assert!(line.starts_with(&told), "{line}");
                let told = format!("{name} is {which} than this lorahost reads (1); ");
                assert!(line.contains(&told), "{line}");
            }
        }
        fs::write(&file, sound).unwrap();
    }
    let outcome = whole.goes_on();
    assert_eq!(
        outcome.err.matches("already done").count(),
        2,
        "nothing was touched"
    );
}

/// Runs under a clock that is put back by an hour whenever it is read, stopped and taken up again.
#[cfg(target_os = "linux")]
#[test]
fn a_clock_that_goes_backwards() {
    let sandbox = Sandbox::new();
    let whole = sandbox.train_one("--epochs 4 --output whole");
    let library = test_plugin("backwards_clock").display().to_string();
    let clock = [("LD_PRELOAD", library.as_str())];
    let words = small(&format!("--epochs 4 {KEPT} --output cut"));
    let program = sandbox.start(&words, &clock);
    until("eight lines", || {
        (lines(&sandbox.path("cut/runs")) >= 8).then_some(())
    });
    signal("TERM", program.id());
    let stopped = sandbox.end(program);
    assert_eq!(stopped.code, 130, "{}", stopped.err);
    let outcome = sandbox.lorahost_with(&words, &clock);
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    let run = sandbox.runs("cut").remove(0);
    assert_eq!(run.numbers(), whole.numbers());
    assert_eq!(run.record.result.resumes, 1);
    let recorded = |run: &Run| run.record.result.provenance.recorded_at;
    assert!(recorded(&run) < recorded(&whole), "the clock was put back");
    let status = sandbox.lorahost_with("status cut", &clock);
    assert!(status.out.contains("1 of 1 runs done"), "{status:?}");
}

/// All that a sweep left, and what it read, bears times that are yet to come.
#[test]
fn files_of_the_future() {
    let whole = Undisturbed::new();
    let one = small(&format!("{ONE} --output cut"));
    assert_eq!(whole.sandbox.lorahost(&one).code, 0);
    let tomorrow = SystemTime::now() + Duration::from_hours(24);
    let mut folders = vec![whole.sandbox.path("")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_symlink() {
                continue;
            }
            File::open(&path).unwrap().set_modified(tomorrow).unwrap();
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    let outcome = whole.goes_on();
    assert_eq!(
        outcome.err.matches("already done").count(),
        1,
        "{}",
        outcome.err
    );
}
