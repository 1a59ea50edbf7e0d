//! The loop: batch, forward, loss, backward, step.

use std::rc::Rc;

use lorahost_plugin_api::protocol::{EvaluationPhase, Pooled, Sees};
use tch::{Kind, Tensor};

use super::checkpoint::{self, Progress};
use super::diagnostics::Meter;
use super::evaluate::{Evaluation, evaluate};
use super::head::HeadPass;
use super::setup::Setup;
use super::trainer::Watch;
use super::{TrainError, learning_rate};
use crate::data::{self, BatchLabels, Tokens};
use crate::model::{self, Model, ModelError, PackedBatch};
use crate::native;
use crate::plugins::{HeadBatch, HeadLoss, Pass, TaskHead};
use crate::record::{Event, Measured, Split, TestResult};
use crate::spec::{RunSpec, Selection};
use crate::sweep::Wish;

/// Trains a run to its end, or to where it has diverged, from its beginning or from how far it was. None where it was
/// left at a step boundary, with a checkpoint, because the watch wished so.
pub fn run(
    spec: &RunSpec,
    setup: &Setup,
    resumed: Option<Progress>,
    watch: &mut Watch<'_>,
) -> Result<Option<Measured>, TrainError> {
    let rows = setup.tokens.train.units();
    let steps = spec.train.steps(rows);
    start(setup, steps, watch);
    let mut progress = match resumed {
        Some(progress) => progress,
        None => begin(spec, setup, watch)?,
    };
    if boundary(spec, setup, &progress, watch) == Wish::Stop {
        return Ok(None);
    }
    for epoch in progress.epoch..=spec.train.epochs {
        if progress.measured.steps == steps && progress.groups == 0 {
            break;
        }
        let order = data::order(rows, spec.seeds.data, epoch);
        let batches: Vec<&[u32]> = order.chunks(spec.train.batch_size).collect();
        let groups = batches.chunks(spec.train.accumulate);
        let all = groups.len();
        let mut diverged = None;
        for group in groups.skip(progress.groups) {
            if progress.measured.steps == steps {
                break;
            }
            let step = progress.measured.steps + 1;
            let lr = learning_rate(&spec.train, step, steps);
            let loss = backward(spec, setup, group, &mut progress, watch)?;
            if loss.is_some_and(f64::is_finite) {
                progress.updates += 1;
                clip(setup, spec.train.grad_clip)?;
                let evaluated = is_due(spec, step) || step == steps || progress.groups + 1 == all;
                let before = evaluated.then(|| Meter::before_step(setup)).transpose()?;
                watch
                    .call("optimizer", &spec.optimizer, "step", None)
                    .of(|| setup.optimizer.step(progress.updates, lr))?;
                progress.last_step = before
                    .map(|before| setup.meter.after_step(setup, before))
                    .transpose()?;
            }
            forget_gradients(setup)?;
            progress.groups += 1;
            progress.measured.steps = step;
            watch.tell(Event::Step {
                step,
                epoch,
                loss,
                lr,
            });
            if loss.is_some_and(|loss| !loss.is_finite()) {
                progress.measured.train_losses.push(f64::NAN);
                return Ok(Some(progress.measured));
            }
            // After the last one of an epoch the model is evaluated in any case.
            if is_due(spec, step) && step < steps && progress.groups < all {
                let evaluation = validate(spec, setup, &progress, watch)?;
                if has_diverged(spec, &mut progress, evaluation.as_ref()) {
                    diverged = evaluation;
                    break;
                }
            }
            if boundary(spec, setup, &progress, watch) == Wish::Stop {
                return Ok(None);
            }
        }
        if measure_epoch(spec, setup, diverged, &mut progress, watch)? {
            break;
        }
        progress.epoch += 1;
        progress.groups = 0;
        if boundary(spec, setup, &progress, watch) == Wish::Stop {
            return Ok(None);
        }
    }
    let mut measured = progress.measured;
    let finite = measured.train_losses.iter().chain(&measured.val_losses);
    if finite.copied().all(f64::is_finite) {
        test(spec, setup, &mut measured, watch)?;
    }
    Ok(Some(measured))
}

