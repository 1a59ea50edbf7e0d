//! What is planned for a command line.

use std::collections::BTreeSet;

use lorahost::spec::{Device, Method, Plan, Save, Seeds};
use lorahost_plugin_api::protocol::DataKind;
use serde_json::json;

use crate::catalogue::{entry, plan, plan_with, standard, with_explicit};

fn cells(plan: &Plan) -> Vec<&str> {
    let mut cells: Vec<&str> = plan.runs.iter().map(|run| run.cell.as_str()).collect();
    cells.dedup();
    cells
}

fn inits(plan: &Plan) -> BTreeSet<String> {
    let inits = plan.runs.iter().filter_map(|run| run.spec.init.as_ref());
    inits
        .map(|init| format!("{} {}", init.name, json!(init.parameters)))
        .collect()
}

#[test]
fn nothing_given_is_the_original_on_the_built_in_example() {
    let plan = plan("").unwrap();
    let lrs: Vec<f64> = plan.runs.iter().map(|run| run.spec.train.lr).collect();
    assert_eq!(lrs, [1e-4, 5e-4, 1e-3]);
    assert_eq!(cells(&plan), ["lora-r128"]);
    let spec = &plan.runs[0].spec;
    assert_eq!(spec.method, Method::Lora);
    assert_eq!(
        (spec.model.path.as_str(), spec.data.path.as_deref()),
        ("builtin:tiny-bert", Some("builtin:topics"))
    );
    assert_eq!((spec.train.epochs, spec.train.batch_size), (5, 32));
    assert_eq!(
        spec.seeds,
        Seeds {
            init: 42,
            data: 42,
            dropout: 42,
            head: 42
        }
    );
    assert_eq!(
        spec.alpha.as_ref().unwrap().parameters["alpha"],
        json!(256.0)
    );
    assert_eq!(
        json!(spec.optimizer.parameters),
        json!({ "beta1": 0.9, "weight_decay": 0.001 })
    );
    assert_eq!(plan.execution.device, Device::Auto);
    assert_eq!((plan.execution.threads, plan.execution.workers), (1, None));
    assert_eq!(plan.execution.workers(0, 8, 3), 3);
    assert_eq!(plan.execution.workers(1, 8, 3), 1);
    insta::assert_snapshot!(serde_json::to_string_pretty(spec).unwrap());
}

#[test]
fn the_originals_flags_are_understood() {
    let plan = plan(
        "--lrs 1e-4 5e-4 1e-3 --epochs 5 --rank 128 --alpha 256 --batch_size 32 --seed 42 --full-finetune",
    );
    let plan = plan.unwrap();
    assert_eq!(cells(&plan), ["full"]);
    assert!(
        plan.runs
            .iter()
            .all(|run| run.spec.lora.is_none() && run.spec.alpha.is_none())
    );
}

#[test]
fn full_fine_tuning_is_planned_once_and_not_once_a_rank() {
    let plan =
        plan("--with-full-finetune --rank 4 16 --init uniform gaussian --set train.lr_b=[1,16]")
            .unwrap();
    let full = plan
        .runs
        .iter()
        .filter(|run| run.spec.method == Method::Full);
    assert_eq!(full.clone().count(), 3);
    assert!(
        full.clone()
            .all(|run| json!(run.spec.train.lr_b) == json!(1.0))
    );
    assert_eq!(plan.runs.len(), 3 + 2 * 2 * 2 * 3);
    assert_eq!(
        cells(&plan),
        [
            "lora-r4-uniform-lr_b=1",
            "lora-r4-uniform-lr_b=16",
            "lora-r4-gaussian-lr_b=1",
            "lora-r4-gaussian-lr_b=16",
            "lora-r16-uniform-lr_b=1",
            "lora-r16-uniform-lr_b=16",
            "lora-r16-gaussian-lr_b=1",
            "lora-r16-gaussian-lr_b=16",
            "full",
        ]
    );
}

#[test]
fn seeds_and_learning_rates_do_not_make_cells() {
    let plan = plan("--rank 4 8 --seed 1 2 3 --set seeds.data=7").unwrap();
    assert_eq!(plan.runs.len(), 2 * 3 * 3);
    assert_eq!(cells(&plan), ["lora-r4", "lora-r8"]);
    assert_eq!(
        plan.runs[0].spec.seeds,
        Seeds {
            init: 1,
            data: 7,
            dropout: 1,
            head: 1
        }
    );
}

