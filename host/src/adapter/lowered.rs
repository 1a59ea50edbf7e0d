//! Linear layers whose products are made in bfloat16, while everything that learns stays float32: what autocast does,
//! with the frozen weights lowered once and not at each step.

use tch::{Kind, TchError, Tensor};

/// Of what products are made.
pub const KIND: Kind = Kind::BFloat16;

/// W and b in bfloat16, where they are frozen.
#[derive(Debug)]
pub struct Lowered {
    weight: Option<Tensor>,
    bias: Option<Tensor>,
}

/// The layer as it is, in float32.
#[derive(Debug, Clone, Copy)]
pub struct Full<'a> {
    /// `[fan_out, fan_in]`.
    pub weight: &'a Tensor,
    /// `[fan_out]`.
    pub bias: Option<&'a Tensor>,
}

impl Lowered {
    /// Takes copies of what does not learn.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn new(full: Full<'_>) -> Result<Self, TchError> {
        let frozen = |tensor: &Tensor| -> Result<Option<Tensor>, TchError> {
            (!tensor.requires_grad())
                .then(|| tensor.f_to_kind(KIND))
                .transpose()
        };
        Ok(Self {
            weight: frozen(full.weight)?,
            bias: full.bias.map(frozen).transpose()?.flatten(),
        })
    }

    /// y = W x + b + B (s A x'), bfloat16 `[rows, fan_out]`; `lora` is A, B, s and x', the input of the LoRA path.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn forward(
        &self,
        full: Full<'_>,
        x: &Tensor,
        lora: Option<(&Tensor, &Tensor, f64, &Tensor)>,
    ) -> Result<Tensor, TchError> {
        let low = |lowered: Option<&Tensor>, tensor: &Tensor| match lowered {
            Some(lowered) => Ok(lowered.shallow_clone()),
            None => tensor.f_to_kind(KIND),
        };
        let weight = low(self.weight.as_ref(), full.weight)?;
        let bias = full
            .bias
            .map(|bias| low(self.bias.as_ref(), bias))
            .transpose()?;
        let y = x.f_to_kind(KIND)?.f_linear(&weight, bias.as_ref())?;
        let Some((a, b, scale, input)) = lora else {
            return Ok(y);
        };
        let narrow = input
            .f_to_kind(KIND)?
            .f_matmul(&a.f_to_kind(KIND)?.f_transpose(0, 1)?)?;
        let narrow = narrow.f_mul_scalar(scale)?;
        y.f_addmm(&narrow, &b.f_to_kind(KIND)?.f_transpose(0, 1)?)
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    fn numbers(step: f64, shape: [i64; 2]) -> Tensor {
        let count = Tensor::arange(shape[0] * shape[1], (Kind::Double, Device::Cpu));
        (count * step).sin().to_kind(Kind::Float).reshape(shape)
    }

    #[test]
    fn it_agrees_with_float32_as_far_as_bfloat16_goes_and_gradients_are_float32()
    -> Result<(), TchError> {
        let (weight, x) = (numbers(0.7, [24, 16]), numbers(1.1, [10, 16]));
        let bias = numbers(0.3, [1, 24]).reshape([24]).set_requires_grad(true);
        let a = numbers(1.7, [4, 16]).set_requires_grad(true);
        let b = numbers(2.3, [24, 4]).set_requires_grad(true);
        let full = Full {
            weight: &weight,
            bias: Some(&bias),
        };
        let lowered = Lowered::new(full)?;
        assert!(lowered.weight.is_some() && lowered.bias.is_none());
        let y = lowered.forward(full, &x, Some((&a, &b, 0.5, &x)))?;
        assert_eq!((y.kind(), y.size()), (KIND, vec![10, 24]));
        let expected = x.linear(&weight, Some(&bias)) + x.matmul(&a.tr()).matmul(&b.tr()) * 0.5;
        let loss = |y: &Tensor| (y * numbers(0.9, [10, 24])).sum(Kind::Float);
        let inputs = [&a, &b, &bias];
        let found = Tensor::run_backward(&[loss(&y)], &inputs, true, false);
        let exact = Tensor::run_backward(&[loss(&expected)], &inputs, true, false);
        let close = |found: &Tensor, exact: &Tensor| {
            let off = (found.to_kind(Kind::Float) - exact).abs().max();
            // 8 bits of mantissa, and sums of a few dozen such numbers.
            assert!(off.double_value(&[]) <= 0.02 * exact.abs().max().double_value(&[]));
        };
        close(&y, &expected);
        for (found, exact) in found.iter().zip(&exact) {
            assert_eq!(found.kind(), Kind::Float);
            close(found, exact);
        }
        Ok(())
    }
}
