//! Causal attention whose keys and values serve several heads each (arXiv 2305.13245).

use tch::{Kind, TchError, Tensor};

use super::PackedBatch;
use super::attention::{Attention, repeated};
use super::cache::KeysAndValues;
use crate::dropout::{Dropout, Pass};

/// Attention of every token to itself and those before it, in its own sequence.
#[derive(Debug)]
pub(crate) struct GroupedAttention {
    attention: Attention,
}

impl GroupedAttention {
    /// `key_heads` divide `heads`; `dropout` falls on the probabilities.
    pub(crate) fn new(heads: i64, key_heads: i64, dropout: Dropout) -> Self {
        Self {
            attention: Attention::grouped(heads, key_heads, dropout),
        }
    }

    /// Queries `[total, heads, head_dim]`, keys and values `[total, key_heads, head_dim]` to `[total, heads * head_dim]`,
    /// sequence by sequence.
    pub(crate) fn forward(
        &self,
        [query, key, value]: [&Tensor; 3],
        batch: &PackedBatch,
        pass: &Pass,
    ) -> Result<Tensor, TchError> {
        let [query, key, value] = [query, key, value].map(|x| x.f_flatten(1, 2));
        self.attention
            .forward([&query?, &key?, &value?], batch, pass)
    }

    /// As [`GroupedAttention::forward`], for tokens that go on with the one sequence whose keys and values `past` holds;
    /// it then holds theirs too.
    pub(crate) fn step(
        &self,
        [query, key, value]: [&Tensor; 3],
        past: &mut KeysAndValues,
    ) -> Result<Tensor, TchError> {
        let (keys, values) = past.extend(key, value)?;
        let group = self.attention.group();
        attend(query, &repeated(keys, group)?, &repeated(values, group)?)
    }
}

/// Attention of the last tokens of one sequence to it, without dropout: queries `[new, heads, head_dim]`, keys and values
/// `[all, heads, head_dim]` to `[new, heads * head_dim]`.
pub(crate) fn attend(query: &Tensor, keys: &Tensor, values: &Tensor) -> Result<Tensor, TchError> {
    let heads_first = |x: &Tensor| x.f_transpose(0, 1)?.f_unsqueeze(0);
    let (new, all) = (query.size()[0], keys.size()[0]);
    let (q, k, v) = (
        heads_first(query)?,
        heads_first(keys)?,
        heads_first(values)?,
    );
    // The last token sees everything, and needs no mask.
    let mask = if new == 1 {
        None
    } else {
        let ones = Tensor::f_ones([new, all], (Kind::Bool, query.device()))?;
        Some(ones.f_tril(all - new)?)
    };
    Tensor::f_scaled_dot_product_attention(&q, &k, &v, mask, 0.0, false, None, false)?
        .f_squeeze_dim(0)?
        .f_transpose(0, 1)?
        .f_flatten(1, 2)
}
