//! Every case of `fuzz/corpus` and `fuzz/found` goes through its target, as `scripts/fuzz` would have it.

#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use targets::TARGETS;

fn cases(target: &str) -> io::Result<Vec<PathBuf>> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let mut cases = Vec::new();
    for folder in ["corpus", "found"] {
        let folder = fuzz.join(folder).join(target);
        if folder.is_dir() {
            for entry in fs::read_dir(folder)? {
                cases.push(entry?.path());
            }
        }
    }
    Ok(cases)
}

#[test]
fn every_case_is_read_or_refused() -> io::Result<()> {
    for (name, target) in TARGETS {
        let cases = cases(name)?;
        assert!(!cases.is_empty(), "{name} has no corpus");
        for case in cases {
            println!("{}", case.display());
            target(&fs::read(case)?);
        }
    }
    Ok(())
}

#[test]
fn every_target_can_be_fuzzed() -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/fuzz_targets");
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        found.extend(
            path.file_stem()
                .map(|name| name.to_string_lossy().into_owned()),
        );
    }
    assert_eq!(
        found,
        TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect()
    );
    Ok(())
}
