//! Dropout with a mask that is a function of a key, never of libtorch's global generator.

use std::ffi::c_char;
use std::ptr;

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

use super::outcome;

unsafe extern "C" {
    fn lh_dropout(x: *const C_tensor, p: f64, key: u64, out: *mut *mut C_tensor) -> *mut c_char;
}

/// Sets each element of `x` to 0 with probability `p` and divides the others by `1 - p`.
///
/// The mask depends on `key`, `p` and the number of elements alone: the same on every device and for every number of
/// threads. `p` is rounded to a multiple of 1/65536. Autograd records it; the backward pass draws the mask again.
///
/// # Errors
/// Where `p` is outside `[0, 1)`, or libtorch refuses.
pub fn dropout(x: &Tensor, p: f64, key: u64) -> Result<Tensor, TchError> {
    let mut out = ptr::null_mut();
    // SAFETY: `x` is a live tensor for the length of the call, and `out` is written only where no message returns.
    outcome(unsafe { lh_dropout(x.as_ptr(), p, key, &raw mut out) }).map_err(TchError::Torch)?;
    // SAFETY: the C++ side made this tensor with `new` and gave it up.
    Ok(unsafe { Tensor::from_ptr(out) })
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    fn ones(count: i64) -> Tensor {
        Tensor::ones([count], (Kind::Float, Device::Cpu))
    }

    #[test]
    fn drops_the_asked_share_and_keeps_the_mean() -> Result<(), TchError> {
        let count = 1_000_000;
        let y = dropout(&ones(count), 0.1, 7)?;
        let kept = y.ne(0.0).sum(Kind::Int64).int64_value(&[]);
        assert!((kept - 900_000).abs() < 1_500, "{kept}");
        assert!((y.mean(Kind::Double).double_value(&[]) - 1.0).abs() < 0.002);
        Ok(())
    }

    #[test]
    fn the_key_alone_decides() -> Result<(), TchError> {
        let x = ones(10_000);
        assert!(dropout(&x, 0.5, 1)?.equal(&dropout(&x, 0.5, 1)?));
        assert!(!dropout(&x, 0.5, 1)?.equal(&dropout(&x, 0.5, 2)?));
        let longer = dropout(&ones(20_000), 0.5, 1)?;
        assert!(longer.slice(0, 0, 10_000, 1).equal(&dropout(&x, 0.5, 1)?));
        // The way over a mask, which other devices and types take, gives the same elements.
        let double = dropout(&x.to_kind(Kind::Double), 0.5, 1)?;
        assert!(double.to_kind(Kind::Float).equal(&dropout(&x, 0.5, 1)?));
        Ok(())
    }

    #[test]
    fn backward_has_the_same_mask() -> Result<(), TchError> {
        let x = Tensor::rand([33, 70], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let y = dropout(&x, 0.3, 11)?;
        y.sum(Kind::Float).backward();
        assert!((x.grad() * &x).allclose(&y, 1e-6, 1e-6, false));
        Ok(())
    }

    #[test]
    fn nothing_is_dropped_at_zero_and_one_is_refused() -> Result<(), TchError> {
        let x = ones(10);
        assert!(dropout(&x, 0.0, 3)?.equal(&x));
        let error = dropout(&x, 1.0, 3).unwrap_err().to_string();
        assert!(error.contains("outside 0 <= p < 1"), "{error}");
        Ok(())
    }
}
