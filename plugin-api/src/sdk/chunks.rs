//! A loss over many rows, some rows at a time, so that what it computes for all of them never exists at once.

use std::ops::Range;

use super::{HeadContext, Result, Tensor, cat, grad, op, stack, with_gradients};

impl HeadContext<'_> {
    /// The sum of `loss` over the rows of `x`, at most `chunk` of them at a time.
    ///
    /// `loss` gets rows of `x` and says which they are, and answers a scalar: a sum over these rows. It may apply layers
    /// of the head, and must not depend on anything else that learns. In training each chunk is followed by its own
    /// backward pass down to `x` and the layers' parameters, so memory holds the logits of one chunk instead of all;
    /// values and gradients are those of one pass over all rows, within rounding. (Dropout draws a mask for each chunk.)
    /// Where all rows fit into one chunk `loss` is called once and autograd keeps what it needs.
    ///
    /// Needs [`AUTOGRAD`](crate::abi::AUTOGRAD) in `REQUIRES`.
    ///
    /// # Errors
    /// What `loss` returned, and when the host lacks autograd.
    pub fn sum_in_chunks(
        &self,
        x: &Tensor,
        chunk: usize,
        loss: impl Fn(&Tensor, Range<i64>) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let rows = x.shape()?[0];
        let chunk = i64::try_from(chunk.max(1)).unwrap_or(i64::MAX);
        if rows <= chunk {
            return loss(x, 0..rows);
        }
        let mut parameters = Vec::new();
        if self.training {
            for layer in self.layers() {
                parameters.extend(self.parameters(&layer.name)?);
            }
        }
        let (mut sums, mut of_x) = (Vec::new(), Vec::new());
        let mut of_parameters: Vec<Option<Tensor>> = parameters.iter().map(|_| None).collect();
        let mut start = 0;
        while start < rows {
            let length = chunk.min(rows - start);
            let part = x.narrow(0, start, length)?;
            let part = if self.training { leaf(&part)? } else { part };
            let sum = loss(&part, start..start + length)?;
            if self.training {
                let inputs: Vec<_> = std::iter::once(&part).chain(&parameters).collect();
                let mut grads = grad(&[&sum], &inputs)?.into_iter();
                of_x.push(match grads.next().flatten() {
                    Some(grad) => grad,
                    None => part.zeros_like()?,
                });
                for (total, grad) in of_parameters.iter_mut().zip(grads) {
                    accumulate(total, grad)?;
                }
            }
            sums.push(sum.detach()?);
            start += length;
        }
        let total = stack(&sums.iter().collect::<Vec<_>>(), 0)?.sum()?;
        if !self.training {
            return Ok(total);
        }
        let of_x = cat(&of_x.iter().collect::<Vec<_>>(), 0)?;
        let inputs: Vec<_> = std::iter::once(x).chain(&parameters).collect();
        let of_parameters = of_parameters.iter().map(Option::as_ref);
        let grads: Vec<_> = std::iter::once(Some(&of_x)).chain(of_parameters).collect();
        with_gradients(&total, &inputs, &grads)
    }
}

/// The values of `x` as a beginning of their own: what led to them may hold a tied weight, whose gradient through the
/// model is not this pass's to take.
fn leaf(x: &Tensor) -> Result<Tensor> {
    let leaf = x.detach()?;
    op("aten::requires_grad_").arg(&leaf).run()?;
    Ok(leaf)
}

/// Adds a chunk's gradient to that of the chunks before.
fn accumulate(total: &mut Option<Tensor>, grad: Option<Tensor>) -> Result<()> {
    match (total, grad) {
        (_, None) => {}
        (Some(total), Some(grad)) => total.add_(&grad)?,
        (total, Some(grad)) => *total = Some(grad.copy()?),
    }
    Ok(())
}
