//! The learning rate of each step.

use crate::spec::{Schedule, TrainSpec};

/// The learning rate of step `step` (from 1) of `total`, as Hugging Face's schedulers have it: the first of `warmup`
/// steps has 0, and a decaying schedule ends just above 0.
#[must_use]
pub fn learning_rate(train: &TrainSpec, step: usize, total: usize) -> f64 {
    let done = (step - 1) as f64;
    let warmup = train.warmup as f64;
    if done < warmup {
        return train.lr * done / warmup;
    }
    let share = (done - warmup) / (total as f64 - warmup).max(1.0);
    train.lr
        * match train.schedule {
            Schedule::Constant => 1.0,
            Schedule::Linear => 1.0 - share,
            Schedule::Cosine => f64::midpoint(1.0, (std::f64::consts::PI * share).cos()),
        }
}

#[cfg(test)]
mod tests {
    use super::learning_rate;
    use crate::spec::{Save, Schedule, TrainSpec};

    fn spec(schedule: Schedule, warmup: usize) -> TrainSpec {
        TrainSpec {
            lr: 2.0,
            lr_a: 1.0,
            lr_b: 1.0,
            epochs: 2,
            batch_size: 4,
            accumulate: 2,
            max_steps: None,
            eval_every: None,
            diverged_after: None,
            schedule,
            warmup,
            grad_clip: None,
            save: Save::None,
        }
    }

    #[test]
    fn rates_follow_transformers() {
        let rates = |schedule, warmup| {
            let spec = spec(schedule, warmup);
            (1..=6)
                .map(|step| learning_rate(&spec, step, 6))
                .collect::<Vec<_>>()
        };
        assert_eq!(rates(Schedule::Constant, 0), [2.0; 6]);
        assert_eq!(rates(Schedule::Constant, 2), [0.0, 1.0, 2.0, 2.0, 2.0, 2.0]);
        assert_eq!(rates(Schedule::Linear, 2), [0.0, 1.0, 2.0, 1.5, 1.0, 0.5]);
        let cosine = rates(Schedule::Cosine, 2);
        assert_eq!(cosine[2], 2.0);
        assert!((cosine[4] - 1.0).abs() < 1e-12);
    }
}
