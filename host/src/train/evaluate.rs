//! A whole split through the model: loss over everything counted, metrics of the task head.

use std::ops::Range;
use std::rc::Rc;

use lorahost_plugin_api::protocol::Metrics;

use super::TrainError;
use super::head::HeadPass;
use super::run::{packed, seen};
use super::setup::Setup;
use super::trainer::Watch;
use crate::data::Tokens;
use crate::model::{self, Model};
use crate::plugins::{HeadAccess, Pass, TaskHead};
use crate::spec::{RunSpec, Selection};

/// Units of one forward pass at most. Without gradients memory is small, and larger products are faster.
const UNITS: usize = 64;
/// Tokens of one forward pass at most, but for a unit that is longer by itself: what bounds the memory of long rows.
const TOKENS: usize = 8192;

/// What a split measured.
#[derive(Debug)]
pub struct Evaluation {
    /// Sum over the split divided by what it runs over.
    pub loss: f64,
    pub metrics: Metrics,
}

/// Evaluates all rows of a split in their order, in passes that depend on the rows' lengths alone.
pub fn evaluate(
    spec: &RunSpec,
    setup: &Setup,
    tokens: &Tokens,
    watch: &mut Watch<'_>,
) -> Result<Evaluation, TrainError> {
    let (model, head) = (&setup.model, &setup.head);
    evaluate_with(
        &spec.head,
        model,
        head,
        tokens,
        &|pass| Rc::new(pass),
        watch,
    )
}

/// As [`evaluate`], of a model and a task head; `lend` makes of a pass over the model's head what the task head gets.
pub(crate) fn evaluate_with(
    selection: &Selection,
    model: &Rc<Model>,
    head: &Rc<TaskHead>,
    tokens: &Tokens,
    lend: &dyn Fn(HeadPass) -> Rc<dyn HeadAccess>,
    watch: &mut Watch<'_>,
) -> Result<Evaluation, TrainError> {
    let passes = passes((0..tokens.units()).map(|unit| tokens.length(unit)));
    let (mut sum, mut count) = (0.0, 0);
    watch
        .call("head", selection, "reset", None)
        .of(|| head.reset())?;
    for (number, units) in passes.into_iter().enumerate() {
        let pass = Pass::Evaluation(number as u64);
        let (packed, batch) = packed(
            tokens,
            &units.collect::<Vec<_>>(),
            model,
            head,
            pass,
            selection,
            watch,
        )?;
        let loss = tch::no_grad(|| {
            let pass_of_model = model::Pass::evaluation();
            let (hidden, batch) = seen(model, head, &packed, batch, &pass_of_model)?;
            let access = lend(HeadPass::new(model, pass_of_model));
            let call = watch.call("head", selection, "forward", None);
            let loss = call.of(|| head.forward(&hidden, &batch, access, pass))?;
            Ok::<_, TrainError>(loss)
        })?;
        sum += loss.sum.f_double_value(&[])?;
        count += loss.count;
    }
    if count == 0 {
        let message = format!("it counts nothing in {} rows", tokens.rows());
        return Err(head.fault("forward", message).into());
    }
    let loss = sum / count as f64;
    let metrics = watch
        .call("head", selection, "metrics", None)
        .of(|| head.metrics(loss))?;
    Ok(Evaluation { loss, metrics })
}

/// Consecutive units for each pass, from the number of tokens of each unit.
fn passes(lengths: impl Iterator<Item = usize>) -> Vec<Range<u32>> {
    let mut passes: Vec<Range<u32>> = Vec::new();
    let mut total = 0;
    for (unit, length) in (0..).zip(lengths) {
        match passes.last_mut() {
            Some(pass) if pass.len() < UNITS && total + length <= TOKENS => {
                pass.end += 1;
                total += length;
            }
            _ => {
                passes.push(unit..unit + 1);
                total = length;
            }
        }
    }
    passes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_is_bounded_in_units_and_tokens() {
        assert_eq!(passes([].into_iter()), []);
        assert_eq!(passes([2; 130].into_iter()), [0..64, 64..128, 128..130]);
        assert_eq!(passes([4096; 3].into_iter()), [0..2, 2..3]);
        assert_eq!(
            passes([1, TOKENS + 1, 1, TOKENS, 1].into_iter()),
            [0..1, 1..2, 2..3, 3..4, 4..5]
        );
    }
}
