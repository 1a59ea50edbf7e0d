//! `lorahost plugin check`: the catalogue passes, and what is wrong with a plugin is found by the test that is for it.

use std::fs;
use std::thread;

use serde_json::Value;

use crate::sandbox::{Sandbox, plugin, workspace};

/// The findings of a file, one a line, as far as `wanted` names their status; without their messages, which hold
/// numbers of this machine.
fn findings(sandbox: &Sandbox, file: &str, wanted: &[&str]) -> Vec<String> {
    let outcome = sandbox.lorahost(&format!("plugin check {file} --json --timeout 10"));
    let report: Value = serde_json::from_str(&outcome.out).expect(&outcome.err);
    let broken = report["failed"].as_u64() > Some(0) || report["crashed"].as_u64() > Some(0);
    assert_eq!(outcome.code, i32::from(broken), "{file}: {}", outcome.err);
    let findings = report["findings"].as_array().unwrap().iter();
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    findings
        .filter(|finding| wanted.contains(&text(finding, "status").as_str()))
        .map(|finding| {
            let [component, status, test] =
                ["component", "status", "test"].map(|key| text(finding, key));
            format!("{component}: {status} {test}")
        })
        .collect()
}

#[test]
fn the_catalogue_passes() {
    let sandbox = Sandbox::new();
    let files = fs::read_dir(workspace().join("plugins")).unwrap();
    let mut names: Vec<String> = files
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == std::env::consts::DLL_EXTENSION)
        })
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    // Each file keeps about one core busy.
    let (first, second) = names.split_at(names.len() / 2);
    let of = |names: &[String]| -> Vec<String> {
        let all = names.iter().flat_map(|name| {
            findings(
                &sandbox,
                &format!("PLUGIN/{name}"),
                &["failed", "crashed", "skipped"],
            )
        });
        all.collect()
    };
    let mut lines = thread::scope(|scope| {
        let other = scope.spawn(|| of(second));
        let mut lines = of(first);
        lines.extend(other.join().unwrap());
        lines
    });
    // Most schemes choose no ranks.
    lines.retain(|line| !line.ends_with("skipped init.ranks"));
    lines.sort();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn each_defect_is_found_by_its_test() {
    let sandbox = Sandbox::new();
    let files = ["init", "alpha", "optimizer", "head"];
    let lines = files.map(|kind| {
        let file = format!("TEST/defective_{kind}");
        // One that never comes back has a test of its own.
        let mut lines = findings(&sandbox, &file, &["failed", "crashed"]);
        lines.retain(|line| !line.starts_with("init/hangs"));
        lines.join("\n")
    });
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn a_file_that_names_libtorch_or_works_at_load_time_is_found_out() {
    let sandbox = Sandbox::new();
    // The loader's entry for one library, turned into one for another with a name as long.
    let whole = fs::read(plugin("uniform_init")).unwrap();
    let mut linked = whole.clone();
    let (own, theirs) = (b"libgcc_s.so.1\0", b"libtorch.so.1\0");
    let entry = whole.windows(own.len()).position(|window| window == own);
    let entry = entry.expect("a library of Rust needs libgcc_s");
    linked[entry..entry + own.len()].copy_from_slice(theirs);
    sandbox.write("linked.so", linked);
    let lines = ["linked.so", "TEST/slow_to_open"]
        .map(|file| findings(&sandbox, file, &["failed", "crashed"]).join("\n"));
    insta::assert_snapshot!(lines.join("\n"), @r"
    file: failed file.links
    file: failed file.opens
    file: failed file.opens
    ");
}

#[test]
fn a_plugin_that_hangs_is_ended() {
    let sandbox = Sandbox::new();
    let outcome =
        sandbox.lorahost("plugin check TEST/defective_init --filter init.shapes --timeout 3");
    assert_eq!(outcome.code, 1, "{}", outcome.err);
    let hangs = outcome.out.split("init/hangs").nth(1).unwrap();
    insta::assert_snapshot!(hangs, @r"

      crashed  init.shapes
               it was ended after 3 s (--timeout)

    11 passed, 0 failed, 1 crashed, 0 skipped
    ");
}

#[test]
fn hostile_plugins_do_not_take_the_checker_down() {
    let sandbox = Sandbox::new();
    let files = [
        "hostile_init",
        "hostile_alpha",
        "hostile_optimizer",
        "hostile_head",
        "raw_calls",
        "lying_manifest",
        "two_of_a_kind",
        "given_init",
        "prints",
    ];
    let lines = files
        .map(|file| findings(&sandbox, &format!("TEST/{file}"), &["failed", "crashed"]).join("\n"));
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn text_of_a_sound_plugin_and_of_one_that_ends_the_process() {
    let sandbox = Sandbox::new();
    let sound = sandbox.lorahost("plugin check PLUGIN/uniform_init");
    assert_eq!(sound.code, 0, "{}", sound.err);
    let aborts = sandbox.lorahost("plugin check TEST/aborts");
    assert_eq!(aborts.code, 1, "{}", aborts.err);
    insta::assert_snapshot!(format!("{}\n{}", sound.out, aborts.out));
}

#[test]
fn json() {
    let sandbox = Sandbox::new();
    let outcome = sandbox.lorahost("plugin check TEST/aborts --filter init.s --json");
    let mut report: Value = serde_json::from_str(&outcome.out).unwrap();
    for finding in report["findings"].as_array_mut().unwrap() {
        assert!(finding["seconds"].take().as_f64() >= Some(0.0));
    }
    insta::assert_snapshot!(format!("{report:#}"));
}

#[test]
fn the_tests_are_listed() {
    let sandbox = Sandbox::new();
    let outcome = sandbox.lorahost("plugin check --list");
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    insta::assert_snapshot!(outcome.out);
    let filtered = sandbox.lorahost("plugin check --list --filter leaks --json");
    let tests: Value = serde_json::from_str(&filtered.out).unwrap();
    let ids: Vec<&str> = tests
        .as_array()
        .unwrap()
        .iter()
        .map(|test| test["test"].as_str().unwrap())
        .collect();
    assert_eq!(
        ids,
        ["init.leaks", "alpha.leaks", "optimizer.leaks", "head.leaks"]
    );
}

#[test]
fn what_cannot_be_checked() {
    let sandbox = Sandbox::new();
    let lines = [
        "plugin check TEST/not_a_plugin",
        "plugin check TEST/other_abi",
        "plugin check absent.so",
        "plugin check PLUGIN/uniform_init --filter telepathy",
    ]
    .map(|words| format!("{words}\n  => {}", sandbox.lorahost(words).refused()));
    insta::assert_snapshot!(lines.join("\n"));
    for words in ["plugin check", "plugin check x.so --timeout 0"] {
        assert_eq!(sandbox.lorahost(words).code, 2, "{words}");
    }
}

#[test]
fn what_does_not_pass_is_not_installed() {
    let sandbox = Sandbox::new();
    let source = workspace().join("host/tests/plugins/two_of_a_kind");
    let environment = [
        ("CARGO_TARGET_DIR", env!("CARGO_TARGET_TMPDIR")),
        ("CARGO_NET_OFFLINE", "true"),
    ];
    let install = |flags: &str| {
        let words = format!("plugin install {} {flags}", source.display());
        sandbox.lorahost_with(&words, &environment)
    };
    let refused = install("");
    assert_eq!(refused.code, 2, "{}", refused.err);
    let installed = sandbox.path("home/lorahost/plugins/two_of_a_kind.so");
    assert!(!installed.exists());
    insta::assert_snapshot!(refused.err.lines().last().unwrap());

    let forced = install("--no-check");
    assert_eq!(forced.code, 0, "{}", forced.err);
    assert!(installed.exists());
}
