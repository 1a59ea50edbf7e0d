//! Alpha policies that a run would take, each with one defect that `lorahost plugin check` finds.

use std::sync::atomic::{AtomicUsize, Ordering};

use lorahost_plugin_api::prelude::*;

/// Comes down to zero with the rank, and below.
#[derive(Params)]
struct Falls;

impl AlphaPolicy for Falls {
    fn scale(&self, layer: &Layer) -> Result<Scale> {
        Ok(Scale::from(2.0 - layer.rank as f64 / 64.0))
    }
}

/// Counts its calls.
#[derive(Params)]
struct Moody;

impl AlphaPolicy for Moody {
    fn scale(&self, _layer: &Layer) -> Result<Scale> {
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        Ok(Scale::from(
            1.0 + CALLS.fetch_add(1, Ordering::Relaxed) as f64,
        ))
    }
}

/// Forgets a tensor in each call.
#[derive(Params)]
struct Keeps;

impl AlphaPolicy for Keeps {
    fn scale(&self, layer: &Layer) -> Result<Scale> {
        std::mem::forget(Tensor::zeros(&[1])?);
        Ok(Scale::from(32.0 / layer.rank as f64))
    }
}

export_plugin! { alpha "falls" => Falls, alpha "moody" => Moody, alpha "keeps" => Keeps }
