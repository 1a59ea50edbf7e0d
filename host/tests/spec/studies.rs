//! Experiment files that vary some things together, or only in part.

use std::collections::BTreeSet;
use std::path::Path;

use lorahost::spec::{Layer, Origin, Plan, RawSpec};

use serde_json::json;

use crate::catalogue::{plan, plan_file, plan_file_under, standard};

fn command_line(words: &[&str]) -> Layer {
    let mut layer = Layer::default();
    for word in words {
        layer
            .set_text(word, &Origin::Override)
            .expect("a word that sets a key");
    }
    layer
}

/// Cells with their learning rates and seeds, in the order of the plan.
fn shown(plan: &Plan) -> String {
    let mut lines: Vec<(String, Vec<f64>, BTreeSet<u64>)> = Vec::new();
    for run in &plan.runs {
        let (lr, seed) = (run.spec.train.lr, run.spec.seeds.init);
        match lines.last_mut().filter(|(cell, ..)| *cell == run.cell) {
            Some((_, lrs, seeds)) => {
                seeds.insert(seed);
                if !lrs.contains(&lr) {
                    lrs.push(lr);
                }
            }
            None => lines.push((run.cell.clone(), vec![lr], [seed].into())),
        }
    }
    let line = |(cell, lrs, seeds)| format!("{cell} {lrs:?} {seeds:?}\n");
    lines.into_iter().map(line).collect()
}

/// LoRA and full fine-tuning, each at learning rates of its own.
const TWO_METHODS: &str = "
seed = 'range(1, 4)'
[[variants]]
method = 'lora'
lora.rank = [4, 16, 64]
train.lr = 'logspace(1e-4, 1e-2, 3)'
[[variants]]
method = 'full'
train.lr = 'logspace(1e-5, 1e-3, 3)'
";

const PAIRS: &str = "
train.lr = 1e-3
[[pairs]]
lora.rank = [4, 16]
alpha.alpha = [8, 32]
";

