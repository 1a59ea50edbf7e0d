//! How many steps a run takes, and whether its warm-up fits into them.

use super::error::SpecError;
use super::run::TrainSpec;

impl TrainSpec {
    /// Optimizer steps of a run over `rows` training rows.
    #[must_use]
    pub fn steps(&self, rows: usize) -> usize {
        let steps = self.steps_by_epochs(rows);
        self.max_steps.map_or(steps, |limit| limit.min(steps))
    }

    /// A warm-up must end before the run does. Without `rows` this is checked against `max_steps` alone.
    ///
    /// # Errors
    /// [`SpecError::WarmupTooLong`].
    pub fn check_warmup(&self, rows: Option<usize>) -> Result<(), SpecError> {
        let by_rows = rows.map(|rows| {
            let reason = format!(
                "{rows} train rows, batches of {}, accumulate {}, epochs {}",
                self.batch_size, self.accumulate, self.epochs
            );
            (self.steps_by_epochs(rows), reason)
        });
        let by_limit = self
            .max_steps
            .map(|steps| (steps, "train.max_steps".to_owned()));
        match by_rows.into_iter().chain(by_limit).min() {
            Some((steps, reason)) if self.warmup >= steps => Err(SpecError::WarmupTooLong {
                warmup: self.warmup,
                steps,
                reason,
            }),
            _ => Ok(()),
        }
    }

    fn steps_by_epochs(&self, rows: usize) -> usize {
        let batches = rows.div_ceil(self.batch_size);
        batches
            .div_ceil(self.accumulate)
            .saturating_mul(self.epochs)
    }
}

#[cfg(test)]
mod tests {
    use crate::spec::TrainSpec;
    use crate::spec::test_support::run_spec;

    fn spec() -> TrainSpec {
        TrainSpec {
            epochs: 2,
            batch_size: 4,
            accumulate: 2,
            ..run_spec(None, 1.0, 1).train
        }
    }

    #[test]
    fn a_short_last_batch_is_a_step_too() {
        // 17 rows: 5 batches, 3 steps an epoch.
        assert_eq!(spec().steps(17), 6);
        let limited = TrainSpec {
            max_steps: Some(4),
            ..spec()
        };
        assert_eq!(limited.steps(17), 4);
        let endless = TrainSpec {
            epochs: usize::MAX,
            ..spec()
        };
        assert_eq!(endless.steps(17), usize::MAX);
    }

    #[test]
    fn a_warm_up_ends_before_the_run() {
        let warmup = |warmup| TrainSpec { warmup, ..spec() };
        assert!(warmup(6).check_warmup(None).is_ok());
        assert!(warmup(5).check_warmup(Some(17)).is_ok());
        let error = warmup(6).check_warmup(Some(17)).unwrap_err().to_string();
        assert!(error.contains("at most 6 steps (17 train rows"), "{error}");
    }
}
