//! Sequences packed one after another, checked against the model that is to see them.

use std::cell::OnceCell;

use tch::{Kind, TchError, Tensor};

use super::ModelError;

/// Sequences packed one after another: no padding, positions restart with each. [`super::Model::pack`] makes one.
#[derive(Debug)]
pub struct PackedBatch {
    /// Token ids, `[total]`.
    pub ids: Tensor,
    /// Position of each token in its sequence, `[total]`.
    pub positions: Tensor,
    /// Where each sequence starts, and the total at the end: `rows + 1` numbers.
    pub offsets: Vec<i64>,
    /// Length of each sequence.
    pub lengths: Vec<i64>,
    /// `offsets` as int32 where `ids` are.
    offsets_beside: OnceCell<Tensor>,
}

impl PackedBatch {
    /// Packs `ids`, int64 `[total]`, for a model of that many token ids and positions.
    pub(super) fn new(
        ids: &Tensor,
        offsets: &[i64],
        vocabulary: i64,
        max_positions: i64,
    ) -> Result<Self, ModelError> {
        let wrong = |text: String| Err(ModelError::Batch(text));
        if ids.kind() != Kind::Int64 || ids.dim() != 1 {
            return wrong(format!("ids are {:?} {:?}", ids.kind(), ids.size()));
        }
        let total = ids.size()[0];
        if offsets.len() < 2 || offsets[0] != 0 || offsets.last() != Some(&total) {
            return wrong(format!("offsets must run from 0 to the {total} tokens"));
        }
        let lengths: Vec<i64> = offsets.windows(2).map(|pair| pair[1] - pair[0]).collect();
        if let Some(row) = lengths.iter().position(|&length| length < 1) {
            return wrong(format!("row {row} has no token"));
        }
        if let Some(row) = lengths.iter().position(|&length| length > max_positions) {
            return wrong(format!(
                "row {row} has {} tokens, and the model has {max_positions} positions",
                lengths[row]
            ));
        }
        if let Some(id) = foreign(ids, vocabulary)? {
            return Err(ModelError::Token { id, vocabulary });
        }
        let positions: Vec<i64> = lengths.iter().flat_map(|&length| 0..length).collect();
        Ok(Self {
            ids: ids.shallow_clone(),
            positions: Tensor::f_from_slice(&positions)?.f_to_device(ids.device())?,
            offsets: offsets.to_vec(),
            lengths,
            offsets_beside: OnceCell::new(),
        })
    }

    /// `ids` as the tokens that follow the first `past` ones of a sequence.
    pub(super) fn following(
        past: i64,
        ids: &Tensor,
        vocabulary: i64,
        max_positions: i64,
    ) -> Result<Self, ModelError> {
        let new = ids.size().first().copied().unwrap_or(0);
        if past + new > max_positions {
            return Err(ModelError::Batch(format!(
                "the sequence has {} tokens, and the model has {max_positions} positions",
                past + new
            )));
        }
        let batch = Self::new(ids, &[0, new], vocabulary, max_positions)?;
        Ok(Self {
            positions: batch.positions.f_add_scalar(past)?,
            ..batch
        })
    }

    /// The offsets as a kernel on the device of `ids` reads them: int32, `[rows + 1]`.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn offsets_beside(&self) -> Result<&Tensor, TchError> {
        if let Some(offsets) = self.offsets_beside.get() {
            return Ok(offsets);
        }
        let offsets = Tensor::f_from_slice(&self.offsets)?
            .f_to_kind(Kind::Int)?
            .f_to_device(self.ids.device())?;
        Ok(self.offsets_beside.get_or_init(|| offsets))
    }

    /// The number of each sequence's first token among all.
    #[must_use]
    pub fn starts(&self) -> &[i64] {
        &self.offsets[..self.rows()]
    }

    /// The rows of `x`, `[total, ...]`, of each sequence's first token.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn of_first(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let firsts = Tensor::f_from_slice(self.starts())?;
        x.f_index_select(0, &firsts.f_to_device(x.device())?)
    }

    /// Number of sequences.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.lengths.len()
    }
}

/// An id that is not one of the vocabulary's, if there is any.
fn foreign(ids: &Tensor, vocabulary: i64) -> Result<Option<i64>, TchError> {
    let (least, most) = ids.f_aminmax(None, false)?;
    let ends = [least.f_int64_value(&[])?, most.f_int64_value(&[])?];
    Ok(ends.into_iter().find(|id| !(0..vocabulary).contains(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(ids: &[i64], offsets: &[i64]) -> Result<PackedBatch, ModelError> {
        PackedBatch::new(&Tensor::from_slice(ids), offsets, 10, 3)
    }

    #[test]
    fn positions_restart() -> Result<(), ModelError> {
        let batch = pack(&[5, 6, 7, 8, 9], &[0, 2, 5])?;
        assert_eq!(Vec::<i64>::try_from(&batch.positions)?, [0, 1, 0, 1, 2]);
        assert_eq!(batch.rows(), 2);
        Ok(())
    }

    #[test]
    fn offsets_are_checked() {
        for offsets in [&[][..], &[0], &[0, 2], &[1, 5], &[0, 2, 2, 5], &[0, 6, 5]] {
            assert!(pack(&[1, 2, 3, 4, 5], offsets).is_err());
        }
    }

    #[test]
    fn what_the_model_has_no_entry_for_is_named() {
        let message = |ids: &[i64], offsets: &[i64]| pack(ids, offsets).unwrap_err().to_string();
        assert_eq!(
            message(&[1, 10, 2], &[0, 3]),
            "token 10 is not one of the model's 10"
        );
        assert_eq!(
            message(&[1, -1, 2], &[0, 3]),
            "token -1 is not one of the model's 10"
        );
        assert_eq!(
            message(&[1, 2, 3, 4, 5], &[0, 1, 5]),
            "batch: row 1 has 4 tokens, and the model has 3 positions"
        );
    }
}
