//! The runs that a property speaks of.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::VerifyError;
use crate::spec::{PlannedRun, Selection};

/// What A's learning rate and start, and B's learning rate, are multiplied by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trade {
    pub p: f64,
    pub q: f64,
}

/// Small enough to vanish beside any gradient that is not 0, and not 0.
const EPS: f64 = 1e-30;

/// `base` under an optimizer whose eps vanishes and which decays nothing, and the run that is to be the same: alpha/(pq), p
/// times A, its learning rate p times and that of B q times as large.
///
/// # Errors
/// p or q is no power of two; alpha policy or optimizer lacks a parameter that is set.
pub fn traded(base: &PlannedRun, Trade { p, q }: Trade) -> Result<[PlannedRun; 2], VerifyError> {
    if !(power_of_two(p) && power_of_two(q)) || p * q == 1.0 && p == 1.0 {
        return Err(VerifyError::NotAPowerOfTwo { p, q });
    }
    let mut plain = base.clone();
    set("optimizer", &mut plain.spec.optimizer, "eps", EPS)?;
    set("optimizer", &mut plain.spec.optimizer, "weight_decay", 0.0)?;
    "plain".clone_into(&mut plain.cell);
    let mut traded = plain.clone();
    "traded".clone_into(&mut traded.cell);
    let alpha = traded.spec.alpha.as_mut().ok_or(VerifyError::NoLora)?;
    let value = parameter("alpha", alpha, "alpha")?;
    set("alpha", alpha, "alpha", value / (p * q))?;
    let lora = traded.spec.lora.as_mut().ok_or(VerifyError::NoLora)?;
    lora.init_scale_a *= p;
    traded.spec.train.lr_a *= p;
    traded.spec.train.lr_b *= q;
    Ok([plain, traded])
}

/// The first `steps` steps of `base` at each of these ranks.
///
/// # Errors
/// There is a single rank, or one is given twice.
pub fn of_ranks(
    base: &PlannedRun,
    ranks: &[usize],
    steps: usize,
) -> Result<Vec<PlannedRun>, VerifyError> {
    if ranks.iter().all(|rank| *rank == ranks[0]) {
        return Err(VerifyError::TooFewRanks);
    }
    let mut known = BTreeSet::new();
    if let Some(&rank) = ranks.iter().find(|rank| !known.insert(**rank)) {
        return Err(VerifyError::SameRank { rank });
    }
    let mut runs = Vec::new();
    for &rank in ranks {
        let mut run = base.clone();
        let lora = run.spec.lora.as_mut().ok_or(VerifyError::NoLora)?;
        lora.rank = rank;
        run.spec.train.max_steps = Some(steps);
        run.cell = format!("lora-r{rank}");
        runs.push(run);
    }
    Ok(runs)
}

fn power_of_two(number: f64) -> bool {
    // Mantissa 0 and a normal exponent.
    number.is_normal() && number > 0.0 && number.to_bits().trailing_zeros() >= 52
}

fn parameter(
    kind: &'static str,
    selection: &Selection,
    parameter: &'static str,
) -> Result<f64, VerifyError> {
    let value = selection.parameters.get(parameter).and_then(Json::as_f64);
    value.ok_or_else(|| VerifyError::NoParameter {
        kind,
        name: selection.name.clone(),
        parameter,
    })
}

fn set(
    kind: &'static str,
    selection: &mut Selection,
    name: &'static str,
    value: f64,
) -> Result<(), VerifyError> {
    parameter(kind, selection, name)?;
    selection
        .parameters
        .insert(name.to_owned(), Json::from(value));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::test_support::run_spec;

    fn base() -> PlannedRun {
        let mut spec = run_spec(Some(4), 1e-3, 1);
        let parameters = &mut spec.optimizer.parameters;
        parameters.insert("eps".to_owned(), Json::from(1e-8));
        parameters.insert("weight_decay".to_owned(), Json::from(1e-3));
        let alpha = spec.alpha.as_mut().unwrap();
        alpha.parameters.insert("alpha".to_owned(), Json::from(8));
        PlannedRun {
            spec,
            cell: "lora-r4".to_owned(),
        }
    }

    #[test]
    fn the_trade() {
        let [plain, traded] = traded(&base(), Trade { p: 4.0, q: 0.5 }).unwrap();
        assert_eq!(plain.spec.optimizer.parameters["eps"], 1e-30);
        assert_eq!(plain.spec.optimizer.parameters["weight_decay"], 0.0);
        assert_eq!(traded.spec.optimizer, plain.spec.optimizer);
        assert_eq!(traded.spec.alpha.unwrap().parameters["alpha"], 4.0);
        assert_eq!(traded.spec.lora.unwrap().init_scale_a, 4.0);
        assert_eq!((traded.spec.train.lr_a, traded.spec.train.lr_b), (4.0, 0.5));
    }

    #[test]
    fn what_cannot_be_traded() {
        for (p, q) in [(3.0, 1.0), (1.0, 0.3), (1.0, 1.0), (-2.0, 1.0), (0.0, 1.0)] {
            let error = traded(&base(), Trade { p, q }).unwrap_err();
            assert!(
                matches!(error, VerifyError::NotAPowerOfTwo { .. }),
                "{p} {q}"
            );
        }
        let mut other = base();
        other.spec.optimizer.parameters.remove("eps");
        let error = traded(&other, Trade { p: 2.0, q: 1.0 }).unwrap_err();
        assert!(error.to_string().contains("no parameter `eps`"), "{error}");
        let mut full = base();
        full.spec.alpha = None;
        assert!(traded(&full, Trade { p: 2.0, q: 1.0 }).is_err());
    }

    #[test]
    fn ranks() {
        let runs = of_ranks(&base(), &[4, 64], 8).unwrap();
        let ranks: Vec<_> = runs
            .iter()
            .map(|run| run.spec.lora.as_ref().unwrap().rank)
            .collect();
        assert_eq!(ranks, [4, 64]);
        assert!(runs.iter().all(|run| run.spec.train.max_steps == Some(8)));
        assert!(of_ranks(&base(), &[4, 4], 8).is_err());
        assert!(of_ranks(&base(), &[], 8).is_err());
    }
}