/// Measures the epoch in work, which is done, or in which an evaluation showed that the run has diverged; true if the run
/// ends by it.
fn measure_epoch(
    spec: &RunSpec,
    setup: &Setup,
    diverged: Option<Evaluation>,
    progress: &mut Progress,
    watch: &mut Watch<'_>,
) -> Result<bool, TrainError> {
    let epoch = progress.epoch;
    let (sum, count) = std::mem::take(&mut progress.means);
    if count == 0 {
        let rows = setup.tokens.train.units();
        let message = format!("it counts nothing in the {rows} rows of epoch {epoch}");
        return Err(setup.head.fault("forward", message).into());
    }
    // The original study's figure: the mean of the batches' means.
    progress.measured.train_losses.push(sum / count as f64);
    let mut ends = diverged.is_some();
    let evaluation = if ends {
        diverged
    } else {
        let evaluation = validate(spec, setup, progress, watch)?;
        ends = has_diverged(spec, progress, evaluation.as_ref());
        evaluation
    };
    if let Some(evaluation) = evaluation {
        progress.measured.val_losses.push(evaluation.loss);
        progress.measured.headline = Some(evaluation.metrics.short);
        progress.measured.higher_is_better = Some(evaluation.metrics.higher_is_better);
        ends |= !evaluation.loss.is_finite();
    }
    Ok(ends)
}

fn start(setup: &Setup, steps: usize, watch: &mut Watch<'_>) {
    let description = setup.model.describe();
    watch.tell(Event::Start {
        steps,
        linear_layers: description.linear_layers,
        wrapped_layers: description.wrapped,
        trainable_parameters: description.trainable as u64,
        total_parameters: description.total as u64,
    });
}

/// The untrained model, evaluated.
fn begin(spec: &RunSpec, setup: &Setup, watch: &mut Watch<'_>) -> Result<Progress, TrainError> {
    let description = setup.model.describe();
    let untrained = validate(spec, setup, &Progress::default(), watch)?;
    Ok(Progress {
        epoch: 1,
        measured: Measured {
            untrained_val_loss: untrained.map(|evaluation| evaluation.loss),
            trainable_parameters: description.trainable as u64,
            total_parameters: description.total as u64,
            ..Measured::default()
        },
        ..Progress::default()
    })
}

/// Keeps the run where it is, if that is wished.
fn boundary(spec: &RunSpec, setup: &Setup, progress: &Progress, watch: &mut Watch<'_>) -> Wish {
    let wish = watch.wish();
    if wish != Wish::GoOn {
        checkpoint::keep(spec, setup, progress, watch);
    }
    wish
}

/// Whether the model is evaluated after this step, wherever in an epoch it is.
fn is_due(spec: &RunSpec, step: usize) -> bool {
    let every = spec.train.eval_every;
    every.is_some_and(|every| step.is_multiple_of(every))
}

/// Counts an evaluation of another model than the last one; true if the run is to end by it.
fn has_diverged(spec: &RunSpec, progress: &mut Progress, evaluation: Option<&Evaluation>) -> bool {
    let (Some(evaluation), Some(untrained)) = (evaluation, progress.measured.untrained_val_loss)
    else {
        return false;
    };
    let above = evaluation.loss > untrained;
    progress.above_untrained = if above {
        progress.above_untrained + 1
    } else {
        0
    };
    let limit = spec.train.diverged_after;
    limit.is_some_and(|limit| progress.above_untrained >= limit)
}

