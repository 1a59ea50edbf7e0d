//! Named random streams: the same seed, call and name give the same values, whatever else was drawn. The values are
//! not those of libtorch.

use std::f64::consts::TAU;

/// The generator `SplitMix64`.
pub struct Stream(u64);

impl Stream {
    pub fn new(seed: u64, call: &str, name: &str) -> Self {
        // FNV-1a; the lengths keep ("ab", "c") apart from ("a", "bc").
        let parts = [&seed.to_le_bytes()[..], call.as_bytes(), name.as_bytes()];
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for part in parts {
            for &byte in part.len().to_le_bytes().iter().chain(part) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
            }
        }
        Self(hash)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In 0 <= x < 1.
    pub fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Standard normal, by Box and Muller.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (TAU * self.uniform()).cos()
    }
}
