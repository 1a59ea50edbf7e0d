//! Correlation of two lists of equal length.

/// Pearson's r; NaN where a list is constant or shorter than two.
pub fn pearson(x: &[f64], y: &[f64]) -> f64 {
    if is_constant(x) || is_constant(y) {
        return f64::NAN;
    }
    let [mean_x, mean_y] = [x, y].map(mean);
    let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
    for (x, y) in x.iter().zip(y) {
        let (x, y) = (x - mean_x, y - mean_y);
        xx += x * x;
        yy += y * y;
        xy += x * y;
    }
    // Rounding may carry a perfect correlation past 1.
    (xy / (xx.sqrt() * yy.sqrt())).clamp(-1.0, 1.0)
}

/// Spearman's rho: Pearson's r of the ranks, where equal values share the mean of their ranks.
pub fn spearman(x: &[f64], y: &[f64]) -> f64 {
    let nan = x.iter().chain(y).any(|value| value.is_nan());
    if nan {
        return f64::NAN;
    }
    pearson(&ranks(x), &ranks(y))
}

/// Whether rounding is all that a variance could come from.
fn is_constant(values: &[f64]) -> bool {
    values.iter().all(|value| *value == values[0])
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The place of each value among all, from 1; equal ones share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    for equal in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let shared = start as f64 + (equal.len() + 1) as f64 / 2.0;
        for &place in equal {
            ranks[place] = shared;
        }
        start += equal.len();
    }
    ranks
}
