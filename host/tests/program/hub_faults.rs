//! What can go wrong between a hub and the cache: broken transfers, servers that lie, and names that lead elsewhere.

use std::fs;

use crate::hub_server::{Fault, Repository};
use crate::hub_world::{WEIGHTS, World, files_of, transfers};
use crate::sandbox::{Sandbox, small};

#[test]
fn a_broken_transfer_goes_on_where_it_ended() {
    let world = World::new();
    world.server.fault(
        WEIGHTS,
        Fault::Cut {
            after: 4000,
            times: 2,
        },
    );
    let outcome = world.run("--model org/tiny");
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    let seen = world.server.seen();
    let on_cdn = seen.iter().filter(|seen| seen.on_cdn);
    let ranges: Vec<_> = on_cdn.map(|seen| seen.range.as_deref()).collect();
    assert_eq!(ranges, [None, Some("bytes=4000-"), Some("bytes=8000-")]);
}

#[test]
fn what_came_before_a_failure_is_kept_for_the_next_call() {
    let world = World::new();
    world.server.fault(
        WEIGHTS,
        Fault::Cut {
            after: 0,
            times: 100,
        },
    );
    let error = world.fails(1, "--model org/tiny");
    assert!(error.contains("broke off at 0 of"), "{error}");
    let weights = fs::read(world.sandbox.path("model").join(WEIGHTS)).unwrap();
    let incomplete = world.gathered(&weights[..5000]);
    world.server.heal();
    world.server.seen();
    let outcome = world.run("--model org/tiny");
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    let seen = world.server.seen();
    let transfer = seen.iter().find(|seen| seen.on_cdn).unwrap();
    assert_eq!(transfer.range.as_deref(), Some("bytes=5000-"));
    assert!(!incomplete.exists());
}

#[test]
fn the_wrong_beginning_and_a_server_without_ranges_cost_a_new_start() {
    for fault in [Fault::NoRange, Fault::Slow] {
        let world = World::new();
        let bytes = fs::read(world.sandbox.path("model").join(WEIGHTS)).unwrap();
        world.gathered(&[b'x'; 5000]);
        world.server.fault(WEIGHTS, fault);
        let outcome = world.run("--model org/tiny");
        assert_eq!(outcome.code, 0, "{}", outcome.err);
        assert_eq!(fs::read(world.cached_model(WEIGHTS)).unwrap(), bytes);
    }
}

#[test]
fn bytes_with_another_hash_are_thrown_away() {
    for (file, algorithm) in [(WEIGHTS, "the sha256"), ("vocab.txt", "the git hash")] {
        let world = World::new();
        world.server.fault(file, Fault::Wrong);
        let error = world.fails(1, "--model org/tiny");
        assert!(
            error.contains(algorithm) && error.contains("thrown away"),
            "{error}"
        );
        assert!(!world.cached_model(file).exists());
        let left = world.blobs();
        assert!(
            !left.iter().any(|name| name.ends_with(".incomplete")),
            "{left:?}"
        );
    }
}

#[test]
fn an_endless_answer_is_refused() {
    let world = World::new();
    world.server.fault(WEIGHTS, Fault::Endless);
    let error = world.fails(1, "--model org/tiny");
    assert!(error.contains("is larger than"), "{error}");
    for name in world.blobs() {
        let blob = world.cached("models--org--tiny/blobs").join(name);
        assert!(blob.metadata().unwrap().len() < 200_000);
    }
    world.server.fault("listing", Fault::Endless);
    let error = world.fails(1, "--model org/tiny");
    assert!(
        error.contains("the listing of a repository may have"),
        "{error}"
    );
}

#[test]
fn a_transfer_that_hardly_brings_anything_ends() {
    let world = World::new();
    let drops = Fault::Cut {
        after: 10,
        times: 1000,
    };
    world.server.fault(WEIGHTS, drops);
    let error = world.fails(1, "--model org/tiny");
    assert!(error.contains("broke off at 30 of"), "{error}");
    assert!(error.contains("3 times"), "{error}");

    // One that brings something each time, and each time ends.
    let mut files = files_of(&world.sandbox.path("model"));
    files.retain(|(name, _)| name != WEIGHTS);
    files.push((WEIGHTS.to_owned(), vec![b'x'; 8 << 20]));
    world.server.put("models/org/large", Repository::of(files));
    let pieces = Fault::Cut {
        after: 70_000,
        times: 1000,
    };
    world.server.fault(WEIGHTS, pieces);
    let error = world.fails(1, "--model org/large");
    assert!(error.contains("broke off at 7000000 of"), "{error}");
    assert!(error.contains("100 times"), "{error}");
}

#[test]
fn a_header_that_is_no_header_is_not_fetched() {
    let world = World::new();
    let inspected = |weights: &[u8]| {
        let mut files = files_of(&world.sandbox.path("model"));
        files.retain(|(name, _)| name != WEIGHTS);
        files.push((WEIGHTS.to_owned(), weights.to_vec()));
        world.server.put("models/org/other", Repository::of(files));
        let outcome = world.online("model inspect org/other", &[]);
        assert_eq!(outcome.err.lines().count(), 1, "{}", outcome.err);
        (outcome.code, outcome.err)
    };
    let of_length = |length: u64| {
        let mut weights = vec![b'x'; 20_000];
        weights[..8].copy_from_slice(&length.to_le_bytes());
        weights
    };
    for (weights, reason) in [
        (
            of_length(0),
            "has 20000 bytes, and its header is said to have 0",
        ),
        (
            of_length(19_993),
            "has 20000 bytes, and its header is said to have 19993",
        ),
        (
            of_length(1 << 60),
            "its header is said to have 1152921504606846976",
        ),
        (
            b"short".to_vec(),
            "has 5 bytes, too few for a safetensors file",
        ),
    ] {
        let (code, error) = inspected(&weights);
        assert_eq!(code, 1, "{error}");
        assert!(error.contains("hub: model.safetensors "), "{error}");
        assert!(error.contains(reason), "{error}");
    }
    let (code, error) = inspected(&of_length(100));
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("is not a safetensors file"), "{error}");
}

