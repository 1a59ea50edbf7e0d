//! A and B not zero, and their product zero: both lie across orthogonal halves of the rank (PEFT's `orthogonal`).

use lorahost_plugin_api::prelude::*;

/// `A = (R1 Q_odd)'/10`, `B = (R2' Q_even)/10` with a random orthogonal Q: `B A = 0`.
#[derive(Params)]
struct Orthogonal {
    /// What both factors are divided by.
    #[param(default = 10.0, min = 1e-6)]
    divisor: f64,
}

impl InitScheme for Orthogonal {
    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        let rank = layer.rank;
        if !rank.is_multiple_of(2) {
            return Err(Error::new(format!(
                "rank {rank} is odd, and each half of it is one factor's"
            ))
            .with_help("take an even rank"));
        }
        let half = rank / 2;
        let (q, _) = ctx.randn("Q", [rank, rank])?.qr()?;
        let pairs = q.reshape(&[half as i64, 2, rank as i64])?;
        let (odd, even) = (pairs.select(1, 0)?, pairs.select(1, 1)?);
        let a = ctx.randn("R1", [layer.fan_in, half])?.matmul(&odd)?.t()?;
        let b = ctx.randn("R2", [half, layer.fan_out])?.t()?.matmul(&even)?;
        Ok(Factors::new(a / self.divisor, b / self.divisor))
    }
}

export_plugin! { init "orthogonal" => Orthogonal }

#[cfg(test)]
mod tests;
