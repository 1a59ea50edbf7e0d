//! Attention over packed sequences.

use tch::{Kind, TchError, Tensor};

use super::PackedBatch;
use crate::dropout::{Dropout, Pass};
use crate::native::{
    self,
    attention::{Heads, Queries, attention},
    flash,
};

/// Bytes to which the start of a matrix must be aligned for products that are equal bit for bit when repeated.
const ALIGNMENT: i64 = 64;

/// Attention of every token to the tokens of its own sequence: to all of them, or to itself and those before it.
#[derive(Debug)]
pub(crate) struct Attention {
    heads: Heads,
    dropout: Dropout,
}

impl Attention {
    /// To all tokens. `heads` divide the width; `dropout` falls on the probabilities.
    pub(crate) fn bidirectional(heads: i64, dropout: Dropout) -> Self {
        Self::new(heads, heads, false, dropout)
    }

    /// As [`Attention::bidirectional`], to the token itself and those before it.
    pub(crate) fn causal(heads: i64, dropout: Dropout) -> Self {
        Self::new(heads, heads, true, dropout)
    }

    /// As [`Attention::causal`], with keys and values of `kv_heads` heads, each of which serves `heads / kv_heads` heads of
    /// queries in a row (arXiv 2305.13245).
    pub(crate) fn grouped(heads: i64, kv_heads: i64, dropout: Dropout) -> Self {
        Self::new(heads, kv_heads, true, dropout)
    }

    fn new(heads: i64, kv_heads: i64, causal: bool, dropout: Dropout) -> Self {
        let heads = Heads {
            heads: heads as usize,
            kv_heads: kv_heads as usize,
            causal,
        };
        Self { heads, dropout }
    }

    /// Heads of queries that share one head of keys and values.
    pub(crate) fn group(&self) -> i64 {
        (self.heads.heads / self.heads.kv_heads) as i64
    }

    /// Queries `[total, width]`, keys and values, `[total, width / group]` each, to `[total, width]`. Where all have as many
    /// heads they may come as one tensor, side by side.
    pub(crate) fn forward<const PARTS: usize>(
        &self,
        parts: [&Tensor; PARTS],
        batch: &PackedBatch,
        pass: &Pass,
    ) -> Result<Tensor, TchError> {
        if parts.iter().all(|part| native::is_plain(part)) {
            return self.fused(&parts, Queries::All, batch, pass);
        }
        match parts.as_slice() {
            [packed] => {
                let parts = packed.f_chunk(3, 1)?;
                self.elsewhere([&parts[0], &parts[1], &parts[2]], batch, pass)
            }
            parts => self.elsewhere([parts[0], parts[1], parts[2]], batch, pass),
        }
    }

    /// As [`Attention::forward`] on plain tensors, for queries `[rows, width]` of each sequence's first token alone: those rows
    /// of what it would give, with the same masks.
    pub(crate) fn of_first(
        &self,
        [query, key, value]: [&Tensor; 3],
        batch: &PackedBatch,
        pass: &Pass,
    ) -> Result<Tensor, TchError> {
        self.fused(&[query, key, value], Queries::First, batch, pass)
    }

    /// In libtorch's operators: all sequences in one kernel where there is one, which knows no dropout of ours.
    fn elsewhere(
        &self,
        parts: [&Tensor; 3],
        batch: &PackedBatch,
        pass: &Pass,
    ) -> Result<Tensor, TchError> {
        // The rotation of queries and keys gives float32, whatever the values are.
        let kind = parts[2].kind();
        let [query, key, value] = parts.map(|part| part.f_to_kind(kind));
        let (query, key, value) = (query?, key?, value?);
        let width = query.size()[1];
        let Heads {
            heads, kv_heads, ..
        } = self.heads;
        let by_head = width / heads as i64;
        if !flash::serves(value.device(), kind, by_head) || self.dropout.is_active(pass) {
            return self.by_sequence([&query, &key, &value], batch, pass);
        }
        let split = |part: &Tensor, count: usize| part.f_reshape([-1, count as i64, by_head]);
        let query = split(&query, heads)?;
        let (key, value) = (split(&key, kv_heads)?, split(&value, kv_heads)?);
        let longest = batch.lengths.iter().copied().max().unwrap_or(0);
        let (offsets, causal) = (batch.offsets_beside()?, self.heads.causal);
        flash::attention([&query, &key, &value], offsets, longest, causal)?.f_reshape([-1, width])
    }