#[test]
fn values_that_are_equal_are_one() {
    assert_eq!(
        plan("--lrs 1e-4 0.0001 1e-3 --rank 8 8")
            .unwrap()
            .runs
            .len(),
        2
    );
    assert_eq!(
        plan("--init gaussian gaussian:std_a=1").unwrap().runs.len(),
        3
    );
}

#[test]
fn cells_of_one_name_get_different_folders() {
    let plan = plan("--lrs 1e-3 --data d --model a/bert b/bert c/mini").unwrap();
    let cells = cells(&plan);
    assert!(
        cells[0].starts_with("lora-r128-bert-") && cells[1].starts_with("lora-r128-bert-"),
        "{cells:?}"
    );
    assert_ne!(cells[0], cells[1]);
    assert_eq!(cells[2], "lora-r128-mini");
    assert!(plan.output.to_str().unwrap().starts_with("runs/several-d-"));
}

#[test]
fn cells_are_fit_for_a_folder() {
    let plan = plan("--targets attention (query|key)/.*$ --lrs 1e-3").unwrap();
    assert_eq!(
        cells(&plan),
        [
            "lora-r128-targets=attention",
            "lora-r128-targets=_query_key__.__"
        ]
    );
}

#[test]
fn the_default_output_is_that_of_the_experiment() {
    let output = |line| plan(line).unwrap().output;
    assert_eq!(output("--rank 4 8"), output("--rank 8 4 --workers 2"));
    assert_ne!(output("--rank 4 8"), output("--rank 4"));
    assert_eq!(output("--output o"), std::path::PathBuf::from("o"));
}

#[test]
fn a_components_default_parameters_go_with_the_component() {
    let alpha = |line: &str| {
        let plan = plan(line).unwrap();
        let alpha = plan.runs[0].spec.alpha.clone().unwrap();
        (alpha.name, json!(alpha.parameters))
    };
    assert_eq!(
        alpha("--alpha-policy proportional"),
        ("proportional".to_owned(), json!({ "k": 2.0 }))
    );
    assert_eq!(
        alpha("--alpha-policy constant"),
        ("constant".to_owned(), json!({ "alpha": 256.0 }))
    );
    assert_eq!(
        alpha("--alpha 8"),
        ("constant".to_owned(), json!({ "alpha": 8.0 }))
    );
    let plan = plan("--optimizer sgd").unwrap();
    assert_eq!(
        json!(plan.runs[0].spec.optimizer.parameters),
        json!({ "momentum": 0.0 })
    );
}

#[test]
fn parameters_are_axes_too() {
    let plan = plan(
        "--lrs 1e-3 --init uniform gaussian:unit=rank,std_b=0.5 gaussian --weight-decay 0 0.1",
    )
    .unwrap();
    assert_eq!(plan.runs.len(), 6);
    assert_eq!(
        cells(&plan),
        [
            "lora-r128-uniform-weight_decay=0",
            "lora-r128-uniform-weight_decay=0.1",
            "lora-r128-gaussian-std_b=0.5-unit=rank-weight_decay=0",
            "lora-r128-gaussian-std_b=0.5-unit=rank-weight_decay=0.1",
            "lora-r128-gaussian-std_b=0-unit=fan_in-weight_decay=0",
            "lora-r128-gaussian-std_b=0-unit=fan_in-weight_decay=0.1",
        ]
    );
}

#[test]
fn a_named_plugin_file_is_selected() {
    let plan = plan_with("--lrs 1e-3", &with_explicit(&["gaussian"])).unwrap();
    assert_eq!(cells(&plan), ["lora-r128"]);
    assert_eq!(plan.runs[0].spec.init.as_ref().unwrap().name, "gaussian");
    assert_eq!(plan.runs[0].spec.optimizer.name, "adamw");
}

#[test]
fn several_named_plugin_files_of_a_kind_are_an_axis() {
    let plan = plan_with("--lrs 1e-3", &with_explicit(&["gaussian", "uniform"])).unwrap();
    assert_eq!(cells(&plan), ["lora-r128-uniform", "lora-r128-gaussian"]);
}

#[test]
fn a_name_goes_before_a_named_plugin_file() {
    let plan = plan_with("--init uniform", &with_explicit(&["gaussian"])).unwrap();
    assert_eq!(plan.runs[0].spec.init.as_ref().unwrap().name, "uniform");
}

