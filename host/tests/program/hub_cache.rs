//! The cache that all programs of the hub share, and what is told while files come into it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::hub_server::{Fault, Repository, hash};
use crate::hub_world::{WEIGHTS, World, files_of};
use crate::processes::Running;
use crate::sandbox::{python, small};

#[test]
fn a_cache_in_part_says_what_it_lacks() {
    let world = World::new();
    let error = world.sandbox.lorahost(&small("--model org/tiny"));
    let error = error.refused().to_owned();
    assert!(
        error.contains("HF_HUB_OFFLINE is set") && error.contains("all of it"),
        "{error}"
    );
    assert_eq!(world.run("--model org/tiny --data org/topics").code, 0);

    // As another program of the hub would have left it.
    for repository in ["models--org--tiny", "datasets--org--topics"] {
        fs::remove_dir_all(world.cached(repository).join("listings")).unwrap();
    }
    let flags = small("--model org/tiny --data org/topics --output again");
    let again = world.sandbox.lorahost(&flags);
    assert_eq!(again.code, 0, "{}", again.err);

    fs::remove_file(world.cached_model(WEIGHTS).canonicalize().unwrap()).unwrap();
    let flags = small("--model org/tiny --output part");
    let error = world.sandbox.lorahost(&flags).refused().to_owned();
    assert!(error.contains("lacks model.safetensors"), "{error}");
    let gone = world.run_with(
        "--model org/tiny --output part",
        &[("HF_ENDPOINT", "http://127.0.0.1:9")],
    );
    assert_eq!(gone.code, 1);
    assert!(
        gone.err.contains("the cache lacks model.safetensors"),
        "{}",
        gone.err
    );
}

#[test]
fn two_processes_fetch_a_file_once() {
    let world = World::new();
    world.server.fault(WEIGHTS, Fault::Slow);
    let start = |output: &str| {
        let flags = small(&format!("--model org/tiny --output {output}"));
        world.start(&flags, &[])
    };
    let both = [start("one"), start("two")];
    for outcome in both.map(|child| world.sandbox.end(child)) {
        assert_eq!(outcome.code, 0, "{}", outcome.err);
    }
    let seen = world.server.seen();
    assert_eq!(seen.iter().filter(|seen| seen.on_cdn).count(), 1);
}

/// What the hub's own client leaves of a commit in a folder of the cache.
fn lay_out(folder: &Path, commit: &str, files: Vec<(String, Vec<u8>)>) {
    let snapshot = folder.join("snapshots").join(commit);
    for folder in [&snapshot, &folder.join("blobs"), &folder.join("refs")] {
        fs::create_dir_all(folder).unwrap();
    }
    for (name, bytes) in files {
        let blob = hash(&bytes);
        fs::write(folder.join("blobs").join(&blob), bytes).unwrap();
        symlink(format!("../../blobs/{blob}"), snapshot.join(name)).unwrap();
    }
    fs::write(folder.join("refs/main"), commit).unwrap();
}

/// Trains with what the cache holds, offline and online, and asserts that it is what `model` and `data` hold and that
/// nothing more came.
fn trains_from_the_cache(world: &World) {
    let expected = world.sandbox.train_one("--output local");
    let flags = "--model org/tiny --data org/topics --output offline";
    let offline = world.sandbox.train_one(flags);
    assert_eq!(offline.record.spec.id, expected.record.spec.id);
    let revisions = offline.record.result.provenance.revisions;
    assert_eq!(revisions.model.as_ref(), Some(&world.model));
    assert_eq!(revisions.data.as_ref(), Some(&world.data));

    world.server.seen();
    let online = world.run("--model org/tiny --data org/topics --output online");
    assert_eq!(online.code, 0, "{}", online.err);
    let seen = world.server.seen();
    assert!(
        seen.iter().all(|seen| seen.path.starts_with("/api/")),
        "{seen:?}"
    );
}

#[test]
fn a_cache_that_another_client_laid_out_is_used_as_it_is() {
    let world = World::new();
    for (folder, commit, local) in [
        ("models--org--tiny", &world.model, "model"),
        ("datasets--org--topics", &world.data, "data"),
    ] {
        let files = files_of(&world.sandbox.path(local));
        lay_out(&world.cached(folder), commit, files);
    }
    trains_from_the_cache(&world);
}

#[test]
fn the_hubs_own_client_and_this_one_share_a_cache() {
    let test = "the_hubs_own_client_and_this_one_share_a_cache";
    let client =
        |arguments: &[&OsStr]| python(test, "huggingface_hub", "hub_download.py", arguments);
    let world = World::new();
    let (home, endpoint) = (world.sandbox.path("hf"), world.server.endpoint());
    if client(&[home.as_ref(), endpoint.as_ref()]).is_none() {
        return;
    }
    trains_from_the_cache(&world);

    let world = World::new();
    assert_eq!(world.run("--model org/tiny --data org/topics").code, 0);
    let found = client(&[world.sandbox.path("hf").as_ref()]).unwrap();
    assert_eq!(found.lines().count(), 6, "{found}");
    for path in found.lines().map(Path::new) {
        let name = path.file_name().unwrap();
        let local = ["model", "data"].map(|folder| world.sandbox.path(folder).join(name));
        let local = local.iter().find(|path| path.exists()).unwrap();
        assert!(
            fs::read(path).unwrap() == fs::read(local).unwrap(),
            "{name:?}"
        );
    }
}

