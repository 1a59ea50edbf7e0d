//! Attention over packed sequences.

use tch::{Kind, TchError, Tensor};

use super::PackedBatch;
use crate::dropout::{Dropout, Pass};

/// Bytes to which the start of a matrix must be aligned for products that are equal bit for bit when repeated.
const ALIGNMENT: i64 = 64;

/// Attention of every token to the tokens of its own sequence: to all of them, or to itself and those before it.
#[derive(Debug)]
pub(crate) struct Attention {
    heads: i64,
    dropout: Dropout,
    causal: bool,
}

impl Attention {
    /// To all tokens. `heads` divide the width; `dropout` falls on the probabilities.
    pub(crate) fn bidirectional(heads: i64, dropout: Dropout) -> Self {
        let causal = false;
        Self {
            heads,
            dropout,
            causal,
        }
    }

    /// As [`Attention::bidirectional`], to the token itself and those before it.
    pub(crate) fn causal(heads: i64, dropout: Dropout) -> Self {
        let causal = true;
        Self {
            heads,
            dropout,
            causal,
        }
    }

    /// Queries, keys and values `[total, width]` to `[total, width]`, sequence by sequence.
    pub(crate) fn forward(
        &self,
        [query, key, value]: [&Tensor; 3],
        batch: &PackedBatch,
        pass: &Pass,
    ) -> Result<Tensor, TchError> {
        let queries = self.sequences(query, batch)?;
        let keys = self.sequences(key, batch)?;
        let values = self.sequences(value, batch)?;
        let mut outputs = Vec::with_capacity(batch.rows());
        for (row, ((q, k), v)) in queries.iter().zip(&keys).zip(&values).enumerate() {
            let attended = if self.dropout.is_active(pass) {
                self.by_hand(q, k, v, pass, row)?
            } else {
                let (q, k, v) = (q.f_unsqueeze(0)?, k.f_unsqueeze(0)?, v.f_unsqueeze(0)?);
                let (mask, causal) = (None::<Tensor>, self.causal);
                Tensor::f_scaled_dot_product_attention(&q, &k, &v, mask, 0.0, causal, None, false)?
                    .f_squeeze_dim(0)?
            };
            let width = query.size()[1];
            outputs.push(
                attended
                    .f_transpose(0, 1)?
                    .f_reshape([batch.lengths[row], width])?,
            );
        }
        Tensor::f_cat(&outputs, 0)
    }

    /// `[total, width]` to one `[heads, length, width / heads]` a sequence. One split, so that its backward is one
    /// concatenation; slices taken one by one would each fill a full-size tensor.
    fn sequences(&self, x: &Tensor, batch: &PackedBatch) -> Result<Vec<Tensor>, TchError> {
        let width = x.size()[1];
        let x = x.f_view([-1, self.heads, width / self.heads])?;
        let sequences = if width * 4 % ALIGNMENT == 0 {
            x.f_split_with_sizes(&batch.lengths, 0)?
        } else {
            x.f_split_with_sizes_copy(&batch.lengths, 0)?
        };
        sequences
            .iter()
            .map(|sequence| sequence.f_transpose(0, 1))
            .collect()
    }

    /// softmax(q k' / sqrt(d)) v with our own dropout on the probabilities: the one inside
    /// `scaled_dot_product_attention` draws from libtorch's global generator.
    fn by_hand(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        pass: &Pass,
        row: usize,
    ) -> Result<Tensor, TchError> {
        let scale = (q.size()[2] as f64).sqrt().recip();
        let mut scores = q.f_mul_scalar(scale)?.f_matmul(&k.f_transpose(1, 2)?)?;
        if self.causal {
            let length = scores.size()[1];
            let later =
                Tensor::f_ones([length, length], (Kind::Bool, scores.device()))?.f_triu(1)?;
            scores = scores.f_masked_fill(&later, f64::NEG_INFINITY)?;
        }
        let probabilities = scores.f_softmax(-1, None)?;
        self.dropout
            .forward_part(&probabilities, pass, row as u64)?
            .f_matmul(v)
    }
}
