//! Claims of several processes, on one machine.

use std::{collections::BTreeSet, sync::Barrier, thread};

use super::*;

const LEASE: Duration = Duration::from_millis(400);

/// The claims of a process of another machine.
fn elsewhere(name: &str) -> Claims {
    let mut claims = Claims::new(LEASE);
    claims.own = Holder::of_machine(name);
    claims
}

fn taken(take: Take) -> Arc<Claim> {
    match take {
        Take::Mine(claim) => claim,
        Take::Held { .. } => panic!("it is held"),
    }
}

fn is_held(take: &Take) -> bool {
    matches!(take, Take::Held { .. })
}

/// Looks again and again until the run can be taken, and says after how long.
fn wait_for(claims: &Claims, path: &Path) -> (Arc<Claim>, Duration) {
    let started = Instant::now();
    loop {
        if let Take::Mine(claim) = claims.take(path).unwrap() {
            return (claim, started.elapsed());
        }
        assert!(started.elapsed() < Duration::from_secs(20), "it stays held");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The names that are left in the folder of claims.
fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder_of(path)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

fn claim_path(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("claims/00000000000000aa")
}

#[test]
fn a_run_is_taken_once_let_go_and_removed_when_done() {
    let folder = tempfile::tempdir().unwrap();
    let path = claim_path(&folder);
    let (one, two) = (elsewhere("one"), elsewhere("two"));
    let claim = taken(one.take(&path).unwrap());
    assert!(is_held(&two.take(&path).unwrap()));
    assert!(is_held(&one.take(&path).unwrap()), "not even by itself");
    drop(claim);
    let claim = taken(two.take(&path).unwrap());
    assert!(claim.renew());
    assert_eq!(names(&path), ["00000000000000aa.1", "00000000000000aa.2"]);
    claim.finish();
    assert_eq!(names(&path), [""; 0]);
}

#[test]
fn of_many_at_once_one_takes_it() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let path = claim_path(&folder);
        // The first is given back, so that successors are made at once too.
        drop(taken(elsewhere("first").take(&path).unwrap()));
        let barrier = Barrier::new(8);
        let takes: Vec<Take> = thread::scope(|scope| {
            let takers = (0..8).map(|number| {
                let (path, barrier) = (&path, &barrier);
                scope.spawn(move || {
                    let claims = elsewhere(&number.to_string());
                    barrier.wait();
                    claims.take(path).unwrap()
                })
            });
            let takers: Vec<_> = takers.collect();
            takers
                .into_iter()
                .map(|taker| taker.join().unwrap())
                .collect()
        });
        assert_eq!(takes.iter().filter(|take| !is_held(take)).count(), 1);
    }
}

#[test]
fn a_claim_expires_when_its_beat_stands_still_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = claim_path(&folder);
    let (one, two) = (elsewhere("one"), elsewhere("two"));
    let claim = taken(one.take(&path).unwrap());
    let started = Instant::now();
    while started.elapsed() < 2 * LEASE {
        assert!(claim.renew());
        assert!(is_held(&two.take(&path).unwrap()));
        thread::sleep(LEASE / 8);
    }
    let (next, waited) = wait_for(&two, &path);
    assert!(waited >= LEASE / 2, "after {waited:?}");
    assert!(next.renew());
    assert!(!claim.renew() && claim.lost(), "it was taken over");
    // What the first still does harms nobody.
    claim.finish();
    drop(claim);
    assert!(next.renew());
}

#[test]
fn wrong_clocks_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = claim_path(&folder);
    let (one, two) = (elsewhere("one"), elsewhere("two"));
    let claim = taken(one.take(&path).unwrap());
    let file = File::open(numbered(&path, 1)).unwrap();
    let now = std::time::SystemTime::now();
    let hour = Duration::from_hours(1);
    for time in [now - hour, now + hour, now - 24 * hour] {
        file.set_modified(time).unwrap();
        assert!(is_held(&two.take(&path).unwrap()));
        assert!(claim.renew());
    }
}

#[test]
fn who_was_kept_from_looking_begins_to_count_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = claim_path(&folder);
    let (one, two) = (elsewhere("one"), elsewhere("two"));
    let _claim = taken(one.take(&path).unwrap());
    assert!(is_held(&two.take(&path).unwrap()));
    thread::sleep(2 * LEASE);
    assert!(
        is_held(&two.take(&path).unwrap()),
        "the holder may have slept as well"
    );
    let (_, waited) = wait_for(&two, &path);
    assert!(waited >= LEASE / 2, "after {waited:?}");
}

#[test]
fn a_holder_that_wakes_up_keeps_its_run_or_sees_its_successor() {
    // The taker has made its decision, and the holder raises its beat before the successor is there.
    let folder = tempfile::tempdir().unwrap();
    let path = claim_path(&folder);
    let (one, two) = (elsewhere("one"), elsewhere("two"));
    let claim = taken(one.take(&path).unwrap());
    let (_, seen) = current(&path).unwrap().unwrap();
    assert!(claim.renew());
    assert_ne!(
        current(&path).unwrap().unwrap().1,
        seen,
        "so the taker gives way"
    );
    // The successor is there before the beat is raised: the holder gives way.
    let successor = two.make(&path, 2).unwrap().unwrap();
    assert!(!claim.renew());
    successor.withdraw();
    assert_eq!(names(&path), ["00000000000000aa.1"]);
    assert!(!claim.renew(), "lost is lost");
}

#[test]
fn what_is_no_claim_expires_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = claim_path(&folder);
    fs::create_dir(folder_of(&path)).unwrap();
    fs::write(numbered(&path, 1), "cut").unwrap();
    let (claim, waited) = wait_for(&elsewhere("one"), &path);
    assert!(waited >= LEASE / 2, "after {waited:?}");
    claim.finish();
    assert_eq!(names(&path), [""; 0]);
}

#[test]
fn a_claim_of_a_process_here_that_is_gone_is_taken_over_soon() {
    let folder = tempfile::tempdir().unwrap();
    let path = claim_path(&folder);
    let mut gone = Claims::new(Duration::from_hours(1));
    gone.own = Holder::gone();
    std::mem::forget(taken(gone.take(&path).unwrap()));
    let claims = Claims::new(Duration::from_hours(1));
    assert!(matches!(
        claims.take(&path).unwrap(),
        Take::Held { deserted: true }
    ));
    let (_, waited) = wait_for(&claims, &path);
    assert!(waited >= ORPHANS_END, "after {waited:?}");
}

#[test]
fn claims_of_runs_that_are_done_are_tidied_away_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = claim_path(&folder);
    std::mem::forget(taken(elsewhere("killed").take(&path).unwrap()));
    let other = folder.path().join("claims/00000000000000bb");
    let _claim = taken(elsewhere("alive").take(&other).unwrap());
    tidy(folder_of(&path), |run| run == "00000000000000aa");
    assert_eq!(names(&path), ["00000000000000bb.1"]);
}

#[test]
fn without_links_exclusive_creation_takes_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.1");
    let claims = elsewhere("one");
    let note = claims
        .make(&folder.path().join("other"), 1)
        .unwrap()
        .unwrap();
    let note = locked(&note.held).note.clone();
    assert!(create_exclusively(&path, &note).unwrap().is_some());
    assert!(create_exclusively(&path, &note).unwrap().is_none());
    assert_eq!(Note::parse(&fs::read(path).unwrap()), Some(note));
}
