//! How the learning rates of a cell are found.

/// Whether learning rates are those that were given, or the first of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Search {
    /// All learning rates are given.
    Grid,
    /// Learning rates are added until the optimum is known well enough.
    Bracket {
        /// Of the 90% interval of a cell's optimum, in decades.
        width: f64,
        /// Learning rates of a cell at most, given ones included.
        budget: usize,
    },
}
