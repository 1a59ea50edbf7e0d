//! Choosing the next token.

use crate::random::Stream;

/// How the next token is chosen among the scores of all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Divides the scores; 0 takes the likeliest token.
    pub temperature: f64,
    /// The likeliest that many alone.
    pub top_k: Option<usize>,
    /// Of what is left, the fewest of the likeliest that have this probability together (arXiv 1904.09751).
    pub top_p: Option<f64>,
}

impl Sampling {
    /// The likeliest token, always.
    pub const GREEDY: Self = Self {
        temperature: 0.0,
        top_k: None,
        top_p: None,
    };

    /// The place of the chosen one among `scores`, which are finite; of equals the first is the likelier.
    pub fn choose(&self, scores: &[f32], stream: &mut Stream) -> usize {
        if self.temperature == 0.0 {
            return likeliest(scores);
        }
        let mut places: Vec<usize> = (0..scores.len()).collect();
        places.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        places.truncate(self.top_k.unwrap_or(scores.len()).max(1));
        let best = f64::from(scores[places[0]]);
        let mut weights: Vec<f64> = places
            .iter()
            .map(|&place| ((f64::from(scores[place]) - best) / self.temperature).exp())
            .collect();
        if let Some(share) = self.top_p {
            weights.truncate(nucleus(&weights, share));
        }
        let mut left = stream.next_f64() * weights.iter().sum::<f64>();
        let drawn = weights.iter().position(|weight| {
            left -= weight;
            left < 0.0
        });
        // Rounding may leave a little at the end.
        places[drawn.unwrap_or(weights.len() - 1)]
    }
}

fn likeliest(scores: &[f32]) -> usize {
    let mut best = 0;
    for (place, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = place;
        }
    }
    best
}

/// How many of the sorted `weights` it takes to have `share` of their sum; at least one.
fn nucleus(weights: &[f64], share: f64) -> usize {
    let wanted = share * weights.iter().sum::<f64>();
    let mut sum = 0.0;
    let reached = weights.iter().position(|weight| {
        sum += weight;
        sum >= wanted
    });
    reached.map_or(weights.len(), |last| last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logarithms of 0.1, 0.4, 0.3, 0.2.
    fn scores() -> Vec<f32> {
        [0.1_f32, 0.4, 0.3, 0.2].map(f32::ln).to_vec()
    }

    fn counts(sampling: Sampling) -> [u32; 4] {
        let mut stream = Stream::named(1, "test", "sampling");
        let mut counts = [0; 4];
        for _ in 0..10_000 {
            counts[sampling.choose(&scores(), &mut stream)] += 1;
        }
        counts
    }

    #[test]
    fn greedy_takes_the_first_of_the_likeliest() {
        let mut stream = Stream::new(0);
        let before = stream.clone().next_u64();
        assert_eq!(Sampling::GREEDY.choose(&scores(), &mut stream), 1);
        assert_eq!(Sampling::GREEDY.choose(&[0.0, 2.0, 2.0], &mut stream), 1);
        assert_eq!(stream.next_u64(), before, "nothing is drawn");
    }

    #[test]
    fn tokens_are_drawn_as_often_as_they_are_likely() {
        let plain = Sampling {
            temperature: 1.0,
            ..Sampling::GREEDY
        };
        let near = |counts: [u32; 4], expected: [f64; 4]| {
            for (count, expected) in counts.into_iter().zip(expected) {
                let share = f64::from(count) / 10_000.0;
                assert!((share - expected).abs() < 0.02, "{counts:?}");
                assert_eq!(share == 0.0, expected == 0.0, "{counts:?}");
            }
        };
        near(counts(plain), [0.1, 0.4, 0.3, 0.2]);
        // Squares: 0.01, 0.16, 0.09, 0.04 of 0.30.
        let cold = Sampling {
            temperature: 0.5,
            ..plain
        };
        near(counts(cold), [1.0 / 30.0, 16.0 / 30.0, 0.3, 4.0 / 30.0]);
        let two = Sampling {
            top_k: Some(2),
            ..plain
        };
        near(counts(two), [0.0, 4.0 / 7.0, 3.0 / 7.0, 0.0]);
        let most = Sampling {
            top_p: Some(0.65),
            ..plain
        };
        near(counts(most), [0.0, 4.0 / 7.0, 3.0 / 7.0, 0.0]);
        let one = Sampling {
            top_p: Some(1e-9),
            ..plain
        };
        assert_eq!(counts(one), [0, 10_000, 0, 0]);
        let everything = Sampling {
            top_k: Some(99),
            top_p: Some(1.0),
            ..plain
        };
        assert_eq!(counts(everything), counts(plain));
    }
}
