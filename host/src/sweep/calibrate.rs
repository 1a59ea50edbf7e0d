//! What a CPU of this machine multiplies at best.

use std::time::{Duration, Instant};

use tch::{Device, Kind, TchError, Tensor};

/// Side of the matrices: larger ones are no faster, and these fit into the cache.
const SIDE: i64 = 512;

const TIME: Duration = Duration::from_millis(250);

/// Multiply-adds a second of fp32 matrix products on so many threads: a bound that no run reaches, since a run also
/// reads and writes what it multiplies.
///
/// # Errors
/// What libtorch reports.
pub fn products_per_second(threads: usize) -> Result<f64, TchError> {
    tch::set_num_threads(i32::try_from(threads).unwrap_or(i32::MAX));
    let ones = Tensor::f_ones([SIDE, SIDE], (Kind::Float, Device::Cpu))?;
    // The first product also starts the threads.
    let mut product = ones.f_matmul(&ones)?;
    let started = Instant::now();
    let mut count = 0.0;
    while started.elapsed() < TIME {
        product = ones.f_matmul_out(&product, &ones)?;
        count += 1.0;
    }
    Ok(count * (SIDE * SIDE * SIDE) as f64 / started.elapsed().as_secs_f64())
}
