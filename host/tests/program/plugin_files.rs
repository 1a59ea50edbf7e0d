//! Plugin files before any of their code runs, and what the program says of them.

use std::fs;
use std::os::unix::fs::symlink;

use lorahost::plugins::{Library, PluginFile};

use crate::processes::until;
use crate::sandbox::{Sandbox, plugin, small, test_plugin};
use crate::survival::lines;

/// The one line with which a file is refused.
fn refusal(sandbox: &Sandbox, file: &str) -> String {
    let outcome = sandbox.lorahost(&small(&format!("--plugin {file}")));
    let inspected = sandbox.lorahost(&format!("plugin inspect {file}"));
    assert_eq!(
        outcome.refused(),
        inspected.refused(),
        "both commands say the same"
    );
    assert!(!sandbox.path("out").exists(), "nothing is begun");
    outcome.refused().to_owned()
}

#[test]
fn files_that_cannot_be_used() {
    let sandbox = Sandbox::new();
    let whole = fs::read(plugin("uniform_init")).unwrap();
    sandbox.write("text.so", "a shared library, believe me");
    sandbox.write("empty.so", "");
    sandbox.write("half.so", &whole[..whole.len() / 2]);
    sandbox.write("head.so", &whole[..64]);
    fs::create_dir(sandbox.path("folder.so")).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_lorahost"), sandbox.path("program.so")).unwrap();
    let files = [
        "absent.so",
        "folder.so",
        "empty.so",
        "text.so",
        "head.so",
        "half.so",
        "program.so",
        "TEST/not_a_plugin",
        "TEST/other_abi",
    ];
    let lines: Vec<String> = files
        .map(|file| format!("{file}\n  => {}", refusal(&sandbox, file)))
        .into();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn a_file_whose_code_tells_another_manifest_costs_its_runs() {
    let sandbox = Sandbox::new();
    let outcome = sandbox.lorahost(&small("--plugin TEST/lying_manifest --init lamb uniform"));
    assert_eq!(outcome.code, 3, "{}", outcome.err);
    insta::assert_snapshot!(outcome.failures().join("\n"));
}

#[test]
fn a_file_with_two_of_a_kind_selects_none_of_them() {
    let sandbox = Sandbox::new();
    let outcome = sandbox.lorahost(&small("--plugin TEST/two_of_a_kind"));
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    let notice = outcome
        .err
        .lines()
        .find(|line| line.contains("several components"))
        .unwrap();
    insta::assert_snapshot!(notice.trim());
    let both = sandbox.train("--plugin TEST/two_of_a_kind --init zeros ones --output both");
    assert_eq!(both.len(), 2);
}

#[test]
fn one_name_in_two_files() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("plugins")).unwrap();
    let here = sandbox.path("plugins").join("twin.so");
    fs::copy(test_plugin("twin"), &here).unwrap();
    insta::assert_snapshot!(
        "both_in_searched_folders",
        sandbox.lorahost(&small("")).refused()
    );

    let named = sandbox.lorahost(&small("--plugin TEST/twin"));
    assert_eq!(named.code, 0, "{}", named.err);
    let notice = named
        .err
        .lines()
        .find(|line| line.contains("is taken from"))
        .unwrap();
    insta::assert_snapshot!("the_named_one_wins", notice.trim());

    let both = sandbox.lorahost(&small("--plugin TEST/twin PLUGIN/uniform_init"));
    insta::assert_snapshot!("both_named", both.refused());
}

#[test]
fn the_same_content_counts_once() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("plugins")).unwrap();
    fs::copy(plugin("uniform_init"), sandbox.path("plugins/copy.so")).unwrap();
    let outcome = sandbox.lorahost(&small("--plugin PLUGIN/uniform_init"));
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    assert!(!outcome.err.contains("is taken from"), "{}", outcome.err);
}

#[test]
fn a_broken_file_in_a_searched_folder_is_left_out() {
    let sandbox = Sandbox::new();
    sandbox.write("plugins/broken.so", "not a library");
    let outcome = sandbox.lorahost(&small(""));
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    let warning = outcome
        .err
        .lines()
        .find(|line| line.contains("left out"))
        .unwrap();
    insta::assert_snapshot!(warning.trim());
}

#[test]
fn plugins_are_listed_without_being_run() {
    let sandbox = Sandbox::new();
    sandbox.write("plugins/broken.so", "not a library");
    fs::copy(test_plugin("aborts"), sandbox.path("plugins/aborts.so")).unwrap();
    let text = sandbox.lorahost("plugin list");
    assert_eq!((text.code, text.err.as_str()), (0, ""));
    insta::assert_snapshot!("list", text.out);

    let json = sandbox.lorahost("plugin list --json");
    let listed: Vec<serde_json::Value> = serde_json::from_str(&json.out).unwrap();
    let status = |file: &str| {
        let entry = listed
            .iter()
            .find(|entry| entry["file"].as_str().unwrap().ends_with(file));
        entry.unwrap()["status"].clone()
    };
    assert_eq!(status("gaussian_init.so"), "ok");
    assert_eq!(status("aborts.so"), "ok");
    assert_eq!(status("broken.so"), "broken");
}