#[test]
fn variants_have_settings_of_their_own() {
    let plan = plan_file(TWO_METHODS).unwrap();
    insta::assert_snapshot!(shown(&plan), @r"
        lora-r4 [0.0001, 0.001, 0.01] {1, 2, 3}
        lora-r16 [0.0001, 0.001, 0.01] {1, 2, 3}
        lora-r64 [0.0001, 0.001, 0.01] {1, 2, 3}
        full [1e-5, 0.0001, 0.001] {1, 2, 3}
        ");
    let axes: Vec<String> = (plan.axes.iter())
        .map(|axis| format!("{}: {}", axis.key, json!(axis.values)))
        .collect();
    insta::assert_snapshot!(axes.join("\n"), @r#"
        method: ["lora","full"]
        seed: [1,2,3]
        lora.rank: [4,16,64]
        train.lr: [0.00001,0.0001,0.001,0.01]
        "#);
    assert_eq!(plan.notices, Vec::<String>::new());
}

#[test]
fn the_command_line_goes_before_variants_and_pairs() {
    let plan = plan_file_under(TWO_METHODS, command_line(&["train.lr=1e-3", "seed=7"])).unwrap();
    insta::assert_snapshot!(shown(&plan), @r"
        lora-r4 [0.001] {7}
        lora-r16 [0.001] {7}
        lora-r64 [0.001] {7}
        full [0.001] {7}
        ");
    let plan = plan_file_under(PAIRS, command_line(&["lora.rank=8"])).unwrap();
    insta::assert_snapshot!(shown(&plan), @r"
        lora-r8-alpha=8 [0.001] {42}
        lora-r8-alpha=32 [0.001] {42}
        ");
}

#[test]
fn what_only_one_variant_sets_tells_cells_apart() {
    let file = "train.lr = 1e-3\n[[variants]]\n[[variants]]\ntrain.max_steps = 10";
    insta::assert_snapshot!(shown(&plan_file(file).unwrap()), @r"
        lora-r128 [0.001] {42}
        lora-r128-max-steps=10 [0.001] {42}
        ");
    let file = "train.lr = 1e-3\n[[variants]]\nlora.rank = 4\n[[variants]]\nmethod = 'full'\ntrain.epochs = 2";
    insta::assert_snapshot!(shown(&plan_file(file).unwrap()), @r"
        lora-r4-epochs=5 [0.001] {42}
        full-epochs=2 [0.001] {42}
        ");
}

#[test]
fn a_run_of_two_variants_is_one_run() {
    let file = "method = 'full'\n[[variants]]\ntrain.lr = [1, 2]\n[[variants]]\ntrain.lr = [2, 3]";
    let plan = plan_file(file).unwrap();
    let lrs: Vec<f64> = plan.runs.iter().map(|run| run.spec.train.lr).collect();
    assert_eq!(lrs, [1.0, 2.0, 3.0]);
}

#[test]
fn pairs_vary_together() {
    insta::assert_snapshot!(shown(&plan_file(PAIRS).unwrap()), @r"
        lora-r4-alpha=8 [0.001] {42}
        lora-r16-alpha=32 [0.001] {42}
        ");
    // Equal values are kept: the second is that of another place.
    let file = "train.lr = 1e-3\n[[pairs]]\nlora.rank = [4, 8, 16]\nalpha.alpha = [8, 8, 16]";
    insta::assert_snapshot!(shown(&plan_file(file).unwrap()), @r"
        lora-r4-alpha=8 [0.001] {42}
        lora-r8-alpha=8 [0.001] {42}
        lora-r16-alpha=16 [0.001] {42}
        ");
}

#[test]
fn a_place_of_a_pair_may_be_an_axis_itself() {
    let file =
        "[[pairs]]\nlora.rank = [4, 16]\ntrain.lr = [[1e-3, 1e-2], 'logspace(1e-4, 1e-2, 3)']";
    assert!(
        plan_file(file).is_err(),
        "a series stands for its values, which are three"
    );
    let file =
        "[[pairs]]\nlora.rank = [4, 16]\ntrain.lr = [[1e-3, 1e-2], ['logspace(1e-4, 1e-2, 3)']]";
    insta::assert_snapshot!(shown(&plan_file(file).unwrap()), @r"
        lora-r4 [0.001, 0.01] {42}
        lora-r16 [0.0001, 0.001, 0.01] {42}
        ");
}

#[test]
fn pairs_with_components() {
    let file = "train.lr = 1e-3\n[[pairs]]\ninit = ['uniform', { name = 'gaussian', std_a = 2 }]\n\
                alpha = ['constant:alpha=8', 'proportional']\n\
                [[pairs]]\nlora.rank = [4, 8]\ntrain.epochs = [1, 2]";
    insta::assert_snapshot!(shown(&plan_file(file).unwrap()), @r"
        lora-r4-uniform-constant-epochs=1 [0.001] {42}
        lora-r8-uniform-constant-epochs=2 [0.001] {42}
        lora-r4-gaussian-proportional-epochs=1 [0.001] {42}
        lora-r8-gaussian-proportional-epochs=2 [0.001] {42}
        ");
}

#[test]
fn pairs_of_lora_leave_full_fine_tuning_one_run() {
    let file = format!("method = ['lora', 'full']\n{PAIRS}");
    insta::assert_snapshot!(shown(&plan_file(&file).unwrap()), @r"
        lora-r4-alpha=8 [0.001] {42}
        lora-r16-alpha=32 [0.001] {42}
        full [0.001] {42}
        ");
}

#[test]
fn what_is_excluded_is_left_out() {
    let base = "method = ['lora', 'full']\nlora.rank = [4, 16]\nseed = [1, 2]\ntrain.lr = [1e-4, 1e-3, 1e-2]\n";
    let without = |rest: &str| shown(&plan_file(&format!("{base}{rest}")).unwrap());
    insta::assert_snapshot!(without("[[exclude]]\nmethod = 'full'\ntrain.lr = 1e-2"), @r"
        lora-r4 [0.0001, 0.001, 0.01] {1, 2}
        lora-r16 [0.0001, 0.001, 0.01] {1, 2}
        full [0.0001, 0.001] {1, 2}
        ");
    insta::assert_snapshot!(without("[[exclude]]\nlora.rank = 4\n[[exclude]]\ntrain.lr = [1e-4, 1e-3]\nseed = 1"), @r"
        lora-r16 [0.01, 0.0001, 0.001] {1, 2}
        full [0.01, 0.0001, 0.001] {1, 2}
        ");
    // Full fine-tuning has no rank.
    insta::assert_snapshot!(without("[[exclude]]\nlora.rank = [4, 16]"), @r"full [0.0001, 0.001, 0.01] {1, 2}");
}

#[test]
fn components_can_be_excluded_by_name_and_by_parameter() {
    let base = "train.lr = 1e-3\ninit = ['uniform', 'gaussian:std_a=1', 'gaussian:std_a=2']\nalpha.alpha = [8, 16]\n";
    let without = |rest: &str| shown(&plan_file(&format!("{base}{rest}")).unwrap());
    insta::assert_snapshot!(without("[[exclude]]\ninit = 'gaussian'\nalpha.alpha = 8"), @r"
        lora-r128-uniform-alpha=8 [0.001] {42}
        lora-r128-uniform-alpha=16 [0.001] {42}
        lora-r128-gaussian-std_a=1-alpha=16 [0.001] {42}
        lora-r128-gaussian-std_a=2-alpha=16 [0.001] {42}
        ");
    insta::assert_snapshot!(without("[[exclude]]\ninit = 'gaussian:std_a=2'"), @r"
        lora-r128-uniform-alpha=8 [0.001] {42}
        lora-r128-uniform-alpha=16 [0.001] {42}
        lora-r128-gaussian-std_a=1-alpha=8 [0.001] {42}
        lora-r128-gaussian-std_a=1-alpha=16 [0.001] {42}
        ");
    insta::assert_snapshot!(without("[[exclude]]\ninit.std_a = [1, 2]\nalpha.alpha = 'logspace(8, 16, 2)'"), @r"
        lora-r128-uniform-alpha=8 [0.001] {42}
        lora-r128-uniform-alpha=16 [0.001] {42}
        ");
}

#[test]
fn an_exclusion_without_effect_is_said() {
    let plan = plan_file("lora.rank = [4, 16]\n\n[[exclude]]\nlora.rank = 8").unwrap();
    assert_eq!(plan.notices, ["`exclude` (e.toml:3) leaves out no run"]);
}

#[test]
fn values_between_commas_and_series_are_axes() {
    let counts = |words: &[&str]| plan_file_under("", command_line(words)).unwrap().runs.len();
    assert_eq!(counts(&["train.lr=1e-4,3e-4", "seed=range(1,5)"]), 8);
    assert_eq!(counts(&["train.lr=logspace(1e-5,1e-2,7),1"]), 8);
    assert_eq!(
        counts(&["train.lr=1", "lora.targets=attention,mlp,q{1,2}$"]),
        3
    );
    assert_eq!(
        counts(&["train.lr=1", "init=uniform,gaussian:std_a=1,std_b=2"]),
        2
    );
    assert_eq!(
        counts(&["train.lr=1", "init=gaussian", "init.std_a=0.1,0.2"]),
        2
    );
    assert_eq!(
        counts(&["train.lr=1", "init=gaussian:std_a=linspace(1,3,3),std_b=1"]),
        3
    );
    assert_eq!(counts(&["train.lr=1", "data.text_column='a,b'"]), 1);
    assert_eq!(
        plan("--lrs 1e-4,3e-4 --rank 4 --seed range(3)")
            .unwrap()
            .runs
            .len(),
        6
    );
}

#[test]
fn more_runs_than_meant_are_counted_and_not_made() {
    let line = "--lrs logspace(1e-5,1e-2,1000) --seed range(1000)";
    let error = plan(line).unwrap_err().to_string();
    insta::assert_snapshot!(error, @r"the experiment has 1000000 runs, more than 100000; add --yes if that is meant, or shorten `seed` (1000), `train.lr` (1000)");
    // What is excluded counts.
    let file = "train.lr = 1\ntrain.epochs = 'range(1, 1001)'\nlora.rank = 'range(1, 103)'\n\
                [[exclude]]\ntrain.epochs = 'range(2, 1001)'";
    assert!(plan_file(file).is_err());
    let layer = Layer::from_toml(file, Path::new("e.toml")).unwrap();
    let spec = RawSpec::new(Some(layer), Layer::default()).confirmed(true);
    assert_eq!(spec.plan(&standard()).unwrap().runs.len(), 102);
}

#[test]
fn more_pairs_than_meant_are_counted_and_not_made() {
    let file = "[[pairs]]\nseed = 'range(1000)'\ntrain.epochs = 'range(1, 1001)'\n\
                [[pairs]]\nlora.rank = 'range(1, 1001)'\nalpha.alpha = 'range(1, 1001)'";
    insta::assert_snapshot!(plan_file(file).unwrap_err(), @r"the experiment has 1000000 runs, more than 100000; add --yes if that is meant, or shorten the pairs");
}
