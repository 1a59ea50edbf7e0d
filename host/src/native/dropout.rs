//! Dropout with a mask that is a function of a key, never of libtorch's global generator.

use std::ffi::c_char;
use std::ptr;

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

use super::outcome;

/// Which elements are dropped: a function of these and of an element's number, in memory order, alone. The same on every
/// device and for every number of threads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mask<'a> {
    /// Probability of an element to be dropped, in `[0, 1)`; rounded to a multiple of 1/65536.
    pub p: f64,
    pub key: u64,
    /// Numbers of the rows at hand among all rows that the mask is for; none where all lie at hand.
    pub rows: Option<&'a [i64]>,
}

#[repr(C)]
pub(super) struct RawMask {
    p: f64,
    key: u64,
    rows: *const i64,
    count: usize,
}

unsafe extern "C" {
    fn lh_dropout(x: *const C_tensor, mask: *const RawMask, out: *mut *mut C_tensor)
    -> *mut c_char;
}

impl Mask<'_> {
    /// Nothing is dropped.
    pub const NONE: Self = Self::new(0.0, 0);

    /// A mask for all rows.
    #[must_use]
    pub const fn new(p: f64, key: u64) -> Self {
        Self { p, key, rows: None }
    }

    pub(super) fn raw(&self) -> RawMask {
        let Self { p, key, rows } = *self;
        let rows = rows.unwrap_or_default();
        RawMask {
            p,
            key,
            rows: rows.as_ptr(),
            count: rows.len(),
        }
    }
}

/// Sets each element of `x` that the mask drops to 0 and divides the others by `1 - p`.
///
/// Autograd records it; the backward pass draws the mask again.
///
/// # Errors
/// Where `p` is outside `[0, 1)`, there is not one number for each row, or libtorch refuses.
pub fn dropout(x: &Tensor, mask: Mask<'_>) -> Result<Tensor, TchError> {
    let mask = mask.raw();
    let mut out = ptr::null_mut();
    // SAFETY: `x` and the numbers of rows live for the length of the call, and `out` is written only where no message
    // returns.
    outcome(unsafe { lh_dropout(x.as_ptr(), &raw const mask, &raw mut out) })
        .map_err(TchError::Torch)?;
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
        let y = dropout(&ones(count), Mask::new(0.1, 7))?;
        let kept = y.ne(0.0).sum(Kind::Int64).int64_value(&[]);
        assert!((kept - 900_000).abs() < 1_500, "{kept}");
        assert!((y.mean(Kind::Double).double_value(&[]) - 1.0).abs() < 0.002);
        Ok(())
    }

    #[test]
    fn the_key_alone_decides() -> Result<(), TchError> {
        let x = ones(10_000);
        assert!(dropout(&x, Mask::new(0.5, 1))?.equal(&dropout(&x, Mask::new(0.5, 1))?));
        assert!(!dropout(&x, Mask::new(0.5, 1))?.equal(&dropout(&x, Mask::new(0.5, 2))?));
        let longer = dropout(&ones(20_000), Mask::new(0.5, 1))?;
        assert!(
            longer
                .slice(0, 0, 10_000, 1)
                .equal(&dropout(&x, Mask::new(0.5, 1))?)
        );
        // The way over a mask, which other devices and types take, gives the same elements.
        let double = dropout(&x.to_kind(Kind::Double), Mask::new(0.5, 1))?;
        assert!(
            double
                .to_kind(Kind::Float)
                .equal(&dropout(&x, Mask::new(0.5, 1))?)
        );
        Ok(())
    }

    #[test]
    fn some_rows_have_the_mask_that_they_have_among_all() -> Result<(), TchError> {
        let numbers = [0, 7, 8, 39];
        let rows = Tensor::from_slice(&numbers);
        let all_rows = Mask::new(0.4, 5);
        let some_rows = Mask {
            rows: Some(&numbers),
            ..all_rows
        };
        for kind in [Kind::Float, Kind::Double] {
            let x = Tensor::rand([40, 300], (kind, Device::Cpu));
            let all = dropout(&x, all_rows)?.index_select(0, &rows);
            let x = x.index_select(0, &rows).set_requires_grad(true);
            let some = dropout(&x, some_rows)?;
            assert!(some.equal(&all));
            some.sum(kind).backward();
            assert!((x.grad() * &x).allclose(&some, 1e-6, 1e-6, false));
        }
        let three = Tensor::ones([3, 2], (Kind::Float, Device::Cpu));
        let error = dropout(&three, some_rows).unwrap_err();
        assert!(
            error.to_string().contains("numbers of 4 rows for [3, 2]"),
            "{error}"
        );
        Ok(())
    }

    #[test]
    fn backward_has_the_same_mask() -> Result<(), TchError> {
        let x = Tensor::rand([33, 70], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let y = dropout(&x, Mask::new(0.3, 11))?;
        y.sum(Kind::Float).backward();
        assert!((x.grad() * &x).allclose(&y, 1e-6, 1e-6, false));
        Ok(())
    }

    #[test]
    fn nothing_is_dropped_at_zero_and_one_is_refused() -> Result<(), TchError> {
        let x = ones(10);
        assert!(dropout(&x, Mask::new(0.0, 3))?.equal(&x));
        let error = dropout(&x, Mask::new(1.0, 3)).unwrap_err().to_string();
        assert!(error.contains("outside 0 <= p < 1"), "{error}");
        Ok(())
    }
}
