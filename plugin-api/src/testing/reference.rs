//! Optimizers against a reference: the same steps, computed by another program.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::descent::Descent;
use super::fixtures::{live_handles, tensor};
use super::params::params;
use crate::protocol::{EvaluationPhase, ParameterInfo};
use crate::sdk::{Error, Optimizer, Result, Tensor};

/// Values by the parameters' names, in row-major order; null where a parameter has no gradient.
type Values = BTreeMap<String, Option<Vec<f64>>>;

/// What a file of reference values holds: everything is given in float64.
#[derive(Deserialize)]
struct Reference {
    /// The learning rate of every step, or of each.
    lr: Rates,
    parameters: Vec<Entry>,
    start: Values,
    /// One a step.
    grads: Vec<Values>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Rates {
    Constant(f64),
    EachStep(Vec<f64>),
}

#[derive(Deserialize)]
struct Entry {
    shape: Vec<i64>,
    #[serde(flatten)]
    info: ParameterInfo,
}

/// The steps with these parameters of the optimizer.
#[derive(Deserialize)]
struct Case {
    options: Value,
    /// One a step.
    after: Vec<Values>,
    /// One a step: what an evaluation after it would see, where that is another point.
    #[serde(default)]
    evaluated: Vec<Values>,
}

/// Takes the steps of a reference with an optimizer, and compares the parameters after each to this relative difference
/// (absolute below 1). It does so for every case of the file, once in one go and once with a change to a fresh optimizer
/// and the state of the old one half-way, and sees to it that no tensor is left.
///
/// The file is JSON: `lr` (a number, or one a step), `parameters` (`name`, `shape`, and what else
/// [`ParameterInfo`] has), `start` and `grads` (values by name; null for no gradient), and `cases`, each with the
/// `options` of the optimizer, the values `after` each step and, for an optimizer that answers for another point than
/// it trains at, `evaluated`. Weight decay that `options` does not name is 0.
///
/// # Errors
/// Where the optimizer fails or goes another way than the reference.
pub fn follow<T: Optimizer>(reference: &str, tolerance: f64) -> Result<()> {
    let reference: Reference = serde_json::from_str(reference)?;
    let before = live_handles();
    for case in &reference.cases {
        for resume in [false, true] {
            trajectory::<T>(&reference, case, tolerance, resume)
                .map_err(|error| error.within(&format!("{}, resume {resume}", case.options)))?;
        }
    }
    if live_handles() != before {
        let left = live_handles() - before;
        return Err(Error::new(format!("{left} tensors were not dropped")));
    }
    Ok(())
}

fn trajectory<T: Optimizer>(
    reference: &Reference,
    case: &Case,
    tolerance: f64,
    resume: bool,
) -> Result<()> {
    let Reference {
        lr,
        parameters,
        start,
        grads,
        ..
    } = reference;
    let group = parameters.iter().map(|entry| {
        let value = values(start, entry)?.ok_or_else(|| absent(entry, "start value"))?;
        Ok((entry.info.clone(), value))
    });
    let mut descent = Descent::new(optimizer::<T>(case)?, group.collect::<Result<_>>()?)?;
    for (place, (grads, after)) in grads.iter().zip(&case.after).enumerate() {
        if resume && place == case.after.len() / 2 {
            let (state, step) = (descent.state()?, place as u64);
            let infos = parameters.iter().map(|entry| entry.info.clone());
            let copies = descent.values().iter().map(Tensor::copy);
            let group = infos.zip(copies).map(|(info, value)| Ok((info, value?)));
            let group = group.collect::<Result<_>>()?;
            descent = Descent::new(optimizer::<T>(case)?, group)?;
            descent.load(state, step)?;
        }
        let lr = match lr {
            Rates::Constant(lr) => *lr,
            Rates::EachStep(list) => *list
                .get(place)
                .ok_or_else(|| Error::new("fewer learning rates than steps"))?,
        };
        let grads = parameters.iter().map(|entry| values(grads, entry));
        let grads = grads.collect::<Result<Vec<_>>>()?;
        let grads: Vec<_> = grads.iter().map(Option::as_ref).collect();
        descent.step(&grads, lr)?;
        compare(&descent, parameters, after, place, tolerance)?;
        if let Some(evaluated) = case.evaluated.get(place) {
            descent.evaluation(EvaluationPhase::Before)?;
            compare(&descent, parameters, evaluated, place, tolerance)
                .map_err(|error| error.within("in an evaluation"))?;
            descent.evaluation(EvaluationPhase::After)?;
            compare(&descent, parameters, after, place, tolerance)
                .map_err(|error| error.within("after an evaluation"))?;
        }
    }
    Ok(())
}

fn optimizer<T: Optimizer>(case: &Case) -> Result<T> {
    let mut options = case.options.clone();
    let schema = crate::manifest::text(T::PARAMETERS);
    if options.get("weight_decay").is_none() && schema.contains("\"weight_decay\"") {
        options["weight_decay"] = 0.0.into();
    }
    params(options)
}

fn values(of: &Values, entry: &Entry) -> Result<Option<Tensor>> {
    match of.get(&entry.info.name) {
        None => Err(absent(entry, "entry")),
        Some(None) => Ok(None),
        Some(Some(values)) => tensor(values, &entry.shape).map(Some),
    }
}

fn compare<T: Optimizer>(
    descent: &Descent<T>,
    parameters: &[Entry],
    expected: &Values,
    place: usize,
    tolerance: f64,
) -> Result<()> {
    for (entry, value) in parameters.iter().zip(descent.values()) {
        let name = &entry.info.name;
        let expected = expected.get(name).and_then(Option::as_ref);
        let expected = expected.ok_or_else(|| absent(entry, "result"))?;
        let found = value.to_f64()?;
        let close = |(found, expected): (&f64, &f64)| {
            (found - expected).abs() <= tolerance * expected.abs().max(1.0)
        };
        if found.len() != expected.len() || !found.iter().zip(expected).all(close) {
            return Err(Error::new(format!(
                "{name} after step {}: {found:?}, not {expected:?}",
                place + 1
            )));
        }
    }
    Ok(())
}

fn absent(entry: &Entry, what: &str) -> Error {
    Error::new(format!(
        "the reference has no {what} of {}",
        entry.info.name
    ))
}
