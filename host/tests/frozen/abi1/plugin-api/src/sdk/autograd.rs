
use super::{Error, Result, Tensor};
use crate::abi;

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
