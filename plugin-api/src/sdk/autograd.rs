//! Gradients that a head takes and gives itself; needs [`abi::AUTOGRAD`] in `REQUIRES`.

use super::{Error, Result, Tensor};
use crate::abi;

/// Gradients of the sum of `outputs`, all scalars, with respect to each of `inputs`; none for an input that needs no
/// gradient or on which no output depends.
///
/// All ways back from an output to an input count, also those that pass through another input: detach what they are to
/// stop at. What autograd recorded on these ways is freed. A gradient may share memory with another tensor: copy it before
/// an update in place.
///
/// # Errors
/// When an output is no scalar, or its record was freed before.
pub fn grad(outputs: &[&Tensor], inputs: &[&Tensor]) -> Result<Vec<Option<Tensor>>> {
    let host = abi::connected()?.autograd()?;
    let grads = host.grad(&handles(outputs), &handles(inputs))?;
    // All of them first: what an error leaves behind must own its handles to drop them.
    let grads = grads.into_iter().map(Tensor::owned);
    let grads: Vec<_> = grads
        .map(|grad| Some(grad).filter(|grad| !grad.is_none()))
        .collect();
    if grads.len() != inputs.len() {
        return Err(Error::new(format!(
            "the host answered {} gradients for {} inputs",
            grads.len(),
            inputs.len()
        )));
    }
    Ok(grads)
}

/// A scalar of the value of `loss` whose backward pass hands each of `inputs` its gradient, times the gradient that
/// arrives at the scalar. How `loss` came about does not matter: nothing flows into it.
///
/// # Errors
/// When `loss` is no scalar, or a gradient has not the shape of its input.
pub fn with_gradients(
    loss: &Tensor,
    inputs: &[&Tensor],
    grads: &[Option<&Tensor>],
) -> Result<Tensor> {
    let host = abi::connected()?.autograd()?;
    let grads: Vec<u64> = grads
        .iter()
        .map(|grad| grad.map_or(0, Tensor::handle))
        .collect();
    host.with_gradients(loss.handle(), &handles(inputs), &grads)
        .map(Tensor::owned)
}

fn handles(tensors: &[&Tensor]) -> Vec<u64> {
    tensors.iter().map(|tensor| tensor.handle()).collect()
}
