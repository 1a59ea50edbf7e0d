//! Optimizers of plugin files against `torch.optim`: `scripts/references/optimizers.py` made the numbers.

use std::error::Error;
use std::path::PathBuf;

use lorahost::plugins::{Component, Library, Optimizer, OptimizerGroup, PluginFile};
use lorahost_plugin_api::protocol::{ParameterInfo, Role};
use serde_json::{Map, Value};
use tch::{Kind, Tensor};

use crate::sandbox::{plugin, workspace};

/// float32 against float64 over five steps.
const TOLERANCE: f64 = 2e-6;

#[test]
fn adamw_is_that_of_torch() -> Result<(), Box<dyn Error>> {
    follow("adamw", workspace().join("host/tests/data/adamw.json"))
}

#[test]
fn sgd_is_that_of_torch() -> Result<(), Box<dyn Error>> {
    follow(
        "sgd",
        workspace().join("plugins/sgd_optimizer/tests/sgd.json"),
    )
}

/// Takes every case of a reference, with and without a change of component half-way.
fn follow(name: &str, path: PathBuf) -> Result<(), Box<dyn Error>> {
    let reference: Value = serde_json::from_slice(&std::fs::read(path)?)?;
    for case in reference["cases"].as_array().ok_or("cases")? {
        for resume_at in [None, Some(2)] {
            trajectory(name, &reference, case, resume_at)?;
        }
    }
    Ok(())
}

fn trajectory(
    name: &str,
    reference: &Value,
    case: &Value,
    resume_at: Option<usize>,
) -> Result<(), Box<dyn Error>> {
    let lr = reference["lr"].as_f64().ok_or("lr")?;
    let (infos, values) = start(reference)?;
    let make = || -> Result<Optimizer, Box<dyn Error>> {
        let group = OptimizerGroup {
            infos: infos.clone(),
            values: values.iter().map(Tensor::shallow_clone).collect(),
        };
        Ok(Optimizer::new(
            component(name, &case["options"])?,
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
        for (info, value) in infos.iter().zip(&values) {
            let found = Vec::<f64>::try_from(value.detach().to_kind(Kind::Double).flatten(0, -1))?;
            for (found, expected) in found.iter().zip(numbers(&after[&info.name])) {
                assert!(
                    (found - expected).abs() <= TOLERANCE * expected.abs().max(1.0),
                    "{name} {}, step {}, {}: {found}, expected {expected}",
                    case["options"],
                    place + 1,
                    info.name
                );
            }
        }
    }
    Ok(())
}

fn component(name: &str, options: &Value) -> Result<Component, Box<dyn Error>> {
    let library = Library::open(PluginFile::read(&plugin(&format!("{name}_optimizer")))?)?;
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
        infos.push(ParameterInfo {
            role: Role::Base,
            pair: None,
            scale: 1.0,
            lr: entry["lr"].as_f64().ok_or("lr")?,
            decay: entry["decay"].as_bool().ok_or("decay")?,
            name,
        });
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
