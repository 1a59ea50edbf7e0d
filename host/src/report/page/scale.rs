//! From values to places along an axis, and where its ticks stand.

use super::figure::Kind;

/// An axis of a certain length with the values that it has to hold.
#[derive(Debug)]
pub struct Scale {
    /// In the units that are linear on the axis: logarithms, for instance.
    low: f64,
    high: f64,
    log: bool,
    start: f64,
    end: f64,
}

/// A tick; those without a label are minor.
#[derive(Debug, Clone, PartialEq)]
pub struct Tick {
    pub at: f64,
    pub label: Option<String>,
}

/// Share of the axis that stays free at both ends.
const MARGIN: f64 = 0.05;

impl Scale {
    /// From `start` to `end` (pixels; upwards if `end` is the smaller). Values that have no place are left out of
    /// account; without any the axis is that of 1.
    pub fn new(kind: &Kind, values: impl Iterator<Item = f64>, start: f64, end: f64) -> Self {
        let log = matches!(kind, Kind::Log | Kind::LogAt(_));
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter_map(|value| place(log, value)) {
            low = low.min(value);
            high = high.max(value);
        }
        if let Kind::Names(names) = kind {
            (low, high) = (-0.5, names.len() as f64 - 0.5);
        } else if low > high {
            (low, high) = if log { (-0.5, 0.5) } else { (0.5, 1.5) };
        } else {
            let free = match (high - low, log) {
                // Half a decade around a single value, or a tenth of it.
                (0.0, true) => 0.25,
                (0.0, false) => (high.abs() * 0.1).max(1e-9),
                (span, _) => span * MARGIN,
            };
            (low, high) = (low - free, high + free);
        }
        Self {
            low,
            high,
            log,
            start,
            end,
        }
    }

    /// Where a value stands.
    pub fn at(&self, value: f64) -> Option<f64> {
        let value = place(self.log, value)?;
        let share = (value - self.low) / (self.high - self.low);
        Some(self.start + share * (self.end - self.start))
    }

    /// As [`Scale::at`], no further than the axis goes.
    pub fn within(&self, value: f64) -> Option<f64> {
        let (least, most) = (self.start.min(self.end), self.start.max(self.end));
        self.at(value).map(|at| at.clamp(least, most))
    }

    /// Ticks with labels that leave each other room, of which each takes up to `room` pixels.
    pub fn ticks(&self, kind: &Kind, room: f64) -> Vec<Tick> {
        let most = ((self.end - self.start).abs() / room).floor().max(2.0);
        match kind {
            Kind::Names(names) => {
                let ticks = names.iter().enumerate();
                ticks
                    .map(|(index, name)| Tick {
                        at: index as f64,
                        label: Some(name.clone()),
                    })
                    .collect()
            }
            Kind::LogAt(values) => {
                let ticks = values.iter().map(|&at| Tick {
                    at,
                    label: Some(short(at)),
                });
                self.thinned(ticks, room)
            }
            Kind::Linear => self.linear(most),
            // The steps of a linear axis narrow along a logarithmic one.
            Kind::Log if self.high - self.low < 0.7 => {
                let plain = Self {
                    low: 10f64.powf(self.low),
                    high: 10f64.powf(self.high),
                    log: false,
                    ..*self
                };
                self.thinned(plain.linear(most).into_iter(), room)
            }
            Kind::Log => self.logarithmic(most),
        }
    }

    fn linear(&self, most: f64) -> Vec<Tick> {
        let step = nice_step((self.high - self.low) / most);
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        (first..=last)
            .map(|index| {
                let at = index as f64 * step;
                let rounded = format!("{at:.decimals$}");
                let label = match rounded.parse() {
                    // Many zeros need more room than there is.
                    Ok(value) if decimals > 3 || at.abs() >= 1e5 => short(value),
                    _ => rounded,
                };
                Tick {
                    at,
                    label: Some(label),
                }
            })
            .collect()
    }

    /// Decades; within few of them 2 and 5 as well.
    fn logarithmic(&self, most: f64) -> Vec<Tick> {
        let decades = self.high - self.low;
        let (low, high) = (10f64.powf(self.low), 10f64.powf(self.high));
        let labelled: &[u32] = if decades * 3.0 <= most {
            &[1, 2, 5]
        } else if decades * 2.0 <= most {
            &[1, 3]
        } else {
            &[1]
        };
        let every = (decades / most).ceil().max(1.0) as i32;
        let mut ticks = Vec::new();
        for exponent in self.low.floor() as i32..=self.high.ceil() as i32 {
            for digit in 1..10 {
                // Parsed, so that a tick is the number that its label says.
                let Ok(at) = format!("{digit}e{exponent}").parse::<f64>() else {
                    continue;
                };
                if at < low || at > high {
                    continue;
                }
                let shown = labelled.contains(&digit) && exponent.rem_euclid(every) == 0;
                // Many decades have no minor ticks.
                if shown || every == 1 && decades <= 6.0 {
                    let label = shown.then(|| short(at));
                    ticks.push(Tick { at, label });
                }
            }
        }
        ticks
    }

