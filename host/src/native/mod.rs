//! What `host/cpp` adds to libtorch's Rust bindings; the only place that calls it.

pub mod dispatch;
pub mod dropout;
pub mod gradients;

use std::ffi::{CStr, c_char};

unsafe extern "C" {
    fn lh_free(message: *mut c_char);
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
