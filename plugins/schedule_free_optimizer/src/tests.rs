//! Against the authors' package `schedulefree`, its reference implementation with x, y and z: `scripts/references/optimizers.py` made the numbers.

use lorahost_plugin_api::testing::{Descent, follow, json, parameter, params, tensor};

use super::*;

#[test]
fn steps_and_evaluations_are_those_of_schedulefree() -> Result<()> {
    follow::<ScheduleFree>(include_str!("../tests/schedule_free.json"), 1e-11)
}

#[test]
fn an_evaluation_changes_nothing_and_may_be_resumed_in() -> Result<()> {
    let make = |values: &[f64]| -> Result<Descent<ScheduleFree>> {
        let group = vec![(parameter("w", Role::Base), tensor(values, &[3])?)];
        Descent::new(params::<ScheduleFree>(json!({}))?, group)
    };
    let start = [3.0, -0.1, 1e-3];
    let mut plain = make(&start)?;
    plain.quadratic(6, 0.1)?;

    let mut first = make(&start)?;
    first.quadratic(3, 0.1)?;
    let trained = first.values()[0].to_f64()?;
    first.evaluation(EvaluationPhase::Before)?;
    first.evaluation(EvaluationPhase::Before)?;
    let evaluated = first.values()[0].to_f64()?;
    assert_ne!(evaluated, trained);

    let mut second = make(&evaluated)?;
    second.load(first.state()?, 3)?;
    second.evaluation(EvaluationPhase::After)?;
    second.evaluation(EvaluationPhase::After)?;
    assert_eq!(second.values()[0].to_f64()?, trained);
    second.quadratic(3, 0.1)?;
    assert_eq!(second.values()[0].to_f64()?, plain.values()[0].to_f64()?);
    Ok(())
}
