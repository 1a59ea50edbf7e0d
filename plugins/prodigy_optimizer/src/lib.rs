//! Prodigy (arXiv 2306.06101): Adam whose steps have the size d, an estimate of the distance to the solution that grows
//! out of the run itself. The learning rate is a factor on it, and 1 by design,
//!
//! ```text
//! m <- b1 m + (1 - b1) d g, v <- b2 v + (1 - b2) d^2 g^2, w <- w - lr d (m / (sqrt(v) + eps d) + decay w),
//! r <- b3 r + lr d^2 <g, w0 - w>, s <- b3 s + lr d^2 g, d <- max(d, coef r / |s|_1)
//! ```
//!
//! with b3 = sqrt(b2) and both sums over all parameters. As the authors' package `prodigyopt`, a step still moves by the
//! d from before it.

use lorahost_plugin_api::prelude::*;

/// Adam that finds its own learning rate; that of the run is a factor on it, best near 1.
#[derive(Params)]
struct Prodigy {
    /// Decay of the mean of gradients.
    #[param(default = 0.9, min = 0.0, max = 0.999999)]
    beta1: f64,
    /// Decay of the mean of squared gradients.
    #[param(default = 0.999, min = 0.0, max = 0.999999)]
    beta2: f64,
    /// Added to the square root of the second moment, times d.
    #[param(default = 1e-8, min = 0.0)]
    eps: f64,
    /// Share of a parameter, times the learning rate and d, that a step takes away.
    #[param(default = 0.0, min = 0.0)]
    weight_decay: f64,
    /// d at the start, smaller than any sensible step.
    #[param(default = 1e-6, min = 1e-30)]
    d0: f64,
    /// Factor on the estimate of d: the way to ask for larger or smaller steps.
    #[param(default = 1.0, min = 0.0)]
    d_coef: f64,
    /// Corrects the bias of the moments, as Adam does.
    #[param(default = false)]
    bias_correction: bool,
    /// Leaves the learning rate out of s, for a run whose learning rate rises at its start.
    #[param(default = false)]
    safeguard_warmup: bool,
    #[param(skip)]
    distance: Distance,
    #[param(skip)]
    moments: Vec<Moments>,
}

/// The estimate of all parameters.
#[derive(Default)]
struct Distance {
    steps: f64,
    /// The largest estimate so far.
    d: f64,
    /// r over d0.
    numerator: f64,
}

/// State of one parameter.
struct Moments {
    name: String,
    start: Tensor,
    mean: Tensor,
    square: Tensor,
    /// s over d0.
    sum: Tensor,
}

impl Optimizer for Prodigy {
    fn prepare(&mut self, group: &Group<'_>) -> Result<()> {
        if let Some(other) = group.parameters.iter().find(|one| one.info.lr != 1.0) {
            let (name, factor) = (&other.info.name, other.info.lr);
            return Err(Error::new(format!(
                "prodigy finds one learning rate for all parameters, and that of {name} has the factor {factor}"
            ))
            .with_help("leave the factors on the learning rates of A and B at 1"));
        }
        self.distance = Distance {
            d: self.d0,
            ..Distance::default()
        };
        let moments = group.parameters.iter().map(|parameter| {
            Ok(Moments {
                name: parameter.info.name.clone(),
                start: parameter.value.copy()?,
                mean: parameter.value.zeros_like()?,
                square: parameter.value.zeros_like()?,
                sum: parameter.value.zeros_like()?,
            })
        });
        self.moments = moments.collect::<Result<_>>()?;
        Ok(())
    }

    fn step(&mut self, group: &Group<'_>, _step: u64, lr: f64) -> Result<()> {
        let d = self.distance.d;
        let rate = d * lr * self.correction();
        let weight = d / self.d0 * if self.safeguard_warmup { d } else { rate };
        let beta3 = self.beta2.sqrt();
        let (mut slope, mut length) = (0.0, 0.0);
        for alike in group.alike() {
            let (values, grads) = alike.of(group);
            let means = alike.pick(&self.moments, |moments| &moments.mean);
            let squares = alike.pick(&self.moments, |moments| &moments.square);
            let sums = alike.pick(&self.moments, |moments| &moments.sum);
            let starts = alike.pick(&self.moments, |moments| &moments.start);
            foreach::mul_scalar_(&means, self.beta1)?;
            foreach::add_scaled_(&means, &grads, d * (1.0 - self.beta1))?;
            foreach::mul_scalar_(&squares, self.beta2)?;
            foreach::addcmul_(&squares, &grads, &grads, d * d * (1.0 - self.beta2))?;
            foreach::mul_scalar_(&sums, beta3)?;
            foreach::add_scaled_(&sums, &grads, weight)?;
            for (place, sum) in sums.iter().enumerate() {
                let way = starts[place].sub_tensor(values[place])?;
                slope += way.mul_tensor(grads[place])?.sum()?.item()?;
                length += sum.abs()?.sum()?.item()?;
            }
        }
        if length == 0.0 {
            // No gradient yet: nowhere to go.
            return Ok(());
        }
        let slope = d / self.d0 * rate * slope;
        self.distance.advance(beta3, slope, self.d_coef / length);

        let eps = self.distance.d * self.eps;
        for alike in group.alike() {
            let (values, _) = alike.of(group);
            let means = alike.pick(&self.moments, |moments| &moments.mean);
            let squares = alike.pick(&self.moments, |moments| &moments.square);
            let roots = foreach::sqrt(&squares)?;
            let roots: Vec<_> = roots.iter().collect();
            foreach::add_scalar_(&roots, eps)?;
            if alike.decay && self.weight_decay > 0.0 {
                foreach::mul_scalar_(&values, 1.0 - rate * self.weight_decay)?;
            }
            foreach::addcdiv_(&values, &means, &roots, -rate)?;
        }
        Ok(())
    }

    fn state(&self) -> Result<State> {
        let mut state = State::default();
        let Distance {
            steps,
            d,
            numerator,
        } = self.distance;
        state.push_number("steps", steps)?;
        state.push_number("d", d)?;
        state.push_number("numerator", numerator)?;
        for moments in &self.moments {
            for (part, tensor) in [
                ("start", &moments.start),
                ("mean", &moments.mean),
                ("square", &moments.square),
                ("sum", &moments.sum),
            ] {
                state.push(format!("{}.{part}", moments.name), tensor)?;
            }
        }
        Ok(state)
    }

    fn load(&mut self, mut state: State) -> Result<()> {
        self.distance = Distance {
            steps: state.take_number("steps")?,
            d: state.take_number("d")?,
            numerator: state.take_number("numerator")?,
        };
        for moments in &mut self.moments {
            for (part, tensor) in [
                ("start", &mut moments.start),
                ("mean", &mut moments.mean),
                ("square", &mut moments.square),
                ("sum", &mut moments.sum),
            ] {
                *tensor = state.take(&format!("{}.{part}", moments.name))?;
            }
        }
        Ok(())
    }
}

impl Prodigy {
    fn correction(&self) -> f64 {
        if !self.bias_correction {
            return 1.0;
        }
        let step = self.distance.steps + 1.0;
        (1.0 - self.beta2.powf(step)).sqrt() / (1.0 - self.beta1.powf(step))
    }
}

impl Distance {
    /// Counts a step with this slope; `weight` takes the numerator to the estimate.
    fn advance(&mut self, beta3: f64, slope: f64, weight: f64) {
        self.numerator = beta3 * self.numerator + slope;
        self.d = self.d.max(self.numerator * weight);
        self.steps += 1.0;
    }
}

export_plugin! { optimizer "prodigy" => Prodigy }

#[cfg(test)]
mod tests;
