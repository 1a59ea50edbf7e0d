//! Attention over packed sequences by libtorch's flash kernel (arXiv 2307.08691): on CUDA, in half precision.

use std::ffi::c_char;
use std::ptr;

use tch::{Device, Kind, TchError, Tensor};
use torch_sys::C_tensor;

use super::{made, outcome};

unsafe extern "C" {
    fn lh_flash_attention(
        query: *const C_tensor,
        key: *const C_tensor,
        value: *const C_tensor,
        offsets: *const C_tensor,
        longest: i64,
        causal: bool,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
}

/// Whether the kernel takes heads of such numbers, `width` of them each.
#[must_use]
pub fn serves(device: Device, kind: Kind, width: i64) -> bool {
    matches!(device, Device::Cuda(_))
        && matches!(kind, Kind::BFloat16 | Kind::Half)
        && width % 8 == 0
        && width <= 256
}

/// softmax(q k' / sqrt(width)) v within each sequence, `[total, heads, width]`; no dropout, whose masks the kernel would draw
/// from libtorch's global generator.
///
/// Queries are `[total, heads, width]`, keys and values `[total, kv_heads, width]`; `offsets` is int32 on the same
/// device, from 0 to `total`, and `longest` the length of the longest sequence.
///
/// # Errors
/// What libtorch reports.
pub fn attention(
    [query, key, value]: [&Tensor; 3],
    offsets: &Tensor,
    longest: i64,
    causal: bool,
) -> Result<Tensor, TchError> {
    let mut out = ptr::null_mut();
    // SAFETY: all tensors live for the length of the call, and `out` is written only where no message returns.
    outcome(unsafe {
        lh_flash_attention(
            query.as_ptr(),
            key.as_ptr(),
            value.as_ptr(),
            offsets.as_ptr(),
            longest,
            causal,
            &raw mut out,
        )
    })
    .map_err(TchError::Torch)?;
    // SAFETY: the C++ side made this tensor with `new` and gave it up.
    Ok(unsafe { made(out) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_on_cuda_is_served_for_widths_of_the_kernel() {
        let cuda = Device::Cuda(0);
        for (device, kind, width, served) in [
            (cuda, Kind::BFloat16, 64, true),
            (cuda, Kind::Half, 256, true),
            (cuda, Kind::BFloat16, 20, false),
            (cuda, Kind::BFloat16, 264, false),
            (cuda, Kind::Float, 64, false),
            (Device::Cpu, Kind::BFloat16, 64, false),
        ] {
            let found = serves(device, kind, width);
            assert_eq!(found, served, "{device:?} {kind:?} {width}");
        }
    }

    #[test]
    fn the_call_fits_the_operator_and_lacks_nothing_but_the_device() {
        let x = Tensor::zeros([5, 2, 8], (Kind::BFloat16, Device::Cpu));
        let offsets = Tensor::from_slice(&[0_i32, 2, 5]);
        let error = attention([&x, &x, &x], &offsets, 3, true).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("Could not run 'aten::_flash_attention_forward'")
                && text.contains("'CPU' backend"),
            "{text}"
        );
    }
}
