//! Attention over packed sequences as one node of autograd.

use std::ffi::c_char;
use std::ptr;

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

use super::{made, outcome};

/// How the columns of queries, keys and values are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of keys and values; each serves `heads / kv_heads` heads of the queries in a row.
    pub kv_heads: usize,
    /// Whether a token sees only itself and what comes before it.
    pub causal: bool,
}

/// Which tokens ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queries {
    /// Every token.
    All,
    /// The first of each sequence.
    First,
}

unsafe extern "C" {
    fn lh_attention(
        parts: *const *const C_tensor,
        count: usize,
        heads: i64,
        kv_heads: i64,
        causal: bool,
        first: bool,
        offsets: *const i64,
        sequences: usize,
        p: f64,
        keys: *const u64,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
}

/// softmax(q k' / sqrt(width)) v within each sequence of `offsets`, `[queries, heads * width]`.
///
/// `parts` is one tensor with queries, keys and values side by side, or the three: float32 on the CPU, `[queries, heads *
/// width]` for queries, which are all tokens or one for each sequence, and `[total, kv_heads * width]` for the others.
/// `dropout` is the probability and one key for each sequence, whose mask is that of [`super::dropout::dropout`] on its
/// probabilities, `[heads, length, length]`.
///
/// # Errors
/// What libtorch reports.
///
/// # Panics
/// Where `offsets` is empty, or there is not one key for each sequence.
pub fn attention(
    parts: &[&Tensor],
    heads: Heads,
    queries: Queries,
    offsets: &[i64],
    dropout: Option<(f64, &[u64])>,
) -> Result<Tensor, TchError> {
    let sequences = offsets.len() - 1;
    let (p, keys) = dropout.map_or((0.0, ptr::null()), |(p, keys)| {
        assert_eq!(keys.len(), sequences, "one key a sequence");
        (p, keys.as_ptr())
    });
    let parts: Vec<*const C_tensor> = parts.iter().map(|part| part.as_ptr()).collect();
    let mut out = ptr::null_mut();
    // SAFETY: all tensors and slices live for the length of the call and have the lengths that are passed; `out` is
    // written only where no message returns.
    outcome(unsafe {
        lh_attention(
            parts.as_ptr(),
            parts.len(),
            heads.heads as i64,
            heads.kv_heads as i64,
            heads.causal,
            queries == Queries::First,
            offsets.as_ptr(),
            sequences,
            p,
            keys,
            &raw mut out,
        )
    })
    .map_err(TchError::Torch)?;
    // SAFETY: the C++ side made this tensor with `new` and gave it up.
    Ok(unsafe { made(out) })
}
