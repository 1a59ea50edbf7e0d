//! Gradients as tch does not offer them.

use std::ffi::c_char;

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

use super::outcome;

unsafe extern "C" {
    fn lh_forget_gradient(tensor: *const C_tensor) -> *mut c_char;
}

/// Leaves a leaf without gradient, so that an optimizer can tell that a step did not reach it.
///
/// # Errors
/// What libtorch reports.
pub fn forget(tensor: &Tensor) -> Result<(), TchError> {
    // SAFETY: the tensor is alive for the length of the call.
    outcome(unsafe { lh_forget_gradient(tensor.as_ptr()) }).map_err(TchError::Torch)
}