#[test]
fn parameters_hold_for_the_plugin_that_a_file_selects() {
    let entries = with_explicit(&["gaussian", "constant"]);
    let plan = plan_with("--set init.std_a=0.5", &entries).unwrap();
    assert_eq!(inits(&plan).len(), 1);
    assert_eq!(
        plan.runs[0].spec.init.as_ref().unwrap().parameters["std_a"],
        json!(0.5)
    );
    assert_eq!(
        plan.runs[0].spec.alpha.as_ref().unwrap().parameters["alpha"],
        json!(256.0)
    );
}

#[test]
fn a_file_with_several_of_a_kind_asks_for_a_name() {
    let mut entries = standard();
    for name in ["first", "second"] {
        let mut entry = entry("init", name, &json!([]));
        entry.file = "plugins/both.so".into();
        entry.explicit = true;
        entries.push(entry);
    }
    let plan = plan_with("", &entries).unwrap();
    assert_eq!(plan.runs[0].spec.init.as_ref().unwrap().name, "uniform");
    insta::assert_snapshot!(plan.notices.join("\n"));
    assert!(
        plan_with("--init first", &entries)
            .unwrap()
            .notices
            .is_empty()
    );
}

#[test]
fn a_namesake_without_a_default_parameter_is_no_error() {
    let mut entries = standard();
    entries.retain(|entry| entry.manifest.name != "constant");
    entries.push(entry("alpha", "constant", &json!([])));
    assert_eq!(plan_with("", &entries).unwrap().runs.len(), 3);
}

#[test]
fn full_fine_tuning_alone_needs_no_init_scheme() {
    let mut entries = standard();
    entries.retain(|entry| !matches!(entry.manifest.kind.as_str(), "init" | "alpha"));
    assert_eq!(
        plan_with("--full-finetune", &entries).unwrap().runs.len(),
        3
    );
}

#[test]
fn what_full_fine_tuning_has_no_use_for_is_said() {
    let notices = |line: &str| plan(line).unwrap().notices.join("\n");
    insta::assert_snapshot!(notices(
        "--full-finetune --rank 4 --alpha 7 --init gaussian:std_a=1 --set init.std_b=0 train.lr_a=2"
    ));
    assert_eq!(notices("--full-finetune --seed 1"), "");
    assert_eq!(notices("--with-full-finetune --rank 4"), "");
}

#[test]
fn full_fine_tuning_saves_all_of_its_adapter() {
    let plan = plan("--with-full-finetune --save adapter").unwrap();
    for run in plan.runs {
        let expected = if run.spec.method == Method::Full {
            Save::Full
        } else {
            Save::Adapter
        };
        assert_eq!(run.spec.train.save, expected);
    }
}

#[test]
fn a_hundred_thousand_runs_are_planned() {
    let ranks: Vec<String> = (1..=1000).map(|rank| rank.to_string()).collect();
    let seeds: Vec<String> = (1..=100).map(|seed| seed.to_string()).collect();
    let line = format!(
        "--lrs 1e-3 --rank {} --seed {}",
        ranks.join(" "),
        seeds.join(" ")
    );
    assert_eq!(plan(&line).unwrap().runs.len(), 100_000);
}

#[test]
fn the_head_says_how_data_is_arranged() {
    let mut entries = standard();
    for (name, kind) in [("lines", "blocks"), ("both", "pairs"), ("new", "images")] {
        let mut head = entry("head", name, &json!([]));
        head.manifest.data = Some(kind.to_owned());
        entries.push(head);
    }
    let data = |flags: &str| {
        let plan = plan_with(flags, &entries).unwrap();
        plan.runs[0].spec.data.clone()
    };
    let plain = data("--set data.block_size=32 data.stride=8 data.rejected_column=worse");
    assert_eq!(plain.kind, DataKind::Classes);
    assert_eq!(
        plain,
        data(""),
        "what concerns other kinds tells no runs apart"
    );
    let blocks = data("--head lines --block-size 32 --set data.stride=8");
    assert_eq!(
        (blocks.kind, blocks.block_size, blocks.stride),
        (DataKind::Blocks, Some(32), Some(8))
    );
    let pairs = data("--head both --set data.rejected_column=worse");
    assert_eq!(pairs.rejected_column.as_deref(), Some("worse"));
    assert_ne!(pairs.kind, blocks.kind);
    assert_eq!(
        plan_with("--head new", &entries).unwrap_err().to_string(),
        "task head `new` learns from data of the kind `images`, which this lorahost does not know; it knows \
         `classes`, `text`, `blocks`, `numbers`, `tags`, `pairs`; a newer lorahost may, or choose another head"
    );
}
