//! Gradients as tch does not offer them.

use std::ffi::c_char;
use std::ptr;

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

use super::outcome;

unsafe extern "C" {
    fn lh_forget_gradient(tensor: *const C_tensor) -> *mut c_char;
    fn lh_grad(
        outputs: *const *const C_tensor,
        outputs_count: usize,
        inputs: *const *const C_tensor,
        count: usize,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    fn lh_with_gradients(
        loss: *const C_tensor,
        inputs: *const *const C_tensor,
        gradients: *const *const C_tensor,
        count: usize,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
}

/// Leaves a leaf without gradient, so that an optimizer can tell that a step did not reach it.
///
/// # Errors
/// What libtorch reports.
pub fn forget(tensor: &Tensor) -> Result<(), TchError> {
    // SAFETY: the tensor is alive for the length of the call.
    outcome(unsafe { lh_forget_gradient(tensor.as_ptr()) }).map_err(TchError::Torch)
}

/// Gradients of the sum of `outputs`, all scalars, with respect to each of `inputs`; none where the input needs none
/// or no output depends on it. What was recorded between the two is freed; no leaf's own gradient changes.
///
/// # Errors
/// An output that is no scalar; a record that was freed before.
pub fn grad(outputs: &[Tensor], inputs: &[Tensor]) -> Result<Vec<Option<Tensor>>, TchError> {
    let mut found = vec![ptr::null_mut(); inputs.len()];
    let [outputs, inputs] = [outputs, inputs].map(pointers);
    // SAFETY: all tensors are alive for the length of the call, and `found` has a place for each input.
    let outcome = outcome(unsafe {
        lh_grad(
            outputs.as_ptr(),
            outputs.len(),
            inputs.as_ptr(),
            inputs.len(),
            found.as_mut_ptr(),
        )
    });
    let own = |pointer: *mut C_tensor| {
        // SAFETY: the C++ side made what is not null with `new` and gave it up.
        (!pointer.is_null()).then(|| unsafe { Tensor::from_ptr(pointer) })
    };
    let found = found.into_iter().map(own).collect();
    outcome.map(|()| found).map_err(TchError::Torch)
}

/// A scalar of the value of `loss` whose backward pass hands each of `inputs` its gradient, times the gradient that
/// arrives; nothing flows into `loss` itself.
///
/// # Errors
/// A loss that is no scalar; a gradient of another shape than its input, or one that carries gradients itself.
///
/// # Panics
/// Where there are not as many gradients as inputs.
pub fn with_gradients(
    loss: &Tensor,
    inputs: &[Tensor],
    gradients: &[Option<Tensor>],
) -> Result<Tensor, TchError> {
    assert_eq!(inputs.len(), gradients.len(), "one gradient for each input");
    let inputs = pointers(inputs);
    let gradients: Vec<*const C_tensor> = gradients
        .iter()
        .map(|gradient| gradient.as_ref().map_or(ptr::null(), Tensor::as_ptr))
        .collect();
    let mut out = ptr::null_mut();
    // SAFETY: all tensors are alive for the length of the call, and `out` is written only where no message returns.
    outcome(unsafe {
        lh_with_gradients(
            loss.as_ptr(),
            inputs.as_ptr(),
            gradients.as_ptr(),
            inputs.len(),
            &raw mut out,
        )
    })
    .map_err(TchError::Torch)?;
    // SAFETY: the C++ side made this tensor with `new` and gave it up.
    Ok(unsafe { Tensor::from_ptr(out) })
}

fn pointers(tensors: &[Tensor]) -> Vec<*const C_tensor> {
    tensors.iter().map(Tensor::as_ptr).collect()
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    fn leaf(values: &[f32]) -> Tensor {
        Tensor::from_slice(values).set_requires_grad(true)
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        Vec::try_from(tensor).expect("a vector of floats")
    }

    #[test]
    fn gradients_are_taken_without_touching_the_leaves() -> Result<(), TchError> {
        let (x, y) = (leaf(&[1.0, 2.0]), leaf(&[3.0, 4.0]));
        let (unused, plain) = (leaf(&[1.0]), Tensor::from_slice(&[1.0_f32]));
        let outputs = [(&x * &y).sum(Kind::Float), x.square().sum(Kind::Float)];
        let inputs = [&x, &unused, &y, &plain].map(Tensor::shallow_clone);
        let found = grad(&outputs, &inputs)?;
        assert_eq!(found[0].as_ref().map(values), Some(vec![5.0, 8.0]));
        assert_eq!(found[2].as_ref().map(values), Some(vec![1.0, 2.0]));
        assert!(found[1].is_none() && found[3].is_none());
        assert!(!x.grad().defined() && !y.grad().defined());
        // A tensor in the middle is an input like any other, and nothing before it is walked.
        let middle = x.f_mul_scalar(2.0)?;
        let output = middle.square().sum(Kind::Float);
        let found = grad(&[output], &[middle])?;
        assert_eq!(found[0].as_ref().map(values), Some(vec![4.0, 8.0]));
        let constant = Tensor::from(1.0_f32);
        assert!(grad(&[constant], &[x])?[0].is_none());
        Ok(())
    }

    #[test]
    fn given_gradients_are_handed_back_times_what_arrives() -> Result<(), TchError> {
        let (x, y, z) = (leaf(&[1.0, 2.0]), leaf(&[3.0]), leaf(&[4.0]));
        let frozen = Tensor::from_slice(&[5.0_f32]);
        let middle = x.f_mul_scalar(10.0)?;
        let gradient = |values: &[f32]| Some(Tensor::from_slice(values));
        let inputs = [&middle, &y, &z, &frozen].map(Tensor::shallow_clone);
        let gradients = [
            gradient(&[1.0, -1.0]),
            gradient(&[7.0]),
            None,
            gradient(&[9.0]),
        ];
        let loss = with_gradients(&Tensor::from(2.5_f32), &inputs, &gradients)?;
        assert_eq!(loss.double_value(&[]), 2.5);
        loss.f_mul_scalar(0.5)?
            .f_add(&y.sum(Kind::Float))?
            .f_backward()?;
        assert_eq!(values(&x.grad()), [5.0, -5.0]);
        assert_eq!(values(&y.grad()), [4.5]);
        assert!(!z.grad().defined());
        let nothing_learns = with_gradients(&loss, &[frozen], &[None])?;
        assert!(!nothing_learns.requires_grad());
        Ok(())
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (x, two) = (leaf(&[1.0, 2.0]), leaf(&[1.0, 2.0]));
        let scalar = || Tensor::zeros([], (Kind::Float, Device::Cpu));
        let message = |outcome: Result<Tensor, TchError>| outcome.unwrap_err().to_string();
        let refused = grad(&[x.shallow_clone()], &[x.shallow_clone()]);
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("an output has shape [2]"), "{refused}");
        let refused = message(with_gradients(&two, &[], &[]));
        assert!(refused.contains("the loss has shape [2]"), "{refused}");
        let three = Some(Tensor::from_slice(&[1.0_f32; 3]));
        let refused = message(with_gradients(&scalar(), &[x.shallow_clone()], &[three]));
        let expected = "gradient 0 has shape [3], its input [2]";
        assert!(refused.contains(expected), "{refused}");
        let refused = message(with_gradients(&scalar(), &[x], &[Some(two)]));
        assert!(refused.contains("detach it"), "{refused}");
        let output = leaf(&[1.0]).square();
        let input = output.shallow_clone();
        let squared = output.square();
        assert!(grad(&[squared.shallow_clone()], &[input.shallow_clone()]).is_ok());
        assert!(grad(&[squared], &[input]).is_err(), "freed");
    }
}
