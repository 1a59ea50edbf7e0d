//! Experiment files, and flags over them.

use std::path::Path;

use lorahost::spec::{Layer, Origin, Plan, RawSpec, schema};
use serde_json::json;

use crate::catalogue::{entry, plan_file, plan_file_under, standard};

fn flags(assignments: &[&str]) -> Layer {
    let mut layer = Layer::default();
    for assignment in assignments {
        layer
            .set_text(assignment, &Origin::Set)
            .expect("an assignment that fits");
    }
    layer
}

fn inits(plan: &Plan) -> Vec<String> {
    let mut inits: Vec<String> = plan
        .runs
        .iter()
        .filter_map(|run| run.spec.init.as_ref())
        .map(|init| format!("{} {}", init.name, json!(init.parameters.get("std_a"))))
        .collect();
    inits.dedup();
    inits
}

#[test]
fn a_file_may_be_dotted_or_in_tables() {
    let dotted =
        "lora.rank = [4, 16]\ntrain.lr = 1e-3\nalpha = \"constant:alpha=32\"\ninit = 'gaussian'";
    let tables = "[lora]\nrank = [4, 16]\n[train]\nlr = 1e-3\n[alpha]\nname = 'constant'\nalpha = 32\n[init]\nname = 'gaussian'";
    assert_eq!(plan_file(dotted).unwrap(), plan_file(tables).unwrap());
}

#[test]
fn a_list_of_components_mixes_names_and_tables() {
    let plan = plan_file(
        "train.lr = 1e-3\ninit = ['uniform', 'gaussian:std_a=0.5', { name = 'gaussian', std_a = [2, 3] }]",
    );
    assert_eq!(
        inits(&plan.unwrap()),
        [
            "uniform null",
            "gaussian 0.5",
            "gaussian 2.0",
            "gaussian 3.0"
        ]
    );
    let plan = plan_file(
        "train.lr = 1e-3\n[[init]]\nname = 'uniform'\n[[init]]\nname = 'gaussian'\nstd_a = 4",
    );
    assert_eq!(inits(&plan.unwrap()), ["uniform null", "gaussian 4.0"]);
}

#[test]
fn a_parameter_of_the_file_goes_with_its_component() {
    let file = "train.lr = 1e-3\n[init]\nname = 'gaussian'\nstd_a = 0.5";
    let over = |assignments: &[&str]| inits(&plan_file_under(file, flags(assignments)).unwrap());
    assert_eq!(over(&[]), ["gaussian 0.5"]);
    assert_eq!(over(&["init=uniform"]), ["uniform null"]);
    assert_eq!(over(&["init=gaussian"]), ["gaussian 0.5"]);
    assert_eq!(over(&["init=gaussian:std_b=1"]), ["gaussian 0.5"]);
    assert_eq!(
        over(&["init.std_a=[1,2]"]),
        ["gaussian 1.0", "gaussian 2.0"]
    );
    assert_eq!(
        over(&["init=['gaussian','uniform']"]),
        ["gaussian 0.5", "uniform null"]
    );
    assert_eq!(over(&["init={name='gaussian', std_a=9}"]), ["gaussian 9.0"]);
}

#[test]
fn flags_go_before_the_file() {
    let plan = plan_file_under(
        "lora.rank = [4, 16]\ntrain.epochs = 2",
        flags(&["lora.rank=8"]),
    )
    .unwrap();
    assert!(
        plan.runs
            .iter()
            .all(|run| run.cell == "lora-r8" && run.spec.train.epochs == 2)
    );
}

#[test]
fn the_same_value_twice_is_no_conflict() {
    let plan = plan_file_under(
        "",
        flags(&[
            "lora.rank=8",
            "lora.rank=8",
            "train.lr=1e-3",
            "train.lr=0.001",
        ]),
    );
    assert_eq!(plan.unwrap().runs.len(), 1);
}

#[test]
fn every_key_can_be_set_in_a_file() {
    // Each key at its default, or at a value of its kind.
    let value = |key: &schema::Key| match (key.default, key.kind) {
        (schema::Fallback::Is(toml), _) => toml.to_owned(),
        (_, schema::Kind::Int(min) | schema::Kind::Between(min, _)) => (min + 1).to_string(),
        (_, schema::Kind::Float(_)) => "0.5".to_owned(),
        (_, schema::Kind::Choice(words)) => format!("'{}'", words[0]),
        _ => "'x'".to_owned(),
    };
    // An adapter is a folder that has to be there.
    let lines: Vec<String> = schema::KEYS
        .iter()
        .filter(|key| key.name != "model.adapter")
        .map(|key| format!("{} = {}", key.name, value(key)))
        .collect();
    let plan = plan_file(&lines.join("\n")).unwrap();
    assert_eq!(plan.runs.len(), 3);
    assert_eq!(plan.runs[0].spec.seeds.head, 1);
}

#[test]
fn the_committed_experiments_are_valid() {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let mut components = standard();
    components.push(entry("head", "causal-lm", &json!([])));
    let mut count = 0;
    for entry in std::fs::read_dir(&configs).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let layer = Layer::from_file(&path).unwrap_or_else(|error| panic!("{error}"));
            let plan = RawSpec::new(Some(layer), Layer::default()).plan(&components);
            assert!(
                !plan
                    .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
                    .runs
                    .is_empty()
            );
            count += 1;
        }
    }
    assert!(count >= 2, "no experiment files in {}", configs.display());
}
