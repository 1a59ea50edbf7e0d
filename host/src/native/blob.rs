//! Tensors on a mapped file.

use std::ffi::{c_char, c_void};
use std::ops::Range;
use std::ptr;
use std::sync::Arc;

use memmap2::MmapRaw;
use tch::{TchError, Tensor};
use torch_sys::C_tensor;

use super::{made, outcome};

unsafe extern "C" {
    fn lh_from_blob(
        data: *mut c_void,
        shape: *const i64,
        dimensions: usize,
        owner: *mut c_void,
        release: extern "C" fn(*mut c_void),
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
}

/// The float32 numbers in `range` of a private mapping as a tensor of that shape. Nothing is copied before something is
/// written: until then every process that maps the file has the same memory.
///
/// # Errors
/// What libtorch reports.
///
/// # Panics
/// Where the range is not within the mapping, not that of the shape, or not aligned to 4 bytes.
pub fn mapped(map: &Arc<MmapRaw>, range: Range<usize>, shape: &[i64]) -> Result<Tensor, TchError> {
    let count = shape.iter().product::<i64>() as usize;
    assert!(range.len() == count * size_of::<f32>() && range.end <= map.len());
    // SAFETY: the range lies in the mapping.
    let start = unsafe { map.as_mut_ptr().add(range.start) };
    assert_eq!(start.addr() % align_of::<f32>(), 0);
    let owner = Arc::into_raw(Arc::clone(map)).cast_mut().cast();
    let mut out = ptr::null_mut();
    // SAFETY: the memory is writable, belongs to this process alone, and lives until `release`; the range was checked;
    // `out` is written only where no message returns.
    outcome(unsafe {
        lh_from_blob(
            start.cast(),
            shape.as_ptr(),
            shape.len(),
            owner,
            release,
            &raw mut out,
        )
    })
    .map_err(TchError::Torch)?;
    // SAFETY: the C++ side made this tensor with `new` and gave it up.
    Ok(unsafe { made(out) })
}

extern "C" fn release(owner: *mut c_void) {
    // SAFETY: made by `Arc::into_raw` in `mapped`, released once.
    drop(unsafe { Arc::from_raw(owner.cast::<MmapRaw>()) });
}
