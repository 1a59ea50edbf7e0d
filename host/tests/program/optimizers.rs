//! Optimizers of plugin files in libtorch, along the trajectories that their own tests follow in float64 on the fake
//! host: `scripts/references/optimizers.py` made the numbers.

use std::error::Error;

use lorahost::plugins::{Component, Library, Optimizer, OptimizerGroup, PluginFile};
use lorahost_plugin_api::protocol::{EvaluationPhase, ParameterInfo};
use serde_json::{Map, Value};
use tch::{Kind, Tensor};

use crate::sandbox::{plugin, workspace};

/// Name of the component, that of the crate before `_optimizer`, and the difference that float32 makes over the five
/// steps against float64.
const OPTIMIZERS: [(&str, &str, f64); 11] = [
    ("adafactor", "adafactor", 2e-6),
    ("adamw", "adamw", 2e-6),
    ("lion", "lion", 2e-6),
    ("lora-fa", "lora_fa", 2e-6),
    ("lora-plus", "lora_plus", 2e-6),
    ("lora-pro", "lora_pro", 2e-6),
    ("muon", "muon", 2e-6),
    ("prodigy", "prodigy", 2e-6),
    ("riemannian", "riemannian", 2e-6),
    ("schedule-free", "schedule_free", 2e-6),
    ("sgd", "sgd", 2e-6),
];

#[test]
fn steps_are_those_of_other_programs() -> Result<(), Box<dyn Error>> {
    for (name, file, tolerance) in OPTIMIZERS {
        let path = workspace().join(format!("plugins/{file}_optimizer/tests/{file}.json"));
        let reference: Value = serde_json::from_slice(&std::fs::read(path)?)?;
        let optimizer = Tested {
            name,
            file,
            tolerance,
            reference: &reference,
        };
        for case in reference["cases"].as_array().ok_or("cases")? {
            for resume_at in [None, Some(2)] {
                trajectory(&optimizer, case, resume_at)?;
            }
        }
    }
    Ok(())
}

/// An optimizer and its reference.
struct Tested<'a> {
    name: &'a str,
    file: &'a str,
    tolerance: f64,
    reference: &'a Value,
}

/// Takes the steps of a case, with a change of component before the step `resume_at` if there is one.
fn trajectory(
    tested: &Tested<'_>,
    case: &Value,
    resume_at: Option<usize>,
) -> Result<(), Box<dyn Error>> {
    let reference = tested.reference;
    let lr = reference["lr"].as_f64().ok_or("lr")?;
    let (infos, values) = start(reference)?;
    let make = || -> Result<Optimizer, Box<dyn Error>> {
        let group = OptimizerGroup {
            infos: infos.clone(),
            values: values.iter().map(Tensor::shallow_clone).collect(),
        };
        Ok(Optimizer::new(
            component(tested, &case["options"])?,
            group,
            0,
        )?)
    };
    let mut optimizer = make()?;
    let grads = reference["grads"].as_array().ok_or("grads")?;
    let after = case["after"].as_array().ok_or("after")?;
    for (place, (grads, after)) in grads.iter().zip(after).enumerate() {
        if resume_at == Some(place) {
            let state = optimizer.state()?;
            optimizer = make()?;
            optimizer.load(&state)?;
        }
        backward(&infos, &values, grads);
        optimizer.step(place as u64 + 1, lr)?;
        let place_of = |what: &str| {
            let options = &case["options"];
            format!("{} {options}, step {}{what}", tested.name, place + 1)
        };
        compare(tested, &infos, &values, after, &place_of(""))?;
        if let Some(evaluated) = case["evaluated"].get(place) {
            optimizer.evaluation(EvaluationPhase::Before)?;
            compare(tested, &infos, &values, evaluated, &place_of(", evaluated"))?;
            optimizer.evaluation(EvaluationPhase::After)?;
            compare(
                tested,
                &infos,
                &values,
                after,
                &place_of(", evaluation over"),
            )?;
        }
    }
    Ok(())
}

fn compare(
    tested: &Tested<'_>,
    infos: &[ParameterInfo],
    values: &[Tensor],
    expected: &Value,
    place: &str,
) -> Result<(), Box<dyn Error>> {
    for (info, value) in infos.iter().zip(values) {
        let found = Vec::<f64>::try_from(value.detach().to_kind(Kind::Double).flatten(0, -1))?;
        for (found, expected) in found.iter().zip(numbers(&expected[&info.name])) {
            assert!(
                (found - expected).abs() <= tested.tolerance * expected.abs().max(1.0),
                "{place}, {}: {found}, expected {expected}",
                info.name
            );
        }
    }
    Ok(())
}

fn component(tested: &Tested<'_>, options: &Value) -> Result<Component, Box<dyn Error>> {
    let Tested { name, file, .. } = *tested;
    let library = Library::open(PluginFile::read(&plugin(&format!("{file}_optimizer")))?)?;
    let manifest = library
        .manifest()
        .components
        .iter()
        .find(|component| component.name == name);
    let mut parameters = Map::new();
    for parameter in &manifest.ok_or("no such component")?.parameters {
        let given = options.get(&parameter.name).unwrap_or(&parameter.default);
        parameters.insert(parameter.name.clone(), given.clone());
    }
    // The reference takes weight decay where it is named alone.
    if options.get("weight_decay").is_none() {
        parameters.insert("weight_decay".to_owned(), 0.0.into());
    }
    Ok(Component::create(library, "optimizer", name, &parameters)?)
}

fn start(reference: &Value) -> Result<(Vec<ParameterInfo>, Vec<Tensor>), Box<dyn Error>> {
    let (mut infos, mut values) = (Vec::new(), Vec::new());
    for entry in reference["parameters"].as_array().ok_or("parameters")? {
        let name = entry["name"].as_str().ok_or("name")?.to_owned();
        let shape: Vec<i64> = serde_json::from_value(entry["shape"].clone())?;
        let value = Tensor::from_slice(&numbers(&reference["start"][&name])).reshape(&shape);
        values.push(value.to_kind(Kind::Float).set_requires_grad(true));
        infos.push(serde_json::from_value(entry.clone())?);
    }
    Ok((infos, values))
}

/// Leaves these gradients: the derivative of the sum of g p is g. A null leaves none.
fn backward(infos: &[ParameterInfo], values: &[Tensor], grads: &Value) {
    for (info, value) in infos.iter().zip(values) {
        lorahost::native::gradients::forget(value).unwrap();
        if !grads[&info.name].is_null() {
            let grad = Tensor::from_slice(&numbers(&grads[&info.name])).to_kind(Kind::Float);
            (grad.reshape(value.size()) * value)
                .sum(Kind::Float)
                .backward();
        }
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|value| value.as_f64().unwrap())
        .collect()
}
