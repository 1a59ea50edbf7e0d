//! A run's name: the same for the same run, another for another.

use std::collections::BTreeSet;

use lorahost::spec::{
    DataSpec, HeadMode, LoraSpec, Method, ModelSpec, RunId, RunSpec, Save, Schedule, Seeds,
    Selection, TrainSpec, Weights,
};
use lorahost_plugin_api::protocol::DataKind;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::catalogue::plan;

fn selection() -> impl Strategy<Value = Selection> {
    let number = prop_oneof![
        any::<i64>().prop_map(Value::from),
        positive().prop_map(Value::from)
    ];
    let other = prop_oneof![
        any::<bool>().prop_map(Value::from),
        "[a-z:/ é]{0,8}".prop_map(Value::from)
    ];
    let parameters = prop::collection::btree_map("[a-z_]{1,8}", prop_oneof![number, other], 0..4);
    ("[a-z-]{1,12}", parameters, "[0-9a-f]{64}", "[a-z/.]{1,20}").prop_map(
        |(name, parameters, sha256, file)| Selection {
            name,
            parameters: parameters.into_iter().collect(),
            sha256,
            file: file.into(),
        },
    )
}

fn positive() -> impl Strategy<Value = f64> {
    prop::num::f64::POSITIVE | prop::num::f64::SUBNORMAL
}

fn model() -> impl Strategy<Value = ModelSpec> {
    let adapter = option::of(("[a-z/.]{1,12}", "[0-9a-f]{64}"));
    let fields = (
        "[a-z:/-]{1,20}",
        any::<bool>(),
        option::of(0.0..1.0),
        adapter,
    );
    fields.prop_map(|(path, random, dropout, adapter)| {
        let (adapter, adapter_sha256) = adapter.unzip();
        ModelSpec {
            path,
            weights: if random {
                Weights::Random
            } else {
                Weights::Pretrained
            },
            dropout,
            precision: None,
            adapter: adapter.map(Into::into),
            adapter_sha256,
        }
    })
}

fn data() -> impl Strategy<Value = DataSpec> {
    let file = || option::of("[a-z/.]{1,12}".prop_map(Into::into));
    let size = || option::of(1_usize..1_000_000);
    let text = || option::of("[a-z+ ]{1,12}");
    (
        (
            option::of("[a-z:/]{1,12}"),
            file(),
            file(),
            file(),
            text(),
            text(),
        ),
        (
            size(),
            size(),
            size(),
            positive(),
            any::<u64>(),
            1_usize..4096,
        ),
    )
        .prop_map(|(files, sizes)| DataSpec {
            kind: DataKind::Classes,
            path: files.0,
            train_file: files.1,
            validation_file: files.2,
            test_file: files.3,
            text_column: files.4,
            label_column: files.5,
            rejected_column: None,
            block_size: None,
            stride: None,
            train_size: sizes.0,
            validation_size: sizes.1,
            test_size: sizes.2,
            validation_fraction: sizes.3,
            split_seed: sizes.4,
            max_length: sizes.5,
        })
}

fn train() -> impl Strategy<Value = TrainSpec> {
    let count = || 1_usize..100_000;
    let schedule =
        prop::sample::select(vec![Schedule::Constant, Schedule::Linear, Schedule::Cosine]);
    let save = prop::sample::select(vec![Save::None, Save::Adapter, Save::Full]);
    (
        (
            positive(),
            positive(),
            positive(),
            count(),
            count(),
            count(),
        ),
        (
            option::of(count()),
            option::of(count()),
            schedule,
            0_usize..1000,
            option::of(positive()),
            save,
            option::of(count()),
        ),
    )
        .prop_map(|(a, b)| TrainSpec {
            lr: a.0,
            lr_a: a.1,
            lr_b: a.2,
            epochs: a.3,
            batch_size: a.4,
            accumulate: a.5,
            max_steps: b.0,
            eval_every: b.1,
            diverged_after: b.6,
            schedule: b.2,
            warmup: b.3,
            grad_clip: b.4,
            save: b.5,
        })
}

fn lora() -> impl Strategy<Value = LoraSpec> {
    (
        1_usize..1024,
        "[a-z|().*]{1,12}",
        0.0..1.0,
        any::<bool>(),
        positive(),
    )
        .prop_map(|(rank, targets, dropout, head, init_scale_a)| LoraSpec {
            rank,
            targets,
            dropout,
            head_mode: if head {
                HeadMode::Train
            } else {
                HeadMode::Lora
            },
            init_scale_a,
        })
}

