//! A whole split through the model: loss over everything counted, metrics of the task head.

use std::rc::Rc;

use lorahost_plugin_api::protocol::Metrics;

use super::TrainError;
use super::head::HeadPass;
use super::run::packed;
use super::setup::Setup;
use super::trainer::Watch;
use crate::data::Tokens;
use crate::model;
use crate::plugins::Pass;
use crate::spec::RunSpec;

/// Rows of one forward pass. Without gradients memory is small, and larger products are faster.
const ROWS: usize = 64;

/// What a split measured.
#[derive(Debug)]
pub struct Evaluation {
    /// Sum over the split divided by what it runs over.
    pub loss: f64,
    pub metrics: Metrics,
}

/// Evaluates all rows of a split in their order.
pub fn evaluate(
    spec: &RunSpec,
    setup: &Setup,
    tokens: &Tokens,
    watch: &mut Watch<'_>,
) -> Result<Evaluation, TrainError> {
    let rows: Vec<u32> = (0..tokens.units() as u32).collect();
    let (mut sum, mut count) = (0.0, 0);
    watch
        .call("head", &spec.head, "reset", None)
        .of(|| setup.head.reset())?;
    for (number, rows) in rows.chunks(ROWS).enumerate() {
        let pass = Pass::Evaluation(number as u64);
        let (model, head) = (&setup.model, &setup.head);
        let (packed, batch) = packed(tokens, rows, model, head, pass, &spec.head, watch)?;
        let loss = tch::no_grad(|| {
            let pass_of_model = model::Pass::evaluation();
            let hidden = setup.model.forward(&packed, &pass_of_model)?;
            let access = Rc::new(HeadPass::new(&setup.model, pass_of_model));
            let call = watch.call("head", &spec.head, "forward", None);
            let loss = call.of(|| setup.head.forward(&hidden, &batch, access, pass))?;
            Ok::<_, TrainError>(loss)
        })?;
        sum += loss.sum.f_double_value(&[])?;
        count += loss.count;
    }
    if count == 0 {
        let message = format!("it counts nothing in {} rows", rows.len());
        return Err(setup.head.fault("forward", message).into());
    }
    let loss = sum / count as f64;
    let metrics = watch
        .call("head", &spec.head, "metrics", None)
        .of(|| setup.head.metrics(loss))?;
    Ok(Evaluation { loss, metrics })
}