/// Adds up the gradients of a step's batches; returns the mean loss over everything that they count, if they count
/// anything, and adds each batch's own mean to those of the epoch.
fn backward(
    spec: &RunSpec,
    setup: &Setup,
    group: &[&[u32]],
    progress: &mut Progress,
    watch: &mut Watch<'_>,
) -> Result<Option<f64>, TrainError> {
    let (mut sum, mut count) = (0.0, 0);
    for rows in group {
        let HeadLoss {
            sum: of_batch,
            count: of_rows,
        } = forward(spec, setup, rows, progress.forwards, watch)?;
        progress.forwards += 1;
        if of_rows == 0 {
            // A head may find nothing to predict in a small batch.
            continue;
        }
        let value = of_batch.f_double_value(&[])?;
        progress.means.0 += value / of_rows as f64;
        progress.means.1 += 1;
        sum += value;
        count += of_rows;
        if group.len() == 1 {
            propagate(setup, &of_batch.f_div_scalar(of_rows as f64)?)?;
        } else {
            propagate(setup, &of_batch)?;
        }
    }
    if count == 0 {
        return Ok(None);
    }
    if group.len() > 1 {
        // Only now is it known what the sum runs over.
        for mut gradient in gradients(setup) {
            let _ = gradient.f_mul_scalar_(1.0 / count as f64)?;
        }
    }
    Ok(Some(sum / count as f64))
}

/// The backward pass. What goes wrong there, but for memory, lies in the graph that the head's operators made.
fn propagate(setup: &Setup, loss: &Tensor) -> Result<(), TrainError> {
    let passed = loss.f_backward().map_err(TrainError::from);
    passed.map_err(|error| {
        if error.may_pass() {
            error
        } else {
            setup.head.fault("backward", error.to_string()).into()
        }
    })
}

fn forward(
    spec: &RunSpec,
    setup: &Setup,
    rows: &[u32],
    number: u64,
    watch: &mut Watch<'_>,
) -> Result<HeadLoss, TrainError> {
    let pass = Pass::Training(number);
    let Setup {
        tokens,
        model,
        head,
        ..
    } = setup;
    let (packed, batch) = packed(&tokens.train, rows, model, head, pass, &spec.head, watch)?;
    let pass_of_model = model::Pass::training(spec.seeds.dropout, number);
    let (hidden, batch) = seen(model, head, &packed, batch, &pass_of_model)?;
    let access = Rc::new(HeadPass::new(model, pass_of_model));
    let call = watch.call("head", &spec.head, "forward", None);
    Ok(call.of(|| head.forward(&hidden, &batch, access, pass))?)
}

/// The hidden states that the task head looks at, and the batch that goes with them.
pub fn seen(
    model: &Model,
    head: &TaskHead,
    packed: &PackedBatch,
    batch: HeadBatch,
    pass: &model::Pass,
) -> Result<(Tensor, HeadBatch), TrainError> {
    let pooled = model.head()?.description().pooled;
    if head.sees() == Sees::Tokens || pooled != Some(Pooled::First) {
        return Ok((model.forward(packed, pass)?, batch));
    }
    let hidden = model.forward_first(packed, pass)?;
    let firsts = batch.offsets.f_slice(0, None, Some(-1), 1)?;
    Ok((hidden, batch.pooled(&firsts)?))
}

/// A batch as the model and as the task head see it, after the head had its say about tokens and labels.
pub fn packed(
    tokens: &Tokens,
    rows: &[u32],
    model: &Model,
    head: &TaskHead,
    pass: Pass,
    selection: &Selection,
    watch: &mut Watch<'_>,
) -> Result<(PackedBatch, HeadBatch), TrainError> {
    let data::Batch {
        ids,
        offsets,
        labels,
        bytes,
    } = data::batch(tokens, rows);
    let tensor = |values: &[i64]| Tensor::f_from_slice(values)?.f_to_device(model.device());
    let labels_of = |labels| match labels {
        BatchLabels::Whole(labels) => tensor(&labels),
        BatchLabels::Numbers(numbers) => {
            Tensor::f_from_slice(&numbers)?.f_to_device(model.device())
        }
    };
    let plain = HeadBatch {
        tokens: tensor(&ids)?,
        offsets: tensor(&offsets)?,
        labels: labels.map(labels_of).transpose()?,
        bytes,
    };
    let batch = watch
        .call("head", selection, "inputs", None)
        .of(|| head.inputs(&plain, pass))?;
    let packed = model.pack(&batch.tokens, &offsets);
    let packed = packed.map_err(|error| match error {
        // The data's own ids were checked when they were read: this one is the head's.
        ModelError::Token { .. } => TrainError::from(head.fault("inputs", format!("its {error}"))),
        other => other.into(),
    })?;
    Ok((packed, batch))
}

