//! Every message, as a user sees it.

use std::fmt::Write as _;
use std::path::Path;

use clap::Parser;
use lorahost::cli::args::Cli;
use lorahost::spec::Layer;

use crate::catalogue::{plan, plan_file, plan_with};

/// Each line with the error that it must give.
fn messages<'a>(
    cases: impl IntoIterator<Item = &'a str>,
    plan: impl Fn(&str) -> Result<lorahost::spec::Plan, lorahost::spec::SpecError>,
) -> String {
    let mut text = String::new();
    for case in cases {
        let error = plan(case).map(|plan| plan.runs.len()).expect_err(case);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{case}\n  => {error}\n");
    }
    text
}

#[test]
fn host_values() {
    let cases = [
        "--rank 0",
        "--rank 4.0",
        "--rank 4,sixteen",
        "--rank range(4)",
        "--rank logspace(4,64,4)",
        "--lrs logspce(1e-5,1e-2,7)",
        "--lrs logspace(1e-5,1e-2)",
        "--lrs range(1e9)",
        "--lrs 0",
        "--lrs nan",
        "--lrs -0.001",
        "--lrs fast",
        "--epochs 0",
        "--epochs 1000001",
        "--batch-size 0",
        "--dropout 1",
        "--dropout 0.999999",
        "--lora-dropout -0.1",
        "--train-size 0",
        "--max-length 0",
        "--max-steps 0",
        "--eval-every 0",
        "--grad-clip 0",
        "--accumulate 0",
        "--seed -1",
        "--seed 99999999999999999999",
        "--schedule cosin",
        "--save all",
        "--head-mode frozen",
        "--targets (query",
        "--device gpu",
        "--threads 0",
        "--workers 1 --workers 2",
        "--warmup 100 --max-steps 100",
        "--warmup 20 --train-size 100 --batch-size 10 --epochs 1",
        "--set data.validation_fraction=1",
        "--set train.lr_a=-1",
        "--set lora.init_scale_a=0",
    ];
    insta::assert_snapshot!(messages(cases, plan));
}

#[test]
fn keys() {
    let cases = [
        "--set lora.rnk=4",
        "--set rank=4",
        "--set lrs=4",
        "--set zzz.qqq=4",
        "--set init.a.b=4",
        "--set lora.rank",
        "--set =4",
        "--set lora.rank=[]",
        "--set init=[]",
        "--set init.std_a=[]",
        "--set lora.rank=[[4]]",
        "--set lora.rank=[4,x]",
        "--set lora.rank=4,[8]",
        "--set lora.rank=4,",
        "--set run.threads=1,2",
        "--set init.std_a=logspace(0,1,3)",
        "--set run.threads=[1,2]",
        "--rank 4 --set lora.rank=8",
        "--set train.lr=1 --set train.lr=2",
        "--full-finetune --with-full-finetune",
        "--alpha 8 --set alpha.alpha=16",
        "--init uniform --set init=gaussian",
        "--model m",
        "--data d",
        "--train-file f",
        "--config no/such/file.toml",
    ];
    insta::assert_snapshot!(messages(cases, plan));
}

#[test]
fn components() {
    let cases = [
        "--init gausian",
        "--init pissa",
        "--optimizer lion",
        "--head regression",
        "--alpha-policy rslora",
        "--init gaussian:std=1",
        "--init gaussian:variance=1",
        "--init uniform:std_a=1",
        "--init gaussian:std_a=-1",
        "--init gaussian:std_a=nan",
        "--init gaussian:std_b=11",
        "--init gaussian:unit=fanin",
        "--init gaussian:compensate=yes",
        "--init gaussian:std_a",
        "--init gaussian:std_a=1,std_a=2",
        "--init gaussian:std_a=1 --set init.std_a=2",
        "--init :std_a=1",
        "--init gaussian uniform --set init.std_a=2",
        "--set init.std_a=0.1",
        "--head masked-lm:every=2.5",
        "--head masked-lm:every=1",
        "--alpha-policy proportional --alpha 32",
        "--optimizer sgd --weight-decay 0.1",
        "--full-finetune --init gausian",
        "--set init={std_a=1}",
        "--set init=[{std_a=1}]",
    ];
    insta::assert_snapshot!(messages(cases, plan));
}

#[test]
fn no_plugins_at_all() {
    insta::assert_snapshot!(messages([""], |line| plan_with(line, &Vec::new())));
}

#[test]
fn too_many_runs() {
    let numbers = |n: usize| (1..=n).map(|i| i.to_string()).collect::<Vec<_>>().join(" ");
    let line = format!(
        "--rank {} --seed {} --epochs {}",
        numbers(200),
        numbers(200),
        numbers(3)
    );
    insta::assert_snapshot!(plan(&line).map(|plan| plan.runs.len()).unwrap_err());
}

