//! A shared library like any other.

#![expect(unsafe_code, reason = "it goes around the SDK")]

/// Adds up.
#[unsafe(no_mangle)]
pub extern "C" fn add(a: i32, b: i32) -> i32 {
    a + b
}
