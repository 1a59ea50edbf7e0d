//! Rows packed for a model: no padding.

use super::tokens::{BatchLabels, Tokens};
use crate::random::Stream;

/// Rows one after the other, as a model takes them.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Token ids, `[total]`.
    pub ids: Vec<i64>,
    /// `[rows + 1]` from 0: row i is `ids[offsets[i]..offsets[i + 1]]`.
    pub offsets: Vec<i64>,
    /// Where the rows have any.
    pub labels: Option<BatchLabels>,
    /// Of blocks, the bytes of text in UTF-8 that the predicted tokens cover: all tokens of a row but its first.
    pub bytes: Option<u64>,
}

/// The order of the train split's units in an epoch (from 1), drawn by the stream (`seed`, "data", "order/EPOCH").
///
/// # Panics
/// When there are 2^32 units or more.
pub fn order(units: usize, seed: u64, epoch: usize) -> Vec<u32> {
    let units = u32::try_from(units).expect("a split has fewer than 2^32 units");
    let mut order: Vec<u32> = (0..units).collect();
    Stream::named(seed, "data", &format!("order/{epoch}")).shuffle(&mut order);
    order
}

/// The rows of these units, in this order.
///
/// # Panics
/// When there is no such unit.
pub fn batch(tokens: &Tokens, units: &[u32]) -> Batch {
    let rows = tokens.rows_of(units);
    let mut ids = Vec::new();
    let mut offsets = vec![0];
    for &row in &rows {
        ids.extend(tokens.row(row).map(i64::from));
        offsets.push(ids.len() as i64);
    }
    Batch {
        ids,
        offsets,
        labels: tokens.labels(&rows),
        bytes: tokens.bytes(&rows),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_seed_and_epoch_has_its_own_order() {
        let first = order(100, 42, 0);
        assert_eq!(first, order(100, 42, 0));
        assert_ne!(first, order(100, 42, 1));
        assert_ne!(first, order(100, 43, 0));
        let mut sorted = first;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
        assert!(order(0, 1, 0).is_empty());
    }
}
