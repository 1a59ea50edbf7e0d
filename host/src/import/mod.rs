//! A PEFT adapter on its model: whether it fits, what it holds, and the same in plain form.

mod check;

pub use check::{Import, LayerFound, import};
