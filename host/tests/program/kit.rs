//! The author's way: a new crate, its tests, its installation, a sweep; and the user's: a lock.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::sandbox::{Outcome, Sandbox, small, workspace};

/// Kind, name of the crate, and what selects its component beside a second one.
const KINDS: [(&str, &str, &str); 4] = [
    ("init", "my_init", "--init my-init uniform"),
    ("alpha", "my_alpha", "--alpha-policy my-alpha"),
    ("optimizer", "my_sgd", "--optimizer my-sgd"),
    ("head", "my_head", "--head my-head"),
];

impl Sandbox {
    /// Calls the program as an author does: crates are built in a folder that later runs of the tests find warm, and
    /// from what the workspace has fetched already.
    fn author(&self, words: &str) -> Outcome {
        let target = env!("CARGO_TARGET_TMPDIR");
        let environment = [("CARGO_TARGET_DIR", target), ("CARGO_NET_OFFLINE", "true")];
        self.lorahost_with(words, &environment)
    }
}

#[test]
fn from_new_to_a_sweep_in_four_commands() {
    let sandbox = Sandbox::new();
    let api = workspace().join("plugin-api");
    for (kind, name, selected) in KINDS {
        let made = sandbox.author(&format!("plugin new {kind} {name} --api {}", api.display()));
        assert_eq!(made.code, 0, "{}", made.err);
        let tested = Command::new(env!("CARGO"))
            .args(["test", "--offline", "--manifest-path"])
            .arg(sandbox.path(name).join("Cargo.toml"))
            .env("CARGO_TARGET_DIR", env!("CARGO_TARGET_TMPDIR"))
            .output()
            .unwrap();
        assert!(
            tested.status.success(),
            "{kind}: {}{}",
            String::from_utf8_lossy(&tested.stdout),
            String::from_utf8_lossy(&tested.stderr)
        );
        let installed = sandbox.author(&format!("plugin install {name}"));
        assert_eq!(installed.code, 0, "{}", installed.err);
        let file = sandbox.path(format!("home/lorahost/plugins/{name}.so"));
        let bytes = fs::metadata(&file).unwrap().len();
        assert!(bytes < 1 << 20, "{kind}: {bytes} bytes");

        let swept = sandbox.lorahost(&small(&format!("{selected} --output {name}-runs")));
        assert_eq!(swept.code, 0, "{kind}: {}", swept.err);
    }
    let again = sandbox.author("plugin install my_init");
    assert!(
        again.out.starts_with("replaced my_init 0.1.0"),
        "{}",
        again.out
    );
}

/// A registry in a folder: what `my_init` needs, the plugin API as it would be published, and `my_init` itself.
#[test]
fn a_crate_of_a_registry_is_installed() {
    let sandbox = Sandbox::new();
    let api = workspace().join("plugin-api");
    let made = sandbox.author(&format!("plugin new init my_init --api {}", api.display()));
    assert_eq!(made.code, 0, "{}", made.err);
    let registry = sandbox.path("registry");
    let manifest = sandbox.path("my_init/Cargo.toml");
    // The versions of this workspace. Those for other platforms are fetched where no build has needed them yet.
    fs::copy(
        workspace().join("Cargo.lock"),
        sandbox.path("my_init/Cargo.lock"),
    )
    .unwrap();
    cargo(&["vendor", "--manifest-path"], &[&manifest, &registry]);

    let packed = sandbox.path("packed");
    cargo(
        &[
            "--offline",
            "package",
            "--no-verify",
            "--allow-dirty",
            "--package=lorahost-plugin-derive",
            "--package=lorahost-plugin-api",
            "--target-dir",
        ],
        &[&packed],
    );
    let version = env!("CARGO_PKG_VERSION");
    for name in ["lorahost-plugin-derive", "lorahost-plugin-api"] {
        let archive = packed.join(format!("package/{name}-{version}.crate"));
        let mut tar = Command::new("tar");
        run(tar.arg("xzf").arg(archive).arg("-C").arg(&registry));
    }
    let text = fs::read_to_string(&manifest).unwrap();
    let path = format!("path = {:?}, ", api.display().to_string());
    assert!(text.contains(&path), "{text}");
    fs::write(&manifest, text.replace(&path, "")).unwrap();
    fs::rename(sandbox.path("my_init"), registry.join("my_init")).unwrap();
    for folder in fs::read_dir(&registry).unwrap() {
        let checksum = folder.unwrap().path().join(".cargo-checksum.json");
        if !checksum.exists() {
            fs::write(checksum, r#"{"files":{}}"#).unwrap();
        }
    }
    let replaced =
        "[source.crates-io]\nreplace-with = \"here\"\n[source.here]\ndirectory = \"registry\"\n";
    sandbox.write(".cargo/config.toml", replaced);

    let installed = sandbox.author("plugin install my_init@0.1");
    assert_eq!(installed.code, 0, "{}", installed.err);
    assert!(
        installed.out.starts_with("installed my_init 0.1.0"),
        "{}",
        installed.out
    );
    let swept = sandbox.lorahost(&small("--init my-init"));
    assert_eq!(swept.code, 0, "{}", swept.err);

    let absent = sandbox.author("plugin install my_init@2");
    assert_eq!(absent.code, 2, "{}", absent.err);
    assert!(
        absent
            .err
            .contains("candidate versions found which didn't match: 0.1.0"),
        "{}",
        absent.err
    );
}

fn cargo(words: &[&str], paths: &[&Path]) {
    let mut command = Command::new(env!("CARGO"));
    command.args(words).args(paths);
    run(command.current_dir(workspace()));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
}

#[test]
fn crates_that_cannot_be_made_or_installed() {
    let sandbox = Sandbox::new();
    sandbox.write("there/Cargo.toml", "");
    sandbox.write(
        "binary/Cargo.toml",
        "[package]\nname = \"binary\"\nedition = \"2024\"\n[workspace]\n",
    );
    sandbox.write("binary/src/lib.rs", "");
    let lines: Vec<String> = [
        "plugin new init 2nd",
        "plugin new init there --api .",
        "plugin new init there --api API",
        "plugin install ./absent",
        "plugin install binary",
    ]
    .map(|words| {
        let api = workspace().join("plugin-api").display().to_string();
        let outcome = sandbox.author(&words.replace("API", &api));
        assert_eq!(outcome.code, 2, "{words}: {}", outcome.err);
        format!("{words}\n  => {}", outcome.err.lines().last().unwrap())
    })
    .into();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn a_lock_lets_nothing_else_in() {
    let sandbox = Sandbox::new();
    let run = small("--locked --init gaussian");
    let refused = sandbox.lorahost(&run).refused().to_owned();
    assert!(refused.contains("lorahost.lock is not there"), "{refused}");

    let locked = sandbox.lorahost("plugin lock");
    assert_eq!(locked.code, 0, "{}", locked.err);
    let outcome = sandbox.lorahost(&run);
    assert_eq!(outcome.code, 0, "{}", outcome.err);

    // Another file with the same component: found first, and not in the lock.
    let other = run.replace("gaussian", "ones") + " --plugin TEST/two_of_a_kind";
    let refused = sandbox.lorahost(&other).refused().to_owned();
    assert!(refused.contains("is not in lorahost.lock"), "{refused}");
}
