//! Every init scheme of this repository in whole runs: what the model starts as, what is kept for other runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use lorahost::record::Status;

use crate::sandbox::{Run, Sandbox, small};

const SCHEMES: [&str; 12] = [
    "uniform",
    "gaussian",
    "init-b",
    "orthogonal",
    "pissa",
    "milora",
    "olora",
    "mica",
    "eva",
    "corda",
    "lora-ga",
    "lora-one",
];

/// Flags that name the plugin files of these schemes.
fn plugins(schemes: &[&str]) -> String {
    let file = |scheme: &&str| format!(" PLUGIN/{}_init", scheme.replace('-', "_"));
    format!("--plugin{}", schemes.iter().map(file).collect::<String>())
}

fn by_scheme(runs: Vec<Run>) -> BTreeMap<String, Run> {
    let name = |run: &Run| run.record.spec.spec.init.as_ref().unwrap().name.clone();
    runs.into_iter().map(|run| (name(&run), run)).collect()
}

#[test]
fn every_scheme_trains_and_all_but_one_leave_the_model_as_it_was() {
    let sandbox = Sandbox::new();
    let flags = format!(
        "{} --init {} --model builtin:tiny-bert --data builtin:topics --train-size 64 --validation-size 32 \
         --test-size 8",
        plugins(&SCHEMES),
        SCHEMES.join(" ")
    );
    let outcome = sandbox.lorahost(&small(&flags));
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    assert!(!outcome.err.contains("were not dropped"), "{}", outcome.err);
    let runs = by_scheme(sandbox.runs("out"));
    assert_eq!(runs.len(), SCHEMES.len());
    let untrained = |scheme: &str| {
        runs[scheme]
            .record
            .result
            .measured
            .untrained_val_loss
            .unwrap()
    };
    let plain = untrained("uniform");
    for (scheme, run) in &runs {
        assert_eq!(run.record.result.status, Status::Completed, "{scheme}");
        let losses = run.losses();
        assert!(
            losses.len() == 8 && losses.iter().all(|loss| loss.is_finite()),
            "{scheme}"
        );
        let off = (untrained(scheme) - plain).abs();
        match scheme.as_str() {
            "lora-one" => assert!(off > 1e-4, "{scheme} moves the model"),
            _ => assert!(
                off <= 1e-5 * plain,
                "{scheme}: {} is not {plain}",
                untrained(scheme)
            ),
        }
    }
    // It moves it down the gradient of these very batches.
    assert!(runs["lora-one"].losses()[0] < runs["uniform"].losses()[0]);
}

/// What plugins keep, with the times at which it was written.
fn kept(sandbox: &Sandbox, output: &str) -> BTreeMap<PathBuf, SystemTime> {
    let entries = |folder: PathBuf| {
        fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
    };
    let folders = entries(sandbox.path(output).join("cache")).filter(|path| path.is_dir());
    let files = folders.flat_map(entries);
    files
        .map(|path| {
            let written = fs::metadata(&path).unwrap().modified().unwrap();
            (path, written)
        })
        .collect()
}

#[test]
fn what_a_scheme_made_serves_other_ranks_runs_and_workers() {
    let sandbox = Sandbox::new();
    let schemes = ["pissa", "corda", "lora-ga"];
    let flags = |rank: &str, more: &str| {
        let names = schemes.join(" ");
        format!("{} --init {names} --rank {rank} {more}", plugins(&schemes))
    };
    sandbox.train(&flags("4", "--workers 1"));
    let first = kept(&sandbox, "out");
    let layers = 12;
    assert_eq!(
        first.len(),
        schemes.len() * layers,
        "one file a scheme and layer"
    );

    let all = sandbox.train(&flags("2", "--workers 2 --lrs 1e-3 3e-3"));
    assert_eq!(kept(&sandbox, "out"), first, "nothing was made again");

    let alone = sandbox.train(&flags("2", "--workers 1 --output alone"));
    assert_eq!(alone.len(), schemes.len());
    for run in alone {
        let same = all
            .iter()
            .find(|other| other.record.spec.id == run.record.spec.id);
        assert_eq!(
            same.unwrap().numbers(),
            run.numbers(),
            "what was kept is what was made"
        );
    }

    sandbox.train(&flags("2", "--seed 7"));
    assert_eq!(
        kept(&sandbox, "out").len(),
        2 * first.len(),
        "another seed, another order of data"
    );
}

#[test]
fn ranks_move_between_layers() {
    let sandbox = Sandbox::new();
    let flags = format!("{} --init eva eva:redistribute=true", plugins(&["eva"]));
    let runs = sandbox.train(&flags);
    let [plain, moved] = &runs[..] else {
        panic!("{} runs", runs.len())
    };
    assert_ne!(plain.size(), moved.size());
    assert_eq!(moved.record.result.status, Status::Completed);
}

#[test]
fn layers_with_too_few_directions_are_filled_up_and_it_is_said() {
    let sandbox = Sandbox::new();
    let schemes = [
        "pissa", "milora", "olora", "mica", "corda", "lora-ga", "lora-one",
    ];
    let names = schemes.join(" ");
    let flags = format!(
        "{} --init {names} --head-mode lora --rank 8 -v",
        plugins(&schemes)
    );
    let outcome = sandbox.lorahost(&small(&flags));
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    let told = outcome
        .err
        .matches("`classifier` has too few directions for rank 8")
        .count();
    assert_eq!(told, schemes.len(), "{}", outcome.err);
}
