//! Named random streams: every draw of the host comes from a stream seeded by (seed, purpose, name).
//!
//! No stream is shared, so the order of layers, of runs and of workers changes nothing. libtorch's global generator is
//! never used; where libtorch draws, its generator is seeded with [`stream_seed`].

use sha2::{Digest, Sha256};

/// The seed of the stream `name` of a purpose: `stream_seed(42, "init", "encoder.layer.0.attention.query")`.
///
/// The first 8 bytes, little endian, of the SHA-256 of: `seed` as 8 bytes little endian, then for `purpose` and for
/// `name` the length in bytes as 8 bytes little endian and the UTF-8 text. Lengths keep `("a", "bc")` and `("ab", "c")`
/// apart. These values are part of what a run's results depend on: a change of the rule changes every run.
pub fn stream_seed(seed: u64, purpose: &str, name: &str) -> u64 {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    for part in [purpose, name] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    digest[..8]
        .iter()
        .rev()
        .fold(0, |value, &byte| value << 8 | u64::from(byte))
}

/// A stream of random numbers: xoshiro256++ (Blackman and Vigna, arXiv 1805.01407), its state filled by `SplitMix64`.
#[derive(Debug, Clone)]
pub struct Stream {
    state: [u64; 4],
}

impl Stream {
    /// The stream that [`stream_seed`] names.
    pub fn named(seed: u64, purpose: &str, name: &str) -> Self {
        Self::new(stream_seed(seed, purpose, name))
    }

    pub fn new(seed: u64) -> Self {
        let mut seed = seed;
        Self {
            state: std::array::from_fn(|_| split_mix(&mut seed)),
        }
    }

    /// Uniform over all 64-bit integers.
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        result
    }

    /// Uniform in [0, 1), in steps of 2^-53.
    pub fn next_f64(&mut self) -> f64 {
        const STEP: f64 = 1.0 / (1u64 << 53) as f64;
        (self.next_u64() >> 11) as f64 * STEP
    }

    /// Standard normal, by Box and Muller; takes two uniform numbers.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.next_f64()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.next_f64()).cos()
    }

    /// Uniform over `0..n` without bias (Lemire, arXiv 1805.10941).
    ///
    /// # Panics
    /// When `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "a number below 0 was asked for");
        let rejected = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(n);
            if product as u64 >= rejected {
                return (product >> 64) as u64;
            }
        }
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.next_f64() < p
    }

    /// One of the items, each as likely as the others.
    ///
    /// # Panics
    /// When there are none.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u64) as usize]
    }

    /// Puts the items into a uniformly drawn order (Fisher and Yates, from the back).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

/// One step of `SplitMix64`: advances `state` and gives a well-mixed number.
pub fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xoshiro_gives_the_published_numbers() {
        let mut stream = Stream {
            state: [1, 2, 3, 4],
        };
        let drawn: Vec<u64> = (0..6).map(|_| stream.next_u64()).collect();
        assert_eq!(
            drawn,
            [
                41943041,
                58720359,
                3588806011781223,
                3591011842654386,
                9228616714210784205,
                9973669472204895162
            ]
        );
    }

    #[test]
    fn split_mix_fills_the_state() {
        let mut stream = Stream::new(0);
        assert_eq!(stream.state[0], 0xe220_a839_7b1d_cdaf);
        assert_eq!(stream.state[3], 17909611376780542444);
        let drawn: Vec<u64> = (0..3).map(|_| stream.next_u64()).collect();
        assert_eq!(
            drawn,
            [
                5987356902031041503,
                7051070477665621255,
                6633766593972829180
            ]
        );
    }

    #[test]
    fn seeds_have_the_documented_values() {
        assert_eq!(stream_seed(36, "data", "split"), 14119880111708379772);
        assert_eq!(stream_seed(42, "init", "a"), 1012827502795214380);
        assert_eq!(stream_seed(0, "", ""), 16021189222653137053);
        assert_ne!(stream_seed(1, "a", "bc"), stream_seed(1, "ab", "c"));
    }

    #[test]
    fn below_is_uniform_and_reaches_the_ends() {
        let mut stream = Stream::new(7);
        let mut counts = [0u32; 6];
        for _ in 0..60_000 {
            counts[stream.below(6) as usize] += 1;
        }
        assert!(
            counts.iter().all(|count| count.abs_diff(10_000) < 400),
            "{counts:?}"
        );
        assert_eq!(stream.below(1), 0);
        assert!(stream.below(u64::MAX) < u64::MAX);
    }

    #[test]
    fn floats_lie_in_the_unit_interval() {
        let mut stream = Stream::new(3);
        let drawn: Vec<f64> = (0..10_000).map(|_| stream.next_f64()).collect();
        assert!(drawn.iter().all(|x| (0.0..1.0).contains(x)));
        let mean = drawn.iter().sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
    }

    #[test]
    fn normal_has_mean_zero_and_variance_one() {
        let mut stream = Stream::named(1, "test", "normal");
        let drawn: Vec<f64> = (0..100_000).map(|_| stream.normal()).collect();
        let mean = drawn.iter().sum::<f64>() / 1e5;
        let square = drawn.iter().map(|x| x * x).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.015 && (square - 1.0).abs() < 0.02);
    }

    #[test]
    fn shuffle_keeps_the_items() {
        let mut items: Vec<u32> = (0..100).collect();
        Stream::named(1, "data", "order").shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