#[test]
fn a_part_that_was_not_asked_for_is_refused() {
    let world = World::new();
    for (fault, reason) in [
        (
            Fault::Shifted,
            "asked for bytes=0-7, it sends a part and says of it \"bytes 1-8/",
        ),
        (Fault::Longer, "asked for 8 bytes, it sends more"),
    ] {
        world.server.fault(WEIGHTS, fault);
        let outcome = world.online("model inspect org/tiny", &[]);
        assert_eq!(outcome.code, 1, "{}", outcome.err);
        assert!(outcome.err.contains(reason), "{}", outcome.err);
    }
    // Nor does a transfer go on with it.
    let weights = fs::read(world.sandbox.path("model").join(WEIGHTS)).unwrap();
    world.gathered(&weights[..5000]);
    world.server.fault(WEIGHTS, Fault::Shifted);
    let error = world.fails(1, "--model org/tiny");
    assert!(
        error.contains("asked for bytes=5000-, it sends a part"),
        "{error}"
    );
}

#[test]
fn a_huge_file_is_refused_before_it_comes() {
    let world = World::new();
    for (file, reason) in [
        (
            "vocab.txt",
            "is larger than the 268435456 bytes that a file of its kind may have",
        ),
        (WEIGHTS, "1152921504606846976 are to come: set HF_HOME"),
    ] {
        world.server.heal();
        world.server.fault(file, Fault::Said(1 << 60));
        let error = world.fails(1, "--model org/tiny");
        assert!(error.contains(reason), "{error}");
        let seen = world.server.seen();
        let mut sent = transfers(&seen).into_iter();
        assert!(sent.all(|seen| !seen.path.contains(file)), "{seen:?}");
    }
}

#[test]
fn redirects_are_bounded_and_lead_to_servers_alone() {
    let world = World::new();
    for (place, reason) in [
        ("file:///etc/passwd", "no address of http or https"),
        ("http://127.0.0.1:9/x", "cannot reach"),
    ] {
        world
            .server
            .fault(WEIGHTS, Fault::Elsewhere(place.to_owned()));
        let error = world.fails(1, "--model org/tiny");
        assert!(error.contains(reason), "{error}");
    }
    let moved = |to| Repository {
        moved_to: Some(to),
        ..Repository::default()
    };
    world
        .server
        .put("models/org/loop", moved("models/org/loop"));
    let error = world.fails(1, "--model org/loop");
    assert!(error.contains("too many"), "{error}");
    world.server.put(
        "models/org/away",
        moved("http://hub.example/api/models/org/away"),
    );
    let error = world.fails(1, "--model org/away");
    assert!(error.contains("answers 307"), "{error}");
}

#[test]
fn names_that_lead_out_of_the_cache_are_refused() {
    let world = World::new();
    let mut files = files_of(&world.sandbox.path("model"));
    files.push(("../../../../escaped".to_owned(), b"x".to_vec()));
    world
        .server
        .put("models/org/listing", Repository::of(files));
    let error = world.fails(1, "--model org/listing");
    assert!(
        error.contains("escaped") && error.contains("leads out of its folder"),
        "{error}"
    );

    let mut files = files_of(&world.sandbox.path("model"));
    files.retain(|(name, _)| name != WEIGHTS);
    let index = r#"{"weight_map": {"a": "../../../../escaped"}}"#;
    files.push(("model.safetensors.index.json".to_owned(), index.into()));
    world.server.put("models/org/index", Repository::of(files));
    let error = world.fails(2, "--model org/index");
    assert!(
        error.contains("has no file `../../../../escaped`"),
        "{error}"
    );
    assert!(!world.sandbox.path("escaped").exists());
}

#[test]
fn a_hub_that_cannot_be_reached_is_a_failure_and_not_bad_input() {
    let sandbox = Sandbox::new();
    for endpoint in ["http://127.0.0.1:9", "http://no-such-host.invalid"] {
        let environment = [("HF_ENDPOINT", endpoint), ("HF_HUB_OFFLINE", "0")];
        let outcome = sandbox.lorahost_with(&small("--model org/tiny"), &environment);
        assert_eq!(outcome.code, 1, "{}", outcome.err);
        let error = &outcome.err;
        assert!(
            error.contains("cannot reach") && error.contains("HF_HUB_OFFLINE=1"),
            "{error}"
        );
    }
    let environment = [("HF_ENDPOINT", "hub.example"), ("HF_HUB_OFFLINE", "")];
    let outcome = sandbox.lorahost_with(&small("--model org/tiny"), &environment);
    assert!(outcome.refused().contains("HF_ENDPOINT"));
}

#[test]
fn a_busy_server_is_asked_again() {
    let world = World::new();
    world.server.fault("listing", Fault::Busy(2));
    let outcome = world.run("--model org/tiny");
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    // What is here serves while the hub is down; what is not is not.
    world.server.fault("listing", Fault::Busy(100));
    let outcome = world.run("--model org/tiny --output again");
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    let outcome = world.run("--data org/topics --output none");
    assert_eq!(outcome.code, 1);
    assert!(outcome.err.contains("it answers 503"), "{}", outcome.err);
}
