//! A and B Gaussian: the original study's fourth regime; zero and non-zero starts of B are compared in
//! arXiv 2505.23194.

use lorahost_plugin_api::prelude::*;

/// `A ~ N(0, std_a^2)`, `B ~ N(0, std_b^2)`, each in the chosen unit.
#[derive(Params)]
struct Gaussian {
    /// Standard deviation of A, in `unit`s.
    #[param(default = 1.0, min = 0.0)]
    std_a: f64,
    /// Standard deviation of B, in `unit`s; 0 leaves the model unchanged at the start.
    #[param(default = 0.0, min = 0.0)]
    std_b: f64,
    /// What the standard deviations are divided by: nothing, the root of the factor's own `fan_in`, or the rank.
    #[param(default = "fan_in")]
    unit: Unit,
    /// Whether the base weight becomes W - s B A, so that a non-zero B leaves the model unchanged at the start.
    #[param(default = false)]
    compensate: bool,
}

#[derive(Choice)]
enum Unit {
    Absolute,
    FanIn,
    Rank,
}

impl InitScheme for Gaussian {
    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        let rank = layer.rank as f64;
        // A sees fan_in inputs, B sees rank of them.
        let (unit_a, unit_b) = match self.unit {
            Unit::Absolute => (1.0, 1.0),
            Unit::FanIn => ((layer.fan_in as f64).sqrt(), rank.sqrt()),
            Unit::Rank => (rank, rank),
        };
        let a = ctx.randn("A", [layer.rank, layer.fan_in])? * (self.std_a / unit_a);
        let b = ctx.randn("B", [layer.fan_out, layer.rank])? * (self.std_b / unit_b);
        Ok(Factors::new(a, b).compensate(self.compensate && self.std_b > 0.0))
    }
}

export_plugin! { init "gaussian" => Gaussian }

#[cfg(test)]
mod tests;
