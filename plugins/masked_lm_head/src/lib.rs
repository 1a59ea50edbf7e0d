//! Masked language modelling (BERT, arXiv 1810.04805): a share of the tokens is hidden and predicted.

use std::collections::BTreeMap;

use lorahost_plugin_api::prelude::*;

/// Cross-entropy on hidden tokens: 80% become the mask token, 10% a random one, 10% stay.
#[derive(Params)]
struct MaskedLm {
    /// Share of the tokens that is predicted.
    #[param(default = 0.15, min = 0.01, max = 0.99)]
    mask_probability: f64,
    #[param(skip)]
    task: Task,
}

/// The label of a token that is not predicted.
const IGNORE: f64 = -100.0;

impl TaskHead for MaskedLm {
    const DATA: DataKind = DataKind::Text;

    fn plan(&mut self, task: &Task) -> Result<HeadPlan> {
        if task.mask_token.is_none() {
            return Err(Error::new("masked-lm needs a tokenizer with a mask token"));
        }
        self.task = task.clone();
        Ok(HeadPlan {
            layout: "vocabulary".to_owned(),
            outputs: None,
        })
    }

    fn inputs(&mut self, batch: &Batch<'_>, ctx: &HeadContext<'_>) -> Result<Inputs> {
        let tokens = batch.tokens;
        let total = tokens.shape()?[0].cast_unsigned() as usize;
        let mut chosen = ctx
            .rand("mask", [total])?
            .lt_scalar(self.mask_probability)?;
        for &special in &self.task.special_tokens {
            chosen = chosen.logical_and(&tokens.ne_scalar(special as f64)?)?;
        }
        let fate = ctx.rand("fate", [total])?;
        let masked = chosen.logical_and(&fate.lt_scalar(0.8)?)?;
        let random = chosen.logical_and(&fate.gt_scalar(0.9)?)?;
        let words = ctx.randint("words", 0, self.task.vocab_size as i64, [total])?;
        let mask = self.task.mask_token.unwrap_or_default() as f64;
        Ok(Inputs {
            tokens: words.where_else(&random, &tokens.masked_fill(&masked, mask)?)?,
            labels: Some(tokens.masked_fill(&chosen.logical_not()?, IGNORE)?),
        })
    }

    fn forward(
        &mut self,
        hidden: &Tensor,
        batch: &Batch<'_>,
        ctx: &HeadContext<'_>,
    ) -> Result<Loss> {
        let labels = batch.expect_labels()?;
        let places = labels.ne_scalar(IGNORE)?.nonzero()?.squeeze(1)?;
        // Only hidden tokens meet the vocabulary: its product is the largest of the model.
        let logits = ctx.through(&hidden.index_select(0, &places)?)?;
        let sum = logits.cross_entropy_sum(&labels.index_select(0, &places)?)?;
        Ok(Loss {
            sum,
            count: places.shape()?[0].cast_unsigned(),
            predictions: None,
        })
    }

    fn metrics(&self, loss: f64) -> Result<Metrics> {
        Ok(Metrics {
            values: BTreeMap::from([
                ("nll".to_owned(), loss),
                ("perplexity".to_owned(), loss.exp()),
            ]),
            headline: "perplexity".to_owned(),
            short: "ppl".to_owned(),
            higher_is_better: false,
        })
    }
}

export_plugin! { head "masked-lm" => MaskedLm }

#[cfg(test)]
mod tests;