#[test]
fn a_branch_and_a_tag_are_commits_of_their_own() {
    let world = World::new();
    let (main, rows) = (
        files_of(&world.sandbox.path("model")),
        files_of(&world.sandbox.path("data")),
    );
    let mut other = main.clone();
    for (name, bytes) in &mut other {
        if name == WEIGHTS {
            // The sign of the last value.
            *bytes.last_mut().unwrap() ^= 0x80;
        }
    }
    let mut fewer = rows.clone();
    fewer.retain(|(name, _)| name != "validation.csv");
    let models = Repository::of(main).with("v1.0", other.clone());
    let data = Repository::of(rows).with("trial/fewer", fewer);
    let commits = [&models.revisions["v1.0"], &data.revisions["trial/fewer"]];
    let commits = commits.map(|revision| Some(revision.commit.clone()));
    world.server.put("models/org/tiny", models);
    world.server.put("datasets/org/topics", data);

    let newest = world.sandbox.train_one("--output newest");
    let flags = "--model org/tiny@v1.0 --data org/topics@trial/fewer --output";
    let outcome = world.run(&format!("{flags} online"));
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    // Named once, they are known.
    let offline = world.sandbox.train_one(&format!("{flags} offline"));
    for run in [&world.sandbox.runs("online")[0], &offline] {
        assert_ne!(run.record.spec.id, newest.record.spec.id);
        assert_eq!(run.record.spec.id, offline.record.spec.id);
        assert_eq!(run.record.spec.spec.model.path, "org/tiny@v1.0");
        let revisions = &run.record.result.provenance.revisions;
        assert_eq!([&revisions.model, &revisions.data], commits.each_ref());
    }
    let commit = commits[0].as_ref().unwrap();
    let weights = world.cached(&format!("models--org--tiny/snapshots/{commit}/{WEIGHTS}"));
    assert!(other.contains(&(WEIGHTS.to_owned(), fs::read(weights).unwrap())));
    let kept = world.cached("datasets--org--topics/refs/trial/fewer");
    assert_eq!(fs::read_to_string(kept).ok(), commits[1]);
}

#[test]
fn a_transfer_is_told_in_the_log() {
    let world = World::new();
    let weights = fs::read(world.sandbox.path("model").join(WEIGHTS)).unwrap();
    world.gathered(&weights[..5000]);
    let outcome = world.run("--model org/tiny -v");
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    let size = weights.len();
    for line in [
        "fetching org/tiny/config.json, ".to_owned(),
        format!("fetching org/tiny/{WEIGHTS}, {size} bytes, from byte 5000 on\n"),
        format!("org/tiny/{WEIGHTS} is here\n"),
    ] {
        assert_eq!(outcome.err.matches(&line).count(), 1, "{}", outcome.err);
    }
    let silent = World::new().run("--model org/tiny");
    assert!(!silent.err.contains("org/tiny"), "{}", silent.err);
}

#[test]
fn a_terminal_shows_how_far_a_transfer_is() {
    for (flags, shown) in [("", true), ("-q", false)] {
        let world = World::new();
        // So that the bar stands for a while.
        world.server.fault(WEIGHTS, Fault::Slow);
        let (mut terminal, other_end) = terminal();
        let program = {
            let mut command = world.command(&small(&format!("--model org/tiny {flags}")), &[]);
            command.env("TERM", "xterm").stderr(other_end);
            Running::new(command.spawn().unwrap())
        };
        let mut seen = Vec::new();
        // Its end is an error: the program was the last to have the other one.
        let _ = terminal.read_to_end(&mut seen);
        assert_eq!(program.output().status.code(), Some(0));
        let seen = String::from_utf8_lossy(&seen);
        let bar = format!("org/tiny/{WEIGHTS} ");
        let bars = seen.split('\r').filter(|line| line.contains(&bar));
        let of_all = bars.filter(|line| line.contains("B/") && line.contains("to go"));
        assert_eq!(of_all.count() > 0, shown, "{flags}: {seen}");
    }
}

/// A terminal of 120 columns: what it shows is read from the first end, the second is a program's.
fn terminal() -> (File, File) {
    let first = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&first).unwrap();
    unlockpt(&first).unwrap();
    let size = Winsize {
        ws_row: 24,
        ws_col: 120,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&first, size).unwrap();
    let name = ptsname(&first, Vec::new()).unwrap();
    let second = File::options().write(true).open(name.to_str().unwrap());
    (first.into(), second.unwrap())
}
