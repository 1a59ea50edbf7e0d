//! The task heads of plugins/ on libtorch: gradients against finite differences and against plain autograd.

mod chunks;
mod gradients;
mod lent;
mod memory;