/// Evaluates the validation split, if there is one, and measures how far the model has moved.
fn validate(
    spec: &RunSpec,
    setup: &Setup,
    progress: &Progress,
    watch: &mut Watch<'_>,
) -> Result<Option<Evaluation>, TrainError> {
    let (epoch, step) = (progress.epoch, progress.measured.steps);
    let tokens = &setup.tokens.validation;
    if tokens.rows() == 0 {
        return Ok(None);
    }
    around_evaluation(spec, setup, EvaluationPhase::Before, watch)?;
    let evaluation = evaluate(spec, setup, tokens, watch)?;
    // Of the point that was evaluated, which need not be the one at which the optimizer goes on.
    let diagnostics = setup.meter.measure(spec, setup, progress)?;
    around_evaluation(spec, setup, EvaluationPhase::After, watch)?;
    watch.tell(Event::Evaluation {
        split: Split::Validation,
        step,
        epoch,
        loss: evaluation.loss,
        metrics: evaluation.metrics.values.clone(),
    });
    watch.tell(Event::Diagnostics(diagnostics));
    Ok(Some(evaluation))
}

/// Evaluates the last model on the test split, if there is one.
fn test(
    spec: &RunSpec,
    setup: &Setup,
    measured: &mut Measured,
    watch: &mut Watch<'_>,
) -> Result<(), TrainError> {
    let tokens = &setup.tokens.test;
    // An optimizer that answers for another point than it trains at leaves the model there: it is what is saved.
    around_evaluation(spec, setup, EvaluationPhase::Before, watch)?;
    if tokens.rows() == 0 {
        return Ok(());
    }
    let Evaluation { loss, mut metrics } = evaluate(spec, setup, tokens, watch)?;
    // `results.json` has the short name of the figure that stands for the task.
    if let Some(&value) = metrics.values.get(&metrics.headline) {
        metrics.values.insert(metrics.short.clone(), value);
    }
    watch.tell(Event::Evaluation {
        split: Split::Test,
        step: measured.steps,
        epoch: measured.train_losses.len(),
        loss,
        metrics: metrics.values.clone(),
    });
    measured.headline = Some(metrics.short);
    measured.higher_is_better = Some(metrics.higher_is_better);
    measured.test = Some(TestResult {
        loss,
        metrics: metrics.values,
    });
    Ok(())
}

fn around_evaluation(
    spec: &RunSpec,
    setup: &Setup,
    phase: EvaluationPhase,
    watch: &mut Watch<'_>,
) -> Result<(), TrainError> {
    let call = watch.call("optimizer", &spec.optimizer, "evaluation", None);
    Ok(call.of(|| setup.optimizer.evaluation(phase))?)
}

fn gradients(setup: &Setup) -> impl Iterator<Item = Tensor> {
    let values = setup.optimizer.group().values.iter();
    values.map(Tensor::grad).filter(Tensor::defined)
}

/// Scales all gradients so that their global norm is at most `limit`, as `torch.nn.utils.clip_grad_norm_`.
fn clip(setup: &Setup, limit: Option<f64>) -> Result<(), TrainError> {
    let Some(limit) = limit else { return Ok(()) };
    let mut square = 0.0;
    for gradient in gradients(setup) {
        square += gradient
            .f_square()?
            .f_sum(Kind::Double)?
            .f_double_value(&[])?;
    }
    let factor = limit / (square.sqrt() + 1e-6);
    if factor < 1.0 {
        for mut gradient in gradients(setup) {
            let _ = gradient.f_mul_scalar_(factor)?;
        }
    }
    Ok(())
}

/// Frees the gradients: what the next step does not reach has none.
fn forget_gradients(setup: &Setup) -> Result<(), TrainError> {
    let values = &setup.optimizer.group().values;
    Ok(values.iter().try_for_each(native::gradients::forget)?)
}
