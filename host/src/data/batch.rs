//! Rows packed for a model: no padding.

use super::tokens::Tokens;
use crate::random::Stream;

/// Rows one after the other, as a model takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Token ids, `[total]`.
    pub ids: Vec<i64>,
    /// `[rows + 1]` from 0: row i is `ids[offsets[i]..offsets[i + 1]]`.
    pub offsets: Vec<i64>,
    /// Classes, `[rows]`, where the rows have any.
    pub labels: Option<Vec<i64>>,
}

/// The order of the train rows in an epoch (from 1), drawn by the stream (`seed`, "data", "order/EPOCH").
///
/// # Panics
/// When there are 2^32 rows or more.
pub fn order(rows: usize, seed: u64, epoch: usize) -> Vec<u32> {
    let rows = u32::try_from(rows).expect("a split has fewer than 2^32 rows");
    let mut order: Vec<u32> = (0..rows).collect();
    Stream::named(seed, "data", &format!("order/{epoch}")).shuffle(&mut order);
    order
}

/// These rows, in this order.
///
/// # Panics
/// When there is no such row.
pub fn batch(tokens: &Tokens, rows: &[u32]) -> Batch {
    let mut ids = Vec::new();
    let mut offsets = vec![0];
    for &row in rows {
        ids.extend(tokens.row(row as usize).map(i64::from));
        offsets.push(ids.len() as i64);
    }
    let labels = rows
        .iter()
        .map(|&row| tokens.label(row as usize).map(i64::from));
    Batch {
        ids,
        offsets,
        labels: tokens.labelled().then(|| labels.flatten().collect()),
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
