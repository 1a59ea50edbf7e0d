//! What two runs logged, figure by figure.

use crate::record::Event;

/// The first figure in which two runs differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// `loss of step 3`, `validation loss after step 8`.
    pub place: String,
    pub one: f64,
    pub other: f64,
}

/// Compares losses of steps and losses and metrics of evaluations, bit for bit: how many there are, and the first that
/// differs.
#[must_use]
pub fn compare(one: &[Event], other: &[Event]) -> (usize, Option<Difference>) {
    let (one, other) = (figures(one), figures(other));
    let differs = one
        .iter()
        .zip(&other)
        .find(|(one, other)| one.0 != other.0 || one.1.to_bits() != other.1.to_bits());
    let difference = differs.map(|(one, other)| (one.0.clone(), one.1, other.1));
    // One that ended before the other differs where it ended.
    let difference = difference.or_else(|| {
        let longer = if one.len() > other.len() {
            &one
        } else {
            &other
        };
        let missing = longer.get(one.len().min(other.len()))?;
        let at = |figures: &[(String, f64)]| {
            let present = figures.len() == longer.len();
            if present { missing.1 } else { f64::NAN }
        };
        Some((missing.0.clone(), at(&one), at(&other)))
    });
    let difference = difference.map(|(place, one, other)| Difference { place, one, other });
    (one.len(), difference)
}

/// The losses of the steps, in their order.
#[must_use]
pub fn losses(events: &[Event]) -> Vec<f64> {
    let losses = events.iter().filter_map(|event| match event {
        Event::Step { loss, .. } => *loss,
        _ => None,
    });
    losses.collect()
}

/// The largest difference from the first value, relative to it.
#[must_use]
pub fn spread(values: &[f64]) -> f64 {
    let Some(&first) = values.first() else {
        return 0.0;
    };
    let relative = values.iter().map(|value| ((value - first) / first).abs());
    // A loss that is no number is as far away as can be.
    relative
        .map(|value| if value.is_nan() { f64::INFINITY } else { value })
        .fold(0.0, f64::max)
}

fn figures(events: &[Event]) -> Vec<(String, f64)> {
    let mut figures = Vec::new();
    for event in events {
        match event {
            Event::Step { step, loss, .. } => {
                figures.push((format!("loss of step {step}"), loss.unwrap_or(f64::NAN)));
            }
            Event::Evaluation {
                split,
                step,
                loss,
                metrics,
                ..
            } => {
                let split = split.name();
                figures.push((format!("{split} loss after step {step}"), *loss));
                for (name, value) in metrics {
                    figures.push((format!("{split} {name} after step {step}"), *value));
                }
            }
            _ => {}
        }
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: usize, loss: f64) -> Event {
        Event::Step {
            step,
            epoch: 1,
            loss: Some(loss),
            lr: 1e-3,
        }
    }

    #[test]
    fn the_last_bit_counts() {
        let one = [step(1, 0.5), step(2, 0.25)];
        assert_eq!(compare(&one, &one), (2, None));
        let other = [step(1, 0.5), step(2, 0.25_f64.next_up())];
        let (_, difference) = compare(&one, &other);
        assert_eq!(difference.unwrap().place, "loss of step 2");
    }

    #[test]
    fn a_run_that_ended_before_differs() {
        let one = [step(1, 0.5), step(2, 0.25)];
        let difference = compare(&one[..1], &one).1.unwrap();
        assert_eq!(
            (difference.place.as_str(), difference.other),
            ("loss of step 2", 0.25)
        );
        assert!(difference.one.is_nan());
    }

    #[test]
    fn spreads() {
        assert_eq!(spread(&[2.0, 2.5, 1.9]), 0.25);
        assert_eq!(spread(&[2.0, f64::NAN]), f64::INFINITY);
        assert_eq!(losses(&[step(1, 0.5), Event::Returned]), [0.5]);
    }
}