    /// All sequences in one node of autograd.
    fn fused(
        &self,
        parts: &[&Tensor],
        queries: Queries,
        batch: &PackedBatch,
        pass: &Pass,
    ) -> Result<Tensor, TchError> {
        let masks: Option<Vec<_>> = (0..batch.rows() as u64)
            .map(|row| self.dropout.mask(pass, row))
            .collect();
        let keys: Vec<u64> = masks.iter().flatten().map(|mask| mask.key).collect();
        let dropout = masks.as_ref().and_then(|masks| masks.first());
        let dropout = dropout.map(|mask| (mask.p, keys.as_slice()));
        attention(parts, self.heads, queries, &batch.offsets, dropout)
    }

    /// The same in libtorch's operators, sequence by sequence: for devices that the node is not written for.
    fn by_sequence(
        &self,
        [query, key, value]: [&Tensor; 3],
        batch: &PackedBatch,
        pass: &Pass,
    ) -> Result<Tensor, TchError> {
        let width = query.size()[1];
        let by_head = width / self.heads.heads as i64;
        let repeated = |x: &Tensor| {
            repeated(
                &x.f_reshape([-1, self.heads.kv_heads as i64, by_head])?,
                self.group(),
            )
        };
        let queries = sequences(
            &query.f_reshape([-1, self.heads.heads as i64, by_head])?,
            batch,
        )?;
        let keys = sequences(&repeated(key)?, batch)?;
        let values = sequences(&repeated(value)?, batch)?;
        let mut outputs = Vec::with_capacity(batch.rows());
        for (row, ((q, k), v)) in queries.iter().zip(&keys).zip(&values).enumerate() {
            let attended = if self.dropout.is_active(pass) {
                self.by_hand(q, k, v, pass, row)?
            } else {
                let (q, k, v) = (q.f_unsqueeze(0)?, k.f_unsqueeze(0)?, v.f_unsqueeze(0)?);
                let (mask, causal) = (None::<Tensor>, self.heads.causal);
                Tensor::f_scaled_dot_product_attention(&q, &k, &v, mask, 0.0, causal, None, false)?
                    .f_squeeze_dim(0)?
            };
            outputs.push(
                attended
                    .f_transpose(0, 1)?
                    .f_reshape([batch.lengths[row], width])?,
            );
        }
        Tensor::f_cat(&outputs, 0)
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
        if self.heads.causal {
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

/// `[total, kv_heads, width]` to `[total, kv_heads * group, width]`: each head once for every head that it serves.
pub(crate) fn repeated(x: &Tensor, group: i64) -> Result<Tensor, TchError> {
    if group == 1 {
        return Ok(x.shallow_clone());
    }
    x.f_repeat_interleave_self_int(group, 1, None)
}

/// `[total, heads, width]` to one `[heads, length, width]` a sequence. One split, so that its backward is one
/// concatenation; slices taken one by one would each fill a full-size tensor.
fn sequences(x: &Tensor, batch: &PackedBatch) -> Result<Vec<Tensor>, TchError> {
    let bytes_a_row = x.size()[1] * x.size()[2] * 4;
    let sequences = if bytes_a_row % ALIGNMENT == 0 {
        x.f_split_with_sizes(&batch.lengths, 0)?
    } else {
        x.f_split_with_sizes_copy(&batch.lengths, 0)?
    };
    sequences
        .iter()
        .map(|sequence| sequence.f_transpose(0, 1))
        .collect()
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    const HEADS: i64 = 3;
    const LENGTHS: [i64; 4] = [1, 53, 16, 150];

    fn batch() -> Result<PackedBatch, crate::model::ModelError> {
        let total = LENGTHS.iter().sum();
        let offsets: Vec<i64> = [0]
            .into_iter()
            .chain(LENGTHS.iter().scan(0, |sum, length| {
                *sum += length;
                Some(*sum)
            }))
            .collect();
        let ids = Tensor::zeros([total], (Kind::Int64, Device::Cpu));
        PackedBatch::new(&ids, &offsets, 1, 512)
    }

    /// `[rows, columns]` in -1 to 1, the same every time.
    fn numbers(rows: i64, columns: i64) -> Tensor {
        let count = Tensor::arange(rows * columns, (Kind::Double, Device::Cpu));
        (count * 0.7)
            .sin()
            .to_kind(Kind::Float)
            .reshape([rows, columns])
    }

    fn close(found: &Tensor, expected: &Tensor) {
        let difference = (found - expected).abs().max().double_value(&[]);
        let size = expected.abs().max().double_value(&[]);
        assert!(difference <= 4e-6 * size.max(1.0), "{difference} of {size}");
    }

    #[test]
    fn the_node_agrees_with_libtorch_s_operators() -> Result<(), Box<dyn std::error::Error>> {
        let batch = batch()?;
        let total = batch.ids.size()[0];
        // A width of whole lanes, and one that is not.
        for width in [32, 20] {
            for (p, pass) in [(0.0, Pass::evaluation()), (0.2, Pass::training(3, 7))] {
                for new in [Attention::bidirectional, Attention::causal] {
                    let attention = new(HEADS, Dropout::new("attention", p));
                    let x = numbers(total, 3 * HEADS * width).set_requires_grad(true);
                    let parts = x.chunk(3, 1);
                    let parts = [&parts[0], &parts[1], &parts[2]];
                    let (plain, of_plain) = plainly(&attention, parts, &x, &batch, &pass)?;
                    let packed = attention.forward([&x], &batch, &pass)?;
                    close(&packed, &plain);
                    close(&gradient(&packed, &x), &of_plain);
                    let apart = attention.forward(parts, &batch, &pass)?;
                    close(&apart, &plain);
                    close(&gradient(&apart, &x), &of_plain);
                }
            }
        }
        Ok(())
    }

    #[test]
    fn shared_keys_and_values_are_those_that_were_repeated()
    -> Result<(), Box<dyn std::error::Error>> {
        let (batch, width) = (batch()?, 20);
        let total = batch.ids.size()[0];
        for (p, pass) in [(0.0, Pass::evaluation()), (0.2, Pass::training(3, 7))] {
            let attention = Attention::grouped(2 * HEADS, HEADS, Dropout::new("attention", p));
            let x = numbers(total, 4 * HEADS * width).set_requires_grad(true);
            let parts = x.split_with_sizes([2, 1, 1].map(|part| part * HEADS * width), 1);
            let parts = [&parts[0], &parts[1], &parts[2]];
            let (plain, of_plain) = plainly(&attention, parts, &x, &batch, &pass)?;
            let shared = attention.forward(parts, &batch, &pass)?;
            close(&shared, &plain);
            close(&gradient(&shared, &x), &of_plain);
        }
        Ok(())
    }

    #[test]
    fn offsets_that_are_none_are_refused() {
        let x = numbers(6, 3 * HEADS * 4);
        let heads = Heads {
            heads: HEADS as usize,
            kv_heads: HEADS as usize,
            causal: true,
        };
        let attention = |parts: &[&Tensor], heads, offsets: &[i64]| {
            attention(parts, heads, Queries::All, offsets, None)
        };
        assert!(attention(&[&x], heads, &[0, 2, 6]).is_ok());
        for offsets in [&[1, 6][..], &[0, 5], &[0, 4, 2, 6], &[0, 9, 6], &[-2, 6]] {
            assert!(attention(&[&x], heads, offsets).is_err(), "{offsets:?}");
        }
        let none = Heads {
            kv_heads: 0,
            ..heads
        };
        assert!(attention(&[&x], none, &[0, 6]).is_err());
        let short = numbers(5, HEADS * 4);
        let whole = numbers(6, HEADS * 4);
        assert!(attention(&[&whole, &short, &whole], heads, &[0, 6]).is_err());
    }

    #[test]
    fn first_tokens_alone_get_what_they_get_among_all() -> Result<(), Box<dyn std::error::Error>> {
        let (batch, width) = (batch()?, 20);
        let total = batch.ids.size()[0];
        let firsts = Tensor::from_slice(&batch.offsets[..batch.rows()]);
        for (p, pass) in [(0.0, Pass::evaluation()), (0.2, Pass::training(3, 7))] {
            for new in [Attention::bidirectional, Attention::causal] {
                let attention = new(HEADS, Dropout::new("attention", p));
                let x = numbers(total, 3 * HEADS * width).set_requires_grad(true);
                let all = attention.forward([&x], &batch, &pass)?;
                let expected = all.index_select(0, &firsts);
                let parts = x.chunk(3, 1);
                let query = parts[0].index_select(0, &firsts);
                let found = attention.of_first([&query, &parts[1], &parts[2]], &batch, &pass)?;
                close(&found, &expected);
                close(&gradient(&found, &x), &gradient(&expected, &x));
            }
        }
        Ok(())
    }

    /// Gradient in `x` of a sum of `y` with fixed weights.
    fn gradient(y: &Tensor, x: &Tensor) -> Tensor {
        let weights = numbers(y.size()[1], y.size()[0]).transpose(0, 1);
        let loss = (y * weights).sum(Kind::Float);
        Tensor::run_backward(&[loss], &[x], true, false).remove(0)
    }

    /// In libtorch's operators, with the gradient in `x`.
    fn plainly(
        attention: &Attention,
        parts: [&Tensor; 3],
        x: &Tensor,
        batch: &PackedBatch,
        pass: &Pass,
    ) -> Result<(Tensor, Tensor), TchError> {
        let y = attention.by_sequence(parts, batch, pass)?;
        let gradient = gradient(&y, x);
        Ok((y, gradient))
    }
}
