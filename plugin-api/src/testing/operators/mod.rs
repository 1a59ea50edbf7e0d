//! The operators that the fake host knows, as rows of schema and function.

mod create;
mod elementwise;
mod foreach;
mod fused;
mod linear_algebra;
mod reduce;
mod shape;
mod svd;
mod table;
#[cfg(test)]
mod tests;

pub use foreach::{Outcome, call, resolve};
pub use linear_algebra::linear;
