//! Dropout whose masks are a function of seed, forward pass and place, never of what was drawn before.

use tch::{TchError, Tensor};

use crate::native::dropout::{Mask, dropout};
use crate::random::{split_mix, stream_seed};

/// One forward pass: for training with dropout, or for evaluation without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass<'a> {
    /// Key of this pass's dropout masks; none when evaluating.
    key: Option<u64>,
    /// Numbers of the rows at hand among the batch's, where some are left out.
    rows: Option<&'a [i64]>,
}

impl<'a> Pass<'a> {
    /// No dropout.
    #[must_use]
    pub fn evaluation() -> Self {
        Self {
            key: None,
            rows: None,
        }
    }

    /// Masks of the forward pass number `forward` of a run with the dropout seed `seed`: any two passes differ, and the
    /// same pass has the same masks again, whatever was drawn in between.
    #[must_use]
    pub fn training(seed: u64, forward: u64) -> Self {
        Self {
            key: Some(mix(stream_seed(seed, "dropout", ""), forward)),
            rows: None,
        }
    }

    /// This pass for some rows of a batch: each has the masks that it has among all of them. `rows` are their numbers.
    #[must_use]
    pub fn of_rows(self, rows: &'a [i64]) -> Self {
        let rows = Some(rows);
        Self { rows, ..self }
    }

    /// This pass for the part number `part` of a batch that goes through a place in parts: other masks for each part, and
    /// those of the pass itself for part 0.
    #[must_use]
    pub fn part(self, part: u64) -> Self {
        match part {
            0 => self,
            part => Self {
                key: self.key.map(|key| mix(key, part)),
                ..self
            },
        }
    }

    #[must_use]
    pub fn is_training(&self) -> bool {
        self.key.is_some()
    }
}

/// Dropout at one place of a model, known by its name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    site: u64,
    p: f64,
}

impl Dropout {
    /// Dropout with probability `p` at the place `name`; different names have independent masks.
    #[must_use]
    pub fn new(name: &str, p: f64) -> Self {
        Self {
            site: stream_seed(0, "dropout site", name),
            p,
        }
    }

    /// Whether `pass` drops anything here.
    #[must_use]
    pub fn is_active(&self, pass: &Pass) -> bool {
        self.p > 0.0 && pass.is_training()
    }

    /// `x` with its elements dropped; `x` itself when evaluating.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn forward(&self, x: &Tensor, pass: &Pass) -> Result<Tensor, TchError> {
        self.forward_part(x, pass, 0)
    }

    /// As [`Dropout::forward`], for the part number `part` of a place that is computed in parts.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn forward_part(&self, x: &Tensor, pass: &Pass, part: u64) -> Result<Tensor, TchError> {
        match self.mask(pass, part) {
            Some(mask) => dropout(x, mask),
            None => Ok(x.shallow_clone()),
        }
    }

    /// The mask of the part number `part`, for operators that draw it themselves; none when nothing is dropped.
    #[must_use]
    pub fn mask<'a>(&self, pass: &Pass<'a>, part: u64) -> Option<Mask<'a>> {
        let key = pass.key.filter(|_| self.p > 0.0)?;
        Some(Mask {
            rows: pass.rows,
            ..Mask::new(self.p, mix(mix(key, self.site), part))
        })
    }
}

/// One key out of two.
fn mix(left: u64, right: u64) -> u64 {
    let mut state = left;
    state = split_mix(&mut state) ^ right;
    split_mix(&mut state)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn masks_belong_to_seed_pass_place_and_part() -> Result<(), TchError> {
        let x = Tensor::ones([1000], (Kind::Float, Device::Cpu));
        let mask = |seed, forward, name, part| {
            Dropout::new(name, 0.5).forward_part(&x, &Pass::training(seed, forward), part)
        };
        let first = mask(1, 2, "a", 3)?;
        assert!(first.equal(&mask(1, 2, "a", 3)?));
        for other in [
            mask(2, 2, "a", 3)?,
            mask(1, 3, "a", 3)?,
            mask(1, 2, "b", 3)?,
            mask(1, 2, "a", 4)?,
        ] {
            assert!(!first.equal(&other));
        }
        let part = |pass: Pass, part| Dropout::new("a", 0.5).forward(&x, &pass.part(part));
        let whole = part(Pass::training(1, 2), 0)?;
        assert!(whole.equal(&mask(1, 2, "a", 0)?));
        assert!(!whole.equal(&part(Pass::training(1, 2), 1)?));
        assert!(part(Pass::evaluation(), 1)?.equal(&x));
        Ok(())
    }
}
