//! LoRA-Pro (arXiv 2407.18242): of all steps of A and B the one whose effect on W, `s (B g_A + g_B A)`, comes closest to the
//! gradient of W itself,
//!
//! ```text
//! g_A <- (B'B)^-1 g_A / s^2 + X A, g_B <- (I - B (B'B)^-1 B') g_B (A A')^-1 / s^2 - B X
//! ```
//!
//! where X, which leaves that effect as it is, solves `B'B X + X A A' = -(B'B)^-1 g_A A' / s^2` and so keeps the step
//! nearest to the raw gradients. Then AdamW on both (the paper's efficient form, whose moments are those of A and B). A
//! factor without its partner in the group, and whatever is no factor, takes AdamW on its own gradient.

use lorahost_plugin_api::prelude::*;

/// AdamW on gradients that follow the gradient of the full weight.
#[derive(Params)]
struct LoraPro {
    /// Added to the diagonals of B'B and A A': at the start B = 0.
    #[param(default = 1e-8, min = 1e-12)]
    damping: f64,
    #[param(flatten)]
    adamw: AdamW,
}

impl Optimizer for LoraPro {
    fn prepare(&mut self, group: &Group<'_>) -> Result<()> {
        self.adamw.prepare(group)
    }

    fn step(&mut self, group: &Group<'_>, step: u64, lr: f64) -> Result<()> {
        let mut gradients: Vec<Option<Tensor>> = group.parameters.iter().map(|_| None).collect();
        for (place, a) in group.parameters.iter().enumerate() {
            let (Role::A, Some(partner)) = (a.info.role, group.partner(place)) else {
                continue;
            };
            let b = &group.parameters[partner];
            if let (Some(grad_a), Some(grad_b)) = (a.grad, b.grad) {
                // A run that diverged goes on to its end with its own gradients: such a matrix has no eigenvalues.
                if !(is_finite(a.value)? && is_finite(b.value)?) {
                    continue;
                }
                let unscale = a.info.inverse_square_scale()?;
                let pair = Pair::new(a.value, b.value, unscale, self.damping)?;
                let (of_a, of_b) = pair.gradients(grad_a, grad_b)?;
                gradients[place] = Some(of_a.to_kind(grad_a.kind()?)?);
                gradients[partner] = Some(of_b.to_kind(grad_b.kind()?)?);
            }
        }
        self.adamw.step(&group.with_gradients(&gradients), step, lr)
    }

    fn state(&self) -> Result<State> {
        self.adamw.state()
    }

    fn load(&mut self, state: State) -> Result<()> {
        self.adamw.load(state)
    }
}

fn is_finite(factor: &Tensor) -> Result<bool> {
    Ok(factor.norm()?.item()?.is_finite())
}

/// A pair of factors in float64: while B is small, its Gram matrix is beyond float32's reach.
struct Pair {
    a: Tensor,
    b: Tensor,
    /// 1/s^2.
    unscale: f64,
    of_a: Spectrum,
    of_b: Spectrum,
}

impl Pair {
    fn new(a: &Tensor, b: &Tensor, unscale: f64, damping: f64) -> Result<Self> {
        let (a, b) = (a.to_kind(Kind::Double)?, b.to_kind(Kind::Double)?);
        Ok(Self {
            of_a: Spectrum::of_gram(&a, damping)?,
            of_b: Spectrum::of_gram(&b.t()?, damping)?,
            a,
            b,
            unscale,
        })
    }

    /// The adjusted gradients of A and B.
    fn gradients(&self, grad_a: &Tensor, grad_b: &Tensor) -> Result<(Tensor, Tensor)> {
        let (grad_a, grad_b) = (grad_a.to_kind(Kind::Double)?, grad_b.to_kind(Kind::Double)?);
        let inverse_b = self.of_b.inverse()?;
        let of_a = inverse_b.matmul(&grad_a)? * self.unscale;
        let inside = self
            .b
            .matmul(&inverse_b.matmul(&self.b.t()?.matmul(&grad_b)?)?)?;
        let of_b = (grad_b - inside).matmul(&self.of_a.inverse()?)? * self.unscale;
        let x = -&sylvester(&self.of_b, &self.of_a, &of_a.matmul(&self.a.t()?)?)?;
        Ok((of_a + x.matmul(&self.a)?, of_b - self.b.matmul(&x)?))
    }
}

/// A symmetric, positive matrix by its eigenvalues `[r]` and eigenvectors `[r, r]`, in columns.
struct Spectrum {
    values: Tensor,
    vectors: Tensor,
}

impl Spectrum {
    /// M M' + damping I.
    fn of_gram(factor: &Tensor, damping: f64) -> Result<Self> {
        let (values, vectors) = factor.matmul(&factor.t()?)?.eigh()?;
        // Rounding may leave eigenvalues below 0.
        let values = values.relu()? + damping;
        Ok(Self { values, vectors })
    }

    fn inverse(&self) -> Result<Tensor> {
        let scaled = self.vectors.div_tensor(&self.values)?;
        scaled.matmul(&self.vectors.t()?)
    }
}

/// X with `left` X + X `right` = `sum`: in the eigenvectors' bases each entry stands for itself.
fn sylvester(left: &Spectrum, right: &Spectrum, sum: &Tensor) -> Result<Tensor> {
    let turned = left.vectors.t()?.matmul(sum)?.matmul(&right.vectors)?;
    let divided = turned / (left.values.unsqueeze(1)? + &right.values);
    left.vectors.matmul(&divided)?.matmul(&right.vectors.t()?)
}

export_plugin! { optimizer "lora-pro" => LoraPro }

#[cfg(test)]
mod tests;