    /// The ticks that have a place, without those labels that would run into others.
    fn thinned(&self, ticks: impl Iterator<Item = Tick>, room: f64) -> Vec<Tick> {
        let mut last = f64::NEG_INFINITY;
        let tick = |mut tick: Tick| {
            let at = self.at(tick.at)?;
            if (at - last).abs() < room {
                tick.label = None;
            } else {
                last = at;
            }
            Some(tick)
        };
        ticks.filter_map(tick).collect()
    }
}

fn place(log: bool, value: f64) -> Option<f64> {
    let value = match log {
        true if value > 0.0 => value.log10(),
        true => return None,
        false => value,
    };
    value.is_finite().then_some(value)
}

/// The smallest of 1, 2, 5 times a power of ten that is no smaller.
fn nice_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    let factor = factors
        .into_iter()
        .find(|factor| factor * power >= step * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}

/// A number in few characters: `16`, `0.05`, `3e-4`.
pub fn short(value: f64) -> String {
    if value == 0.0 || (0.01..1e4).contains(&value.abs()) {
        format!("{value}")
    } else {
        format!("{value:e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(kind: &Kind, values: &[f64]) -> Vec<String> {
        let scale = Scale::new(kind, values.iter().copied(), 0.0, 320.0);
        let ticks = scale.ticks(kind, 45.0);
        for tick in &ticks {
            let at = scale.at(tick.at).unwrap();
            assert!((-1e-9..=320.0 + 1e-9).contains(&at), "{tick:?} at {at}");
        }
        ticks.into_iter().filter_map(|tick| tick.label).collect()
    }

    #[test]
    fn decades_are_labelled() {
        let wide = [1e-5, 1e-1];
        assert_eq!(
            labels(&Kind::Log, &wide),
            ["1e-5", "1e-4", "1e-3", "0.01", "0.1"]
        );
        let two = [1e-4, 1e-2];
        assert_eq!(
            labels(&Kind::Log, &two),
            ["1e-4", "2e-4", "5e-4", "1e-3", "2e-3", "5e-3", "0.01"]
        );
        let hundred = labels(&Kind::Log, &[1e-50, 1e50]);
        assert!((3..=8).contains(&hundred.len()), "{hundred:?}");
    }

    #[test]
    fn short_spans_have_round_steps() {
        assert_eq!(
            labels(&Kind::Log, &[0.31, 0.39]),
            ["0.32", "0.34", "0.36", "0.38"]
        );
        assert_eq!(
            labels(&Kind::Linear, &[0.0, 10.0]),
            ["0", "2", "4", "6", "8", "10"]
        );
        assert_eq!(
            labels(&Kind::Log, &[4.4e-4, 5.6e-4]),
            ["4.4e-4", "4.6e-4", "4.8e-4", "5e-4", "5.2e-4", "5.4e-4"]
        );
    }

    #[test]
    fn labels_of_a_short_logarithmic_axis_keep_their_distance() {
        let scale = Scale::new(&Kind::Log, [1.16e-3, 2.05e-3].into_iter(), 0.0, 320.0);
        let ticks = scale.ticks(&Kind::Log, 45.0);
        let labelled = ticks.iter().filter(|tick| tick.label.is_some());
        let places: Vec<f64> = labelled.map(|tick| scale.at(tick.at).unwrap()).collect();
        assert!(places.len() > 3, "{places:?}");
        let apart = |two: &[f64]| two[1] - two[0] >= 45.0;
        assert!(places.windows(2).all(apart), "{places:?}");
    }

    #[test]
    fn given_ticks_keep_their_distance() {
        let values: Vec<f64> = (0..5).map(|n| f64::from(1 << (2 * n))).collect();
        assert_eq!(
            labels(&Kind::LogAt(values.clone()), &values),
            ["1", "4", "16", "64", "256"]
        );
        let dense: Vec<f64> = (1..200).map(f64::from).collect();
        assert!(labels(&Kind::LogAt(dense.clone()), &dense).len() < 8);
    }

    #[test]
    fn one_value_and_none_have_a_place() {
        for kind in [Kind::Linear, Kind::Log] {
            for values in [&[2.0][..], &[], &[f64::NAN], &[-1.0]] {
                let scale = Scale::new(&kind, values.iter().copied(), 10.0, 20.0);
                let ticks = scale.ticks(&kind, 5.0);
                assert!(ticks.iter().all(|tick| scale.at(tick.at).is_some()));
            }
            let scale = Scale::new(&kind, [2.0].into_iter(), 10.0, 20.0);
            assert!((scale.at(2.0).unwrap() - 15.0).abs() < 1e-9);
        }
        let scale = Scale::new(&Kind::Log, [1.0, 2.0].into_iter(), 10.0, 20.0);
        assert_eq!(scale.at(0.0), None);
        assert_eq!(scale.within(1e9), Some(20.0));
    }
}
