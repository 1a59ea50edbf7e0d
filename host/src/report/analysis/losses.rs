//! The losses of a cell as a table without gaps, seeds by learning rates.

/// Each seed at each learning rate.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Losses {
    /// Decimal logarithms of the learning rates, ascending.
    pub x: Vec<f64>,
    /// One row a seed, one value a learning rate.
    pub rows: Vec<Vec<f64>>,
}

/// What is left of a loss's variance when seed and learning rate are accounted for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Noise {
    /// Of one run.
    pub variance: f64,
    /// Degrees of freedom, at least 1.
    pub degrees: usize,
}

impl Losses {
    pub fn seeds(&self) -> usize {
        self.rows.len()
    }

    /// By learning rate, over seeds.
    pub fn means(&self) -> Vec<f64> {
        let mean = |place: usize| {
            let sum: f64 = self.rows.iter().map(|row| row[place]).sum();
            sum / self.rows.len() as f64
        };
        (0..self.x.len()).map(mean).collect()
    }

    /// The learning rates of these places alone.
    pub fn part(&self, places: std::ops::Range<usize>) -> Self {
        Self {
            x: self.x[places.clone()].to_vec(),
            rows: self
                .rows
                .iter()
                .map(|row| row[places.clone()].to_vec())
                .collect(),
        }
    }

    /// The residuals of all learning rates and seeds together, after the mean of each learning rate and that of each
    /// seed: a seed that is better everywhere is no noise. None with one seed or one learning rate.
    pub fn noise(&self) -> Option<Noise> {
        let degrees = self.rows.len().saturating_sub(1) * self.x.len().saturating_sub(1);
        if degrees == 0 {
            return None;
        }
        let means = self.means();
        let overall = means.iter().sum::<f64>() / means.len() as f64;
        let squares = self.rows.iter().flat_map(|row| {
            let seed = row.iter().sum::<f64>() / row.len() as f64 - overall;
            let residuals = row.iter().zip(&means);
            residuals.map(move |(loss, mean)| (loss - mean - seed).powi(2))
        });
        Some(Noise {
            variance: squares.sum::<f64>() / degrees as f64,
            degrees,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_that_is_better_everywhere_is_no_noise() {
        let table = Losses {
            x: vec![-3.0, -2.0, -1.0],
            rows: vec![vec![1.0, 0.5, 2.0], vec![1.25, 0.75, 2.25]],
        };
        assert_eq!(table.means(), [1.125, 0.625, 2.125]);
        assert_eq!(
            table.noise(),
            Some(Noise {
                variance: 0.0,
                degrees: 2
            })
        );
        assert_eq!(table.part(0..1).noise(), None);
    }

    #[test]
    fn residuals_are_pooled() {
        // Residuals +-1 of an interaction: 4 squares over 1 degree of freedom.
        let table = Losses {
            x: vec![0.0, 1.0],
            rows: vec![vec![3.0, 4.0], vec![1.0, 6.0]],
        };
        let noise = table.noise().unwrap();
        assert_eq!((noise.variance, noise.degrees), (4.0, 1));
    }
}
