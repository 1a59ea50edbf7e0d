//! Causal language modelling: each token of a block is predicted from those before it.

use std::collections::BTreeMap;

use lorahost_plugin_api::abi::{AUTOGRAD, HEAD};
use lorahost_plugin_api::prelude::*;

/// Cross-entropy on the next token; perplexity and bits per byte.
#[derive(Params)]
struct CausalLm {
    /// Tokens whose logits are in memory at a time; 0: as many as keep them within 128 MiB.
    #[param(default = 0)]
    chunk: usize,
    #[param(skip)]
    vocabulary: usize,
    #[param(skip)]
    observed: Observed,
}

/// What an evaluation has seen.
#[derive(Default)]
struct Observed {
    nats: f64,
    /// Bytes of text that the predicted tokens cover; none once a batch came without.
    bytes: Option<u64>,
}

/// Logits of one chunk where its size is left to the head: 128 MiB in float32.
const LOGITS: usize = (128 << 20) / 4;

impl TaskHead for CausalLm {
    const DATA: DataKind = DataKind::Blocks;
    const REQUIRES: &'static [&'static str] = &[HEAD, AUTOGRAD];

    fn plan(&mut self, task: &Task) -> Result<HeadPlan> {
        self.vocabulary = task.vocab_size;
        Ok(HeadPlan {
            layout: "causal".to_owned(),
            outputs: None,
        })
    }

    fn forward(
        &mut self,
        hidden: &Tensor,
        batch: &Batch<'_>,
        ctx: &HeadContext<'_>,
    ) -> Result<Loss> {
        let sources = sources(&batch.offsets.to_i64()?);
        let count = sources.len();
        let sources = Tensor::from_i64(&sources, &[count as i64])?;
        // A token's label is the next one.
        let labels = batch.tokens.index_select(0, &sources.sub_int(-1)?)?;
        let hidden = hidden.index_select(0, &sources)?;
        let sum = ctx.sum_in_chunks(&hidden, self.chunk(), |hidden, rows| {
            let labels = labels.slice(0, Some(rows.start), Some(rows.end))?;
            ctx.through(hidden)?.cross_entropy_sum(&labels)
        })?;
        Ok(Loss {
            sum,
            count: count as u64,
            predictions: None,
        })
    }

    fn reset(&mut self) {
        self.observed = Observed {
            nats: 0.0,
            bytes: Some(0),
        };
    }

    fn observe(&mut self, loss: &Loss, batch: &Batch<'_>) -> Result<()> {
        let Observed { nats, bytes } = &mut self.observed;
        *nats += loss.sum.item()?;
        *bytes = bytes.zip(batch.bytes).map(|(before, these)| before + these);
        Ok(())
    }

    fn metrics(&self, loss: f64) -> Result<Metrics> {
        let mut values = BTreeMap::from([
            ("nll".to_owned(), loss),
            ("perplexity".to_owned(), loss.exp()),
        ]);
        if let Some(bytes) = self.observed.bytes {
            let bits = self.observed.nats / std::f64::consts::LN_2;
            values.insert("bits_per_byte".to_owned(), bits / bytes as f64);
        }
        Ok(Metrics {
            values,
            headline: "perplexity".to_owned(),
            short: "ppl".to_owned(),
            higher_is_better: false,
        })
    }
}

impl CausalLm {
    /// Tokens of a chunk.
    fn chunk(&self) -> usize {
        match self.chunk {
            0 => (LOGITS / self.vocabulary.max(1)).max(1),
            chunk => chunk,
        }
    }
}

/// Positions of all tokens that another one follows in their row.
fn sources(offsets: &[i64]) -> Vec<i64> {
    let rows = offsets.windows(2);
    rows.flat_map(|row| row[0]..row[1] - 1).collect()
}

export_plugin! { head "causal-lm" => CausalLm }

#[cfg(test)]
mod tests;
