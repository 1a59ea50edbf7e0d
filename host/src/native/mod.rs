//! What `host/cpp` adds to libtorch's Rust bindings; the only place that calls it.

pub mod attention;
pub mod blob;
pub mod dispatch;
pub mod dropout;
pub mod flash;
pub mod gradients;
pub mod linear;
pub mod norm;

use std::ffi::{CStr, c_char};

use tch::{Device, Kind, Tensor};
use torch_sys::C_tensor;

unsafe extern "C" {
    fn lh_free(message: *mut c_char);
}

/// Whether a tensor is what the nodes written for the CPU take: float32 there.
#[must_use]
pub fn is_plain(tensor: &Tensor) -> bool {
    tensor.device() == Device::Cpu && tensor.kind() == Kind::Float
}

/// The message of a failed call: the first line of libtorch's error.
fn outcome(message: *mut c_char) -> Result<(), String> {
    if message.is_null() {
        return Ok(());
    }
    // SAFETY: a message of host/cpp is a C string from malloc, freed once.
    let text = unsafe { CStr::from_ptr(message) }
        .to_string_lossy()
        .into_owned();
    // SAFETY: as above; `text` is a copy.
    unsafe { lh_free(message) };
    Err(text)
}

/// Takes over a tensor that the C++ side made.
///
/// # Safety
/// `tensor` was made with `new` by the C++ side, which gave it up.
unsafe fn made(tensor: *mut C_tensor) -> Tensor {
    // SAFETY: as above.
    unsafe { Tensor::from_ptr(tensor) }
}