#[test]
fn a_plugin_is_inspected_without_being_run() {
    let sandbox = Sandbox::new();
    let text = sandbox.lorahost("plugin inspect PLUGIN/gaussian_init");
    assert_eq!((text.code, text.err.as_str()), (0, ""));
    insta::assert_snapshot!("inspect", text.out);
    let json = sandbox.lorahost("plugin inspect PLUGIN/gaussian_init --json");
    insta::assert_snapshot!("inspect_json", json.out);
    let needs = sandbox.lorahost("plugin inspect TEST/hostile_alpha");
    assert!(
        needs.out.contains("requires lorahost.telepathy/1"),
        "{}",
        needs.out
    );
}

#[test]
fn without_plugins_it_says_where_to_get_them() {
    let sandbox = Sandbox::new();
    let nowhere = [("LORAHOST_PLUGIN_PATH", "")];
    let outcome = sandbox.lorahost_with(&small(""), &nowhere);
    insta::assert_snapshot!("no_plugins", outcome.refused());
    let list = sandbox.lorahost_with("plugin list", &nowhere);
    insta::assert_snapshot!("no_plugins_listed", list.out);
}

#[test]
fn files_that_clash_are_listed_and_named() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("plugins")).unwrap();
    fs::copy(test_plugin("twin"), sandbox.path("plugins/twin.so")).unwrap();
    let text = sandbox.lorahost("plugin list");
    assert_eq!(text.code, 0, "{}", text.err);
    let clash = "duplicate: init/uniform is in kit/uniform_init.so and in plugins/twin.so";
    assert!(text.out.lines().any(|line| line == clash), "{}", text.out);
    let json = sandbox.lorahost("plugin list --json");
    let listed: Vec<serde_json::Value> = serde_json::from_str(&json.out).unwrap();
    let twin = listed
        .iter()
        .find(|entry| entry["file"] == "plugins/twin.so");
    assert_eq!(twin.unwrap()["status"], "duplicate");
}

/// Of a built plugin, with other text of the same length in its manifest.
fn altered(text: &str, other: &str) -> Vec<u8> {
    assert_eq!(text.len(), other.len());
    let mut bytes = fs::read(plugin("uniform_init")).unwrap();
    let places: Vec<usize> = bytes
        .windows(text.len())
        .enumerate()
        .filter(|(_, window)| *window == text.as_bytes())
        .map(|(place, _)| place)
        .collect();
    assert!(!places.is_empty(), "{text}");
    for place in places {
        bytes[place..place + other.len()].copy_from_slice(other.as_bytes());
    }
    bytes
}

#[test]
fn control_characters_in_names_reach_no_terminal() {
    let sandbox = Sandbox::new();
    let name = r#""name":"uniform""#;
    for (file, text, other) in [
        ("escaped.so", name, r#""name":"\u001bm""#),
        ("raw.so", name, "\"name\":\"uni\u{1b}[2J\""),
        (
            "package.so",
            r#""package":"uniform_init""#,
            r#""package":"uni\u001b[2J""#,
        ),
        ("odd.so", name, r#""name":"uni/orm""#),
    ] {
        sandbox.write(file, altered(text, other));
    }
    sandbox.write("plugins/\u{1b}[2Jbroken.so", "no library");
    let lines = ["escaped.so", "raw.so", "package.so", "odd.so"]
        .map(|file| format!("{file}\n  => {}", refusal(&sandbox, file)));
    let list = sandbox.lorahost("plugin list").out;
    let broken = list
        .lines()
        .find(|line| line.starts_with("broken"))
        .unwrap();
    let run = sandbox.lorahost(&small("--plugin \u{1b}[2Jnone.so"));
    let left_out = sandbox.lorahost(&small("--max-steps 1"));
    assert_eq!(left_out.code, 0, "{}", left_out.err);
    insta::assert_snapshot!([&lines.join("\n"), broken, run.refused()].join("\n"));
    for text in [&list, &run.err, &left_out.err] {
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
}

/// A link that leads elsewhere after the file was read and hashed.
#[test]
fn the_file_that_was_hashed_is_the_one_that_is_opened() {
    let sandbox = Sandbox::new();
    let link = sandbox.path("plugin.so");
    let lead_to = |name: &str| {
        let _ = fs::remove_file(&link);
        symlink(plugin(name), &link).unwrap();
    };
    lead_to("uniform_init");
    let file = PluginFile::read(&link).unwrap();
    lead_to("gaussian_init");
    let opened = Library::open(file).unwrap();
    // Opening compares this manifest with that of the code.
    assert_eq!(opened.manifest().package, "uniform_init");
}

/// A link that leads elsewhere while a sweep is under way.
#[test]
fn a_file_that_is_swapped_during_a_sweep_costs_the_runs_that_need_it() {
    let sandbox = Sandbox::new();
    let kit = sandbox
        .path("kit")
        .join(plugin("uniform_init").file_name().unwrap());
    let child = sandbox.start(&small("--lrs 1e-3 2e-3 --epochs 40"), &[]);
    until("a step", || {
        (lines(&sandbox.path("out/runs")) >= 3).then_some(())
    });
    fs::remove_file(&kit).unwrap();
    symlink(plugin("gaussian_init"), &kit).unwrap();
    let outcome = sandbox.end(child);
    assert_eq!(outcome.code, 3, "{}", outcome.err);
    insta::assert_snapshot!(outcome.failures().join("\n"));
    fs::remove_file(&kit).unwrap();
    symlink(plugin("uniform_init"), &kit).unwrap();
    let outcome = sandbox.lorahost(&small("--lrs 1e-3 2e-3 --epochs 40"));
    assert_eq!(outcome.code, 0, "{}", outcome.err);
}
