//! What a run will take: its steps, and the multiply-adds of the encoder's linear layers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use tch::Device;

use super::{PrepareError, RunJob};
use crate::adapter::Targets;
use crate::data::TokenSplits;
use crate::model::{Model, ModelError, Options, TokenCost};
use crate::record::RunPlan;
use crate::spec::{RunSpec, TrainSpec, Weights};

/// Counts steps and operations of runs, with each model and token file opened once.
#[derive(Default)]
pub(super) struct Counter {
    costs: HashMap<Method, TokenCost>,
    tokens: HashMap<PathBuf, Lengths>,
}

/// A model with its weights, and the targets and the rank of LoRA.
type Method = (String, Weights, Option<(String, usize)>);

/// Of a token file: what there is to train and to evaluate on.
#[derive(Clone, Copy)]
struct Lengths {
    /// What batches are counted in.
    train_units: usize,
    train: usize,
    validation: usize,
    test: usize,
}

impl Counter {
    /// # Errors
    /// When the run's model or its token file cannot be opened.
    pub fn run(&mut self, job: &RunJob) -> Result<RunPlan, PrepareError> {
        let lengths = self.lengths(&job.tokens)?;
        let cost = self.cost(job)?;
        let train = &job.spec.train;
        let steps = train.steps(lengths.train_units);
        let trained = trained_tokens(train, lengths, steps);
        let validations = 1 + evaluations(train, lengths, steps);
        let evaluated = validations
            .saturating_mul(lengths.validation)
            .saturating_add(lengths.test);
        Ok(RunPlan {
            id: job.id.clone(),
            steps,
            multiply_adds: (cost.step.saturating_mul(trained as u64))
                .saturating_add(cost.forward.saturating_mul(evaluated as u64)),
        })
    }

    fn lengths(&mut self, path: &Path) -> Result<Lengths, PrepareError> {
        if let Some(known) = self.tokens.get(path) {
            return Ok(*known);
        }
        let splits = TokenSplits::map(path)?;
        let lengths = Lengths {
            train_units: splits.train.units(),
            train: splits.train.total(),
            validation: splits.validation.total(),
            test: splits.test.total(),
        };
        self.tokens.insert(path.to_owned(), lengths);
        Ok(lengths)
    }

    fn cost(&mut self, job: &RunJob) -> Result<TokenCost, PrepareError> {
        let RunSpec { model, lora, .. } = &job.spec;
        let lora = lora.as_ref().map(|lora| (lora.targets.clone(), lora.rank));
        let key = (job.model.clone(), model.weights, lora);
        if let Some(known) = self.costs.get(&key) {
            return Ok(*known);
        }
        let options = Options {
            weights: model.weights,
            dropout: None,
            device: Device::Cpu,
            seeds: job.spec.seeds,
        };
        let outline = Model::outline(&job.model, options)?;
        let cost = match &key.2 {
            Some((targets, rank)) => {
                let targets = Targets::parse(targets).map_err(ModelError::from)?;
                outline.token_cost(Some((&targets, *rank)))
            }
            None => outline.token_cost(None),
        };
        self.costs.insert(key, cost);
        Ok(cost)
    }
}

/// Tokens of all steps: whole epochs, and a share of one where the steps are limited.
fn trained_tokens(train: &TrainSpec, lengths: Lengths, steps: usize) -> usize {
    let of_an_epoch = steps_of_an_epoch(train, lengths).max(1);
    let rest = lengths.train as f64 * ((steps % of_an_epoch) as f64 / of_an_epoch as f64);
    (steps / of_an_epoch)
        .saturating_mul(lengths.train)
        .saturating_add(rest as usize)
}

/// Evaluations of the validation split in so many steps: at the end of each epoch, every so many steps, and at the end.
fn evaluations(train: &TrainSpec, lengths: Lengths, steps: usize) -> usize {
    let epoch = steps_of_an_epoch(train, lengths).max(1);
    let every = train.eval_every.unwrap_or(epoch);
    let both = (every / gcd(every, epoch)).saturating_mul(epoch);
    let last = !steps.is_multiple_of(every) && !steps.is_multiple_of(epoch);
    steps / every + steps / epoch - steps / both + usize::from(last)
}

fn steps_of_an_epoch(train: &TrainSpec, lengths: Lengths) -> usize {
    let one = TrainSpec {
        epochs: 1,
        max_steps: None,
        ..train.clone()
    };
    one.steps(lengths.train_units)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::test_support::run_spec;

    const LENGTHS: Lengths = Lengths {
        train_units: 64,
        train: 640,
        validation: 100,
        test: 200,
    };

    fn train(
        epochs: usize,
        max_steps: Option<usize>,
        eval_every: Option<usize>,
    ) -> (TrainSpec, usize) {
        let train = TrainSpec {
            epochs,
            max_steps,
            eval_every,
            batch_size: 8,
            ..run_spec(None, 1.0, 1).train
        };
        let steps = train.steps(LENGTHS.train_units);
        (train, steps)
    }

    #[test]
    fn limited_steps_see_a_share_of_the_tokens() {
        let tokens = |max_steps| {
            let (train, steps) = train(3, max_steps, None);
            trained_tokens(&train, LENGTHS, steps)
        };
        assert_eq!(tokens(None), 3 * 640);
        assert_eq!(tokens(Some(12)), 640 + 320);
    }

    #[test]
    fn an_evaluation_that_falls_on_the_end_of_an_epoch_is_one() {
        // Steps 8, 16 and 24 end epochs.
        let count = |max_steps, eval_every| {
            let (train, steps) = train(3, max_steps, eval_every);
            evaluations(&train, LENGTHS, steps)
        };
        assert_eq!(count(None, None), 3);
        assert_eq!(count(None, Some(4)), 6);
        // 5, 8, 10, 15, 16, 20, 24
        assert_eq!(count(None, Some(5)), 7);
        // 5, 8, 9
        assert_eq!(count(Some(9), Some(5)), 3);
        // 5, 8, 10
        assert_eq!(count(Some(10), Some(5)), 3);
        assert_eq!(count(Some(3), None), 1);
    }
}