#[test]
fn too_many_combinations_of_one_components_parameters() {
    let numbers = (1..=1000)
        .map(|i| (f64::from(i) / 100.0).to_string())
        .collect::<Vec<_>>()
        .join(",");
    let line = format!("--init gaussian --set init.std_a=[{numbers}] init.std_b=[{numbers}]");
    insta::assert_snapshot!(plan(&line).map(|plan| plan.runs.len()).unwrap_err());
}

#[test]
fn experiment_files() {
    let cases = [
        "[train]\nlr = 1e-3\nepochs = ",
        "[train]\nlr = 1e-3\nlr = 1e-4",
        "[train]\nlr = 'fast'",
        "[train]\n\nlrr = 1e-3",
        "[trian]\nlr = 1e-3",
        "[run]\nthreads = [1, 2]",
        "alpha = 32",
        "init = true",
        "train = 3",
        "lora.rank = 4.0",
        "seed = 99999999999999999999",
        "data.text_column = 3",
        "[init]\nname = 'gaussian'\nstd_a = 'wide'",
        "[init]\nname = 'gaussian'\ncompensate = 1",
        "[init]\nname = 'gaussian'\n\nstdd_a = 1",
        "[[init]]\nname = 'uniform'\n[[init]]\nstd_a = 1",
        "head = 'masked-lm'\nhead.every = 2",
        "[head]\nname = 'masked-lm'\nevery = 3.0",
        "[model]\npath = 'm'",
        "[lora]\ntargets = 'q('",
        "train.lr = 'logspace(1e-5, 1e-2)'",
        "pairs = 3",
        "pairs = []",
        "[[pairs]]\nlora.rank = [4, 16]\nalpha.alpha = [8, 32, 64]",
        "[[pairs]]\nlora.rank = 4\ntrain.lr = 'logspace(1e-4, 1e-3, 3)'",
        "[[pairs]]\nlora.rank = []\nalpha.alpha = []",
        "[[pairs]]\nlora.rank = [4, 16]\n[[pairs]]\nalpha.alpha = [8, 32]",
        "[[pairs]]",
        "[[pairs]]\nlora.rnk = [4, 16]\nalpha.alpha = [8, 32]",
        "[[pairs]]\nlora.rank = [4, 16]\nalpha.alpa = [8, 32]",
        "[[pairs]]\nlora.rank = [4, 16]\nrun.threads = [1, 2]",
        "lora.rank = 4\n[[pairs]]\nlora.rank = [4, 16]\nalpha.alpha = [8, 32]",
        "[[pairs]]\nlora.rank = [4, 16]\nseed = [1, 2]\n[[pairs]]\nlora.rank = [4, 16]\nalpha.alpha = [8, 32]",
        "variants = ['lora', 'full']",
        "[[variants]]\nmethd = 'full'",
        "[[variants]]\nrun.workers = 2",
        "[[variants]]\npairs = 1",
        "[[exclude]]",
        "[[exclude]]\nlora.rnk = 4",
        "[[exclude]]\nlora.rank = 'four'",
        "[[exclude]]\ninit = 'gausian'",
        "[[exclude]]\nalpha.alpa = 8",
        "[[exclude]]\ninit = 'gaussian:std = 1'",
        "[[exclude]]\nmethod = 'lora'",
        "[[variants]]\nmodel.adapter = 'a'\nlora.rank = 4\n[[variants]]\nmethod = 'full'",
        "[[pairs]]\nmodel.adapter = ['a', 'b']\ninit = ['uniform', 'gaussian']",
    ];
    insta::assert_snapshot!(messages(cases, plan_file));
}

#[test]
fn a_file_that_is_not_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("e.toml");
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    let message = Layer::from_file(&path).unwrap_err().to_string();
    let message = message.replace(&folder.path().display().to_string(), "FOLDER");
    insta::assert_snapshot!(message);
    assert!(Layer::from_file(Path::new("/")).is_err());
}

#[test]
fn arguments_that_clap_refuses() {
    let cases = [
        "--lr 1e-4",
        "--output a b",
        "--rank",
        "-v -q",
        "plugin inspect",
        "--rank 4 plugin list",
    ];
    let mut text = String::new();
    for case in cases {
        let words = std::iter::once("lorahost").chain(case.split_whitespace());
        match Cli::try_parse_from(words) {
            Ok(_) => writeln!(text, "{case}\n  => understood\n").unwrap(),
            Err(error) => {
                assert_eq!(error.exit_code(), 2, "{case}");
                writeln!(text, "{case}\n{error}").unwrap();
            }
        }
    }
    insta::assert_snapshot!(text);
}
