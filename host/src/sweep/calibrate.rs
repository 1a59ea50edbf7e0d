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
    // Where others compute too, the fastest product is the one that they disturbed least.
    let mut fastest = f64::INFINITY;
    while started.elapsed() < TIME {
        let begun = Instant::now();
        product = ones.f_matmul_out(&product, &ones)?;
        fastest = fastest.min(begun.elapsed().as_secs_f64());
    }
    Ok((SIDE * SIDE * SIDE) as f64 / fastest)
}
