//! Norms that runs log, the analysis in `summary.json`, the bracket search, and the properties that `verify` tries.

use std::fs;

use lorahost::record::{Diagnostics, Event};
use serde_json::Value;
use tch::{Kind, Tensor};

use crate::sandbox::{Run, Sandbox, small, tensors};

fn logged(run: &Run) -> Vec<&Diagnostics> {
    let diagnostics = run.events.iter().filter_map(|event| match event {
        Event::Diagnostics(diagnostics) => Some(diagnostics),
        _ => None,
    });
    diagnostics.collect()
}

fn norm(tensor: &Tensor) -> f64 {
    tensor.to_kind(Kind::Double).norm().double_value(&[])
}

fn near(found: Option<f64>, expected: f64) {
    let found = found.unwrap();
    assert!(
        (found - expected).abs() <= 1e-4 * expected,
        "{found} {expected}"
    );
}

fn summary(sandbox: &Sandbox) -> Value {
    serde_json::from_str(&fs::read_to_string(sandbox.path("out/summary.json")).unwrap()).unwrap()
}

#[test]
fn norms_of_lora_are_those_of_the_saved_factors() {
    let sandbox = Sandbox::new();
    let run = sandbox.train_one("--save adapter --eval-every 3");
    let logged = logged(&run);
    let steps: Vec<_> = logged.iter().map(|one| one.step).collect();
    assert_eq!(steps, [0, 3, 6, 8]);
    let (first, last) = (logged[0], logged[3]);
    assert_eq!(first.tokens, 0);
    assert!(
        first
            .layers
            .iter()
            .all(|layer| layer.norms.gradient.is_none())
    );
    assert!(last.multiply_adds > last.tokens && last.tokens > logged[2].tokens);

    let saved = tensors(&run.folder.join("adapter.safetensors"));
    let wrapped: Vec<_> = last
        .layers
        .iter()
        .filter(|layer| layer.norms.spectral_a.is_some())
        .collect();
    assert_eq!(wrapped.len(), run.size().0);
    for layer in wrapped {
        let factor = |name: &str| {
            let end = format!("{}.lora_{name}.weight", layer.name);
            let mut found = saved.iter().filter(|(key, _)| key.ends_with(&end));
            found.next().unwrap_or_else(|| panic!("no {end}")).1
        };
        // s = 8 / 4.
        near(
            layer.norms.change,
            2.0 * norm(&factor("B").matmul(factor("A"))),
        );
        let (_, values, _) = factor("A").svd(true, false);
        near(layer.norms.spectral_a, values.max().double_value(&[]));
    }
    let before = first
        .layers
        .iter()
        .filter(|layer| layer.norms.spectral_b.is_some());
    assert!(
        before
            .into_iter()
            .all(|layer| layer.norms.change == Some(0.0))
    );
    assert!(last.total.update.unwrap() > 0.0 && last.total.gradient.unwrap() > 0.0);
}

#[test]
fn the_change_of_full_fine_tuning_is_that_of_the_saved_weights() {
    let sandbox = Sandbox::new();
    let run = sandbox.train_one("--full-finetune --save full");
    let last = logged(&run)[1];
    let before = tensors(&sandbox.path("model/model.safetensors"));
    let after = tensors(&run.folder.join("model/model.safetensors"));
    let mut compared = 0;
    for layer in &last.layers {
        let end = format!("{}.weight", layer.name);
        let of = |tensors: &'_ std::collections::BTreeMap<String, Tensor>| {
            let mut found = tensors.iter().filter(|(key, _)| key.ends_with(&end));
            found.next().map(|(_, tensor)| tensor.shallow_clone())
        };
        // The head is new.
        if let (Some(before), Some(after)) = (of(&before), of(&after)) {
            near(layer.norms.change, norm(&(&after - &before)));
            near(
                layer.norms.relative_change,
                norm(&(&after - &before)) / norm(&before),
            );
            compared += 1;
        }
    }
    assert!(compared >= 12, "{compared}");
}

#[test]
fn what_is_measured_changes_no_number() {
    let sandbox = Sandbox::new();
    let rare = sandbox.train_one("--output rare");
    let often = sandbox.train_one("--eval-every 1 --output often");
    assert_eq!(rare.losses(), often.losses());
    assert_eq!(rare.test_loss(), often.test_loss());
}

fn assert_within(value: &Value, interval: &Value) {
    let [low, value, high] = [&interval["low"], value, &interval["high"]].map(Value::as_f64);
    assert!(
        low.is_some() && low < value && value < high,
        "{low:?} {value:?} {high:?}"
    );
}

