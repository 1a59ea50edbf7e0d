//! Dropout, residual sum and layer normalisation as one node of autograd.

use std::ffi::c_char;
use std::ptr;

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

use super::dropout::{Mask, RawMask};
use super::{made, outcome};

unsafe extern "C" {
    fn lh_residual_norm(
        a: *const C_tensor,
        x: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        eps: f64,
        mask: *const RawMask,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
}

/// norm(x + dropout(a)) over rows, `[rows, width]`, of float32 on the CPU; the mask is that of
/// [`super::dropout::dropout`] on `a`.
///
/// # Errors
/// What libtorch reports.
pub fn residual_norm(
    [a, x]: [&Tensor; 2],
    [weight, bias]: [&Tensor; 2],
    eps: f64,
    mask: Mask<'_>,
) -> Result<Tensor, TchError> {
    let mask = mask.raw();
    let mut out = ptr::null_mut();
    // SAFETY: all tensors and the numbers of rows live for the length of the call, and `out` is written only where no message returns.
    outcome(unsafe {
        lh_residual_norm(
            a.as_ptr(),
            x.as_ptr(),
            weight.as_ptr(),
            bias.as_ptr(),
            eps,
            &raw const mask,
            &raw mut out,
        )
    })
    .map_err(TchError::Torch)?;
    // SAFETY: the C++ side made this tensor with `new` and gave it up.
    Ok(unsafe { made(out) })
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::native::dropout::dropout;

    #[test]
    fn the_node_agrees_with_libtorch_s_operators() -> Result<(), TchError> {
        let numbers = |step: f64, shape: &[i64]| {
            let count = Tensor::arange(shape.iter().product::<i64>(), (Kind::Double, Device::Cpu));
            let numbers = (count * step).sin().to_kind(Kind::Float).reshape(shape);
            numbers.set_requires_grad(true)
        };
        for width in [64, 50] {
            let inputs = [
                numbers(0.7, &[70, width]),
                numbers(1.3, &[70, width]),
                numbers(2.1, &[width]),
                numbers(3.7, &[width]),
            ];
            let [a, x, weight, bias] = &inputs;
            let direction = numbers(0.31, &[70, width]).detach();
            let numbers: Vec<i64> = (0..70).map(|row| 3 * row + 1).collect();
            let all_rows = Mask::new(0.3, 5);
            let some_rows = Mask {
                rows: Some(&numbers),
                ..all_rows
            };
            for mask in [Mask::NONE, all_rows, some_rows] {
                let found = residual_norm([a, x], [weight, bias], 1e-5, mask)?;
                let sum = dropout(a, mask)? + x;
                let expected = sum.layer_norm([width], Some(weight), Some(bias), 1e-5, false);
                let gradients = |y: &Tensor| {
                    let loss = (y * &direction).sum(Kind::Float);
                    Tensor::run_backward(&[loss], &inputs, false, false)
                };
                assert!(found.allclose(&expected, 1e-5, 2e-6, false));
                for (found, expected) in gradients(&found).iter().zip(&gradients(&expected)) {
                    assert!(found.allclose(expected, 1e-4, 1e-5, false));
                }
            }
        }
        Ok(())
    }
}
