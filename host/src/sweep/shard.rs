//! Parts of a plan, for several processes.

use std::str::FromStr;

/// The I-th of N parts of a plan, `I/N`: every N-th run, from the I-th on. Runs that are alike stand side by side, so that
/// parts take about the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// From 1 to `count`.
    index: usize,
    count: usize,
}

/// Why a text is no shard.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShardError {
    #[error("expected I/N, such as 1/4")]
    Form,
    #[error("the shards of {count} are 1/{count} to {count}/{count}")]
    Range { count: usize },
    #[error("there are no 0 shards; 1/1 is the whole")]
    None,
}

impl Shard {
    /// The place of this task in its Slurm array; none outside of one. `variable` looks up the environment.
    ///
    /// Tasks of an array need not be numbered without gaps, so this is a place to begin at and no share: two tasks may
    /// have one.
    pub fn of_slurm_array(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let number = |name: &str| variable(name)?.parse::<usize>().ok();
        let count = number("SLURM_ARRAY_TASK_COUNT").filter(|count| *count > 0)?;
        let first = number("SLURM_ARRAY_TASK_MIN").unwrap_or(0);
        let step = number("SLURM_ARRAY_TASK_STEP").unwrap_or(1).max(1);
        let place = number("SLURM_ARRAY_TASK_ID")?.checked_sub(first)? / step;
        Some(Self {
            index: place % count + 1,
            count,
        })
    }

    /// Whether the run at this place of the plan, from 0, is in the shard.
    #[must_use]
    pub fn holds(&self, place: usize) -> bool {
        place % self.count == self.index - 1
    }
}

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        let (index, count) = text.split_once('/').ok_or(ShardError::Form)?;
        let number = |text: &str| text.trim().parse::<usize>().map_err(|_| ShardError::Form);
        let (index, count) = (number(index)?, number(count)?);
        if count == 0 {
            return Err(ShardError::None);
        }
        if !(1..=count).contains(&index) {
            return Err(ShardError::Range { count });
        }
        Ok(Self { index, count })
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_hold_every_run_once() {
        let shards: Vec<Shard> = (1..=3)
            .map(|index| format!("{index}/3").parse().unwrap())
            .collect();
        for place in 0..20 {
            assert_eq!(shards.iter().filter(|shard| shard.holds(place)).count(), 1);
        }
        assert!(shards[0].holds(0) && shards[2].holds(5));
    }

    #[test]
    fn what_is_no_shard() {
        let error = |text: &str| text.parse::<Shard>().unwrap_err();
        for text in ["", "1", "a/b", "1/", "-1/2", "1/2/3"] {
            assert_eq!(error(text), ShardError::Form, "{text}");
        }
        for text in ["0/4", "5/4"] {
            assert_eq!(error(text), ShardError::Range { count: 4 }, "{text}");
        }
        assert_eq!(error("1/0"), ShardError::None);
    }

    #[test]
    fn a_task_of_an_array_has_its_place() {
        let place = |id: &str, min: &str, step: &str, count: &str| {
            let shard = Shard::of_slurm_array(|name| {
                let value = match name {
                    "SLURM_ARRAY_TASK_ID" => id,
                    "SLURM_ARRAY_TASK_MIN" => min,
                    "SLURM_ARRAY_TASK_STEP" => step,
                    "SLURM_ARRAY_TASK_COUNT" => count,
                    _ => return None,
                };
                Some(value.to_owned())
            });
            shard.map(|shard| shard.to_string())
        };
        assert_eq!(place("3", "1", "1", "4").unwrap(), "3/4");
        assert_eq!(place("0", "0", "1", "4").unwrap(), "1/4");
        assert_eq!(place("7", "1", "2", "4").unwrap(), "4/4");
        assert_eq!(place("9", "1", "1", "3").unwrap(), "3/3", "gaps");
        assert_eq!(place("", "1", "1", "3"), None);
        assert_eq!(Shard::of_slurm_array(|_| None), None);
    }
}
