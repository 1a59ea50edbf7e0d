//! Properties of LoRA that can be tried without knowing the answer ("LoRA Without Regret", Thinking Machines, 2025).
//!
//! - C12: with Adam and a vanishing eps, (alpha, A, lr of A, lr of B) and (alpha/(pq), pA, p lr of A, q lr of B) train the
//!   same function. With p and q powers of two and no weight decay it is equal bit for bit; eps must not be 0, since
//!   the gradient of A is exactly 0 while B is.
//! - C5: with a scale of alpha/r the first steps are the same at all ranks, approximately.

mod compare;
mod error;
mod plans;

pub use compare::{Difference, compare, losses, spread};
pub use error::VerifyError;
pub use plans::{Trade, of_ranks, traded};