fn run_spec() -> impl Strategy<Value = RunSpec> {
    let seeds = any::<[u64; 4]>().prop_map(|[init, data, dropout, head]| Seeds {
        init,
        data,
        dropout,
        head,
    });
    let of_lora = option::of((lora(), selection(), selection()));
    (
        model(),
        data(),
        of_lora,
        selection(),
        selection(),
        train(),
        seeds,
    )
        .prop_map(|(model, data, of_lora, optimizer, head, train, seeds)| {
            let method = if of_lora.is_some() {
                Method::Lora
            } else {
                Method::Full
            };
            let (lora, init, alpha) = match of_lora {
                Some((lora, init, alpha)) => (Some(lora), Some(init), Some(alpha)),
                None => (None, None, None),
            };
            RunSpec {
                method,
                model,
                data,
                lora,
                init,
                alpha,
                optimizer,
                head,
                train,
                seeds,
            }
        })
}

proptest! {
    #[test]
    fn a_spec_survives_json(spec in run_spec()) {
        let text = serde_json::to_string(&spec).unwrap();
        let read: RunSpec = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&read, &spec);
        prop_assert_eq!(read.identity("m", "d"), spec.identity("m", "d"));
    }

    #[test]
    fn an_id_survives_its_text(spec in run_spec()) {
        let id = spec.identity("m", "d");
        prop_assert_eq!(RunId::parse(id.as_str()), Some(id.clone()));
        prop_assert_eq!(serde_json::from_value::<RunId>(json!(id)).unwrap(), id);
    }

    #[test]
    fn places_of_files_do_not_count(spec in run_spec(), place in "[a-z/]{1,9}") {
        let mut moved = spec.clone();
        moved.model.path.clone_from(&place);
        moved.data.path = Some(place.clone());
        moved.data.train_file = Some(place.clone().into());
        moved.optimizer.file = place.clone().into();
        if let Some(init) = &mut moved.init {
            init.file = place.into();
        }
        prop_assert_eq!(moved.identity("m", "d"), spec.identity("m", "d"));
    }

    #[test]
    fn the_order_of_parameters_does_not_count(spec in run_spec()) {
        let mut turned = spec.clone();
        turned.optimizer.parameters = spec.optimizer.parameters.clone().into_iter().rev().collect::<Map<_, _>>();
        prop_assert_eq!(turned.identity("m", "d"), spec.identity("m", "d"));
    }

    /// Every leaf of the spec's JSON but the places of files changes the id.
    #[test]
    fn everything_else_counts(spec in run_spec()) {
        let id = spec.identity("m", "d");
        prop_assert_ne!(spec.identity("other", "d"), id.clone());
        prop_assert_ne!(spec.identity("m", "other"), id.clone());
        let whole = serde_json::to_value(&spec).unwrap();
        let places = [
            "/model/path", "/model/adapter", "/data/path", "/data/train_file", "/data/validation_file", "/data/test_file",
        ];
        for pointer in leaves(&whole, String::new()) {
            if places.contains(&pointer.as_str()) || pointer.ends_with("/file") {
                continue;
            }
            for changed in other_values(whole.pointer(&pointer).unwrap()) {
                let mut json = whole.clone();
                *json.pointer_mut(&pointer).unwrap() = changed;
                // Values that the field cannot hold are no other runs.
                if let Ok(other) = serde_json::from_value::<RunSpec>(json) && other != spec {
                        prop_assert_ne!(other.identity("m", "d"), id.clone(), "{}", pointer);
                }
            }
        }
    }
}

#[test]
fn the_runs_of_a_plan_have_different_ids() {
    let plan = plan("--with-full-finetune --rank 1 2 --seed 1 2 --init uniform gaussian").unwrap();
    let ids: BTreeSet<RunId> = plan
        .runs
        .iter()
        .map(|run| run.spec.identity("m", "d"))
        .collect();
    assert_eq!(ids.len(), plan.runs.len());
}

/// A change here renames every run that anyone has on disk.
#[test]
fn the_id_of_a_known_run_is_known() {
    let plan = plan("").unwrap();
    insta::assert_snapshot!(plan.runs[0].spec.identity("m", "d"));
}

#[test]
fn an_id_has_sixteen_digits() {
    assert!(RunId::parse("0123456789abcdef").is_some());
    for text in [
        "",
        "0123456789abcde",
        "0123456789ABCDEF",
        "../../../../etc/x",
        "0123456789abcdef0",
    ] {
        assert!(RunId::parse(text).is_none(), "{text}");
        assert!(serde_json::from_value::<RunId>(json!(text)).is_err());
    }
}

fn leaves(value: &Value, pointer: String) -> Vec<String> {
    match value {
        Value::Object(fields) if !fields.is_empty() => fields
            .iter()
            .flat_map(|(key, value)| leaves(value, format!("{pointer}/{key}")))
            .collect(),
        _ => vec![pointer],
    }
}

fn other_values(value: &Value) -> Vec<Value> {
    let texts = [
        "random",
        "pretrained",
        "lora",
        "train",
        "full",
        "adapter",
        "linear",
        "constant",
        "x",
    ];
    let mut values: Vec<Value> = texts.iter().map(|text| json!(text)).collect();
    values.extend([json!(true), json!(3), json!(0.25), Value::Null]);
    values.retain(|other| other != value);
    values
}
