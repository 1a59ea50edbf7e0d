//! For `LD_PRELOAD`: a wall clock that is put back by an hour each time that it is read. It is Linux's alone.

#![cfg(target_os = "linux")]
#![expect(
    unsafe_code,
    reason = "it takes the place of a function of the C library"
)]

use std::ffi::{c_int, c_long};
use std::sync::atomic::{AtomicI64, Ordering};

const CLOCK_REALTIME: c_int = 0;
#[cfg(target_arch = "x86_64")]
const SYS_CLOCK_GETTIME: c_long = 228;
#[cfg(target_arch = "aarch64")]
const SYS_CLOCK_GETTIME: c_long = 113;

/// `struct timespec` of 64-bit systems.
#[repr(C)]
pub struct Time {
    seconds: i64,
    nanoseconds: i64,
}

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
}

static READ: AtomicI64 = AtomicI64::new(0);

/// As the C library's, but for the wall clock.
///
/// # Safety
/// `time` points to a `struct timespec`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut Time) -> c_int {
    // SAFETY: the system call of this name, with arguments by its caller's promise.
    let outcome = unsafe { syscall(SYS_CLOCK_GETTIME, clock, time) };
    if outcome == 0 && clock == CLOCK_REALTIME {
        let hours = READ.fetch_add(1, Ordering::Relaxed) + 1;
        // SAFETY: the system has just written there.
        unsafe { (*time).seconds -= 3600 * hours };
    }
    if outcome == 0 { 0 } else { -1 }
}