#[test]
fn the_summary_has_intervals() {
    let sandbox = Sandbox::new();
    sandbox.train("--lrs 1e-4 1e-3 1e-2 --seed 1 2 --with-full-finetune");
    let analysis = &summary(&sandbox)["analysis"];
    assert_eq!(
        analysis["counts"]["completed"].as_u64().unwrap()
            + analysis["counts"]["diverged"].as_u64().unwrap(),
        12
    );
    for cell in analysis["cells"].as_array().unwrap() {
        assert_eq!(cell["seeds"], serde_json::json!(["1", "2"]));
        assert!(
            cell["curves"]["best"]
                .as_array()
                .is_some_and(|curve| curve.len() == 2)
        );
        assert!(cell["norms"]["change"].as_f64().unwrap() > 0.0);
        let points = cell["points"].as_array().unwrap();
        let means = points.iter().filter(|point| !point["val_loss"].is_null());
        assert!(means.clone().count() > 1, "{points:?}");
        for point in means {
            assert_within(&point["val_loss"], &point["interval"]);
        }
    }
    let regret = &analysis["cells"][0]["regret"]["loss"];
    assert_within(&regret["value"], &regret["interval"]);
    assert!(
        regret["p"]
            .as_f64()
            .is_some_and(|p| (0.0..=1.0).contains(&p)),
        "{regret}"
    );
}

#[test]
fn a_search_adds_learning_rates_and_finds_them_again() {
    let sandbox = Sandbox::new();
    let words = small("--lrs 1e-3 --seed 1 2 --search bracket --set search.budget=5");
    let outcome = sandbox.lorahost(&words);
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    assert!(
        outcome.out.contains("search of lora-r4: "),
        "{}",
        outcome.out
    );
    let lrs = |summary: &Value| -> Vec<f64> {
        let points = summary["cells"][0]["points"].as_array().unwrap();
        points
            .iter()
            .map(|point| point["lr"].as_f64().unwrap())
            .collect()
    };
    let first = lrs(&summary(&sandbox));
    assert!(first.len() >= 3 && first.len() <= 5, "{first:?}");
    assert_eq!(sandbox.runs("out").len(), 2 * first.len());

    let again = sandbox.lorahost(&words);
    assert_eq!(again.code, 0, "{}", again.err);
    assert_eq!(lrs(&summary(&sandbox)), first);
    assert_eq!(sandbox.runs("out").len(), 2 * first.len());
    assert!(
        !again.err.contains("TIME"),
        "nothing is trained: {}",
        again.err
    );

    let refused = sandbox.lorahost(&small("--search bracket --set search.width=0"));
    assert!(refused.refused().contains("`search.width`"));
    let refused = sandbox.lorahost(&small("--search bracket --shard 1/2"));
    assert!(refused.refused().contains("leave out --shard"));
    let planned = sandbox.lorahost(&format!("plan study.toml {}", small("--search bracket")));
    assert!(planned.refused().contains("study.toml"));
    sandbox.write("study.toml", "");
    let planned = sandbox.lorahost(&format!("plan study.toml {}", small("--search bracket")));
    assert!(
        planned.out.contains("to 12 learning rates a cell at most"),
        "{}{}",
        planned.out,
        planned.err
    );
}

#[test]
fn properties_are_tried() {
    let sandbox = Sandbox::new();
    let c12 = format!("verify c12 {}", small("--alpha 8"));
    let outcome = sandbox.lorahost(&c12);
    assert_eq!(outcome.code, 0, "{}{}", outcome.out, outcome.err);
    assert!(
        outcome.out.contains("are equal bit for bit"),
        "{}",
        outcome.out
    );
    let outcome = sandbox.lorahost(&format!("{c12} --p 3"));
    assert!(outcome.refused().contains("powers of two"));
    let outcome = sandbox.lorahost(&format!("{c12} --optimizer sgd"));
    assert!(outcome.refused().contains("no parameter `eps`"));
    let outcome = sandbox.lorahost(&format!("{c12} --full-finetune"));
    assert_eq!(outcome.code, 2);
    assert!(outcome.err.contains("no run of LoRA"), "{}", outcome.err);

    let c5 = |more: &str| sandbox.lorahost(&format!("verify c5 {} {more}", small("--alpha 32")));
    let outcome = c5("--ranks 4 8 16 --steps 4 --tolerance 0.2");
    assert_eq!(outcome.code, 0, "{}{}", outcome.out, outcome.err);
    assert!(outcome.out.contains("relative to the first rank"));
    assert!(
        outcome.out.contains("4 of 4 first steps compared"),
        "{}",
        outcome.out
    );
    assert!(outcome.out.contains("within 0.2"), "{}", outcome.out);
    let outcome = c5("--ranks 4 8 --steps 4 --tolerance 0");
    assert_eq!(outcome.code, 1, "{}", outcome.out);
    assert!(outcome.out.contains("beyond 0"), "{}", outcome.out);
    assert!(
        c5("--ranks 4 8 4")
            .refused()
            .contains("rank 4 is given twice")
    );
    for flag in ["--ranks 0 4", "--steps 0", "--shard 1/2", "--json"] {
        assert_eq!(c5(flag).code, 2, "{flag}");
    }
}

#[test]
fn a_sweep_and_a_property_do_not_share_a_folder() {
    let sandbox = Sandbox::new();
    sandbox.train("--max-steps 2");
    let outcome = sandbox.lorahost(&format!("verify c12 {}", small("--alpha 8")));
    assert!(outcome.refused().contains("out holds a sweep"));
    let nameless = small("--alpha 8").replace("--output out", "");
    let outcome = sandbox.lorahost(&format!("verify c12 {nameless}"));
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    let folders = std::fs::read_dir(sandbox.path("runs")).unwrap();
    let names: Vec<_> = folders
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.len() == 1 && names[0].ends_with("-c12"), "{names:?}");
}
