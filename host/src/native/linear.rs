//! Linear layers with LoRA as one node of autograd.

use std::ffi::c_char;
use std::ptr;

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

use super::{made, outcome};

/// y = W x + b + s B A x.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a> {
    /// `[fan_out, fan_in]`.
    pub weight: &'a Tensor,
    /// `[fan_out]`.
    pub bias: Option<&'a Tensor>,
    pub lora: Option<Lora<'a>>,
}

/// The second half.
#[derive(Debug, Clone, Copy)]
pub struct Lora<'a> {
    /// `[rank, fan_in]`.
    pub a: &'a Tensor,
    /// `[fan_out, rank]`.
    pub b: &'a Tensor,
    pub scale: f64,
}

#[repr(C)]
struct RawLayer {
    weight: *const C_tensor,
    bias: *const C_tensor,
    a: *const C_tensor,
    b: *const C_tensor,
    scale: f64,
}

unsafe extern "C" {
    fn lh_linear(
        x: *const C_tensor,
        layers: *const RawLayer,
        count: usize,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
}

/// What the layers make of `x`, `[rows, fan_in]`, side by side: `[rows, sum of fan_out]`.
///
/// The order of the products is the cheapest of three by counting multiply-adds: A and B beside W, W + s B A with
/// gradients through the narrow side, or with those through the gradient of W. They agree within rounding.
///
/// # Errors
/// What libtorch reports.
pub fn linear(x: &Tensor, layers: &[Layer<'_>]) -> Result<Tensor, TchError> {
    let pointer = |tensor: Option<&Tensor>| tensor.map_or(ptr::null(), Tensor::as_ptr);
    let raw: Vec<RawLayer> = layers
        .iter()
        .map(|layer| RawLayer {
            weight: layer.weight.as_ptr(),
            bias: pointer(layer.bias),
            a: pointer(layer.lora.map(|lora| lora.a)),
            b: pointer(layer.lora.map(|lora| lora.b)),
            scale: layer.lora.map_or(1.0, |lora| lora.scale),
        })
        .collect();
    let mut out = ptr::null_mut();
    // SAFETY: all tensors live for the length of the call, and `out` is written only where no message returns.
    outcome(unsafe { lh_linear(x.as_ptr(), raw.as_ptr(), raw.len(), &raw mut out) })
        .map_err(TchError::Torch)?;
    // SAFETY: the C++ side made this tensor with `new` and gave it up.
    Ok(unsafe { made(out) })
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    /// `[rows, columns]` in -1 to 1, another for each `seed`, the same every time.
    fn numbers(seed: i64, rows: i64, columns: i64) -> Tensor {
        let count = Tensor::arange(rows * columns, (Kind::Double, Device::Cpu));
        (count * (0.9 + 0.1 * seed as f64))
            .sin()
            .to_kind(Kind::Float)
            .reshape([rows, columns])
    }

    fn leaf(tensor: &Tensor) -> Tensor {
        tensor.detach().set_requires_grad(true)
    }

    fn plain(x: &Tensor, layers: &[Layer<'_>]) -> Tensor {
        let parts: Vec<Tensor> = layers
            .iter()
            .map(|layer| {
                let y = x.linear(layer.weight, layer.bias);
                match layer.lora {
                    Some(Lora { a, b, scale }) => y + x.matmul(&a.tr()).matmul(&b.tr()) * scale,
                    None => y,
                }
            })
            .collect();
        Tensor::cat(&parts, 1)
    }

    fn close(found: &Tensor, expected: &Tensor) {
        assert_eq!(found.size(), expected.size());
        let difference = (found - expected).abs().max().double_value(&[]);
        let size = expected.abs().max().double_value(&[]);
        assert!(difference <= 1e-5 * size.max(1.0), "{difference} of {size}");
    }

    /// Two layers with factors and one without, on `rows` rows, against libtorch's own gradients.
    fn agrees(
        rows: i64,
        fan_in: i64,
        rank: i64,
        train_weights: bool,
        kind: Kind,
    ) -> Result<(), TchError> {
        let x = leaf(&numbers(1, rows, fan_in).to_kind(kind));
        let weights: Vec<Tensor> = (0..3)
            .map(|i| {
                numbers(2 + i, 24 + 8 * i, fan_in)
                    .to_kind(kind)
                    .set_requires_grad(train_weights)
            })
            .collect();
        let bias = leaf(&numbers(9, 1, 24).to_kind(kind).squeeze());
        let factors: Vec<(Tensor, Tensor)> = (0..2)
            .map(|i| {
                let b = numbers(6 + i, 24 + 8 * i, rank + i);
                (
                    leaf(&numbers(4 + i, rank + i, fan_in).to_kind(kind)),
                    leaf(&b.to_kind(kind)),
                )
            })
            .collect();
        let layers: Vec<Layer<'_>> = weights
            .iter()
            .enumerate()
            .map(|(i, weight)| Layer {
                weight,
                bias: (i == 0).then_some(&bias),
                lora: factors.get(i).map(|(a, b)| Lora { a, b, scale: 0.7 }),
            })
            .collect();
        for layers in [&layers[..], &layers[..1]] {
            let mut inputs = vec![&x, &bias];
            inputs.extend(
                factors[..layers.len().min(2)]
                    .iter()
                    .flat_map(|(a, b)| [a, b]),
            );
            if train_weights {
                inputs.extend(&weights[..layers.len()]);
            }
            let found = linear(&x, layers)?;
            let expected = plain(&x, layers);
            close(&found, &expected);
            let direction = numbers(11, rows, expected.size()[1]).to_kind(kind);
            let gradients = |y: &Tensor| {
                Tensor::run_backward(&[(y * &direction).sum(kind)], &inputs, false, false)
            };
            for (found, expected) in gradients(&found).iter().zip(&gradients(&expected)) {
                close(found, expected);
            }
            close(&tch::no_grad(|| linear(&x, layers))?, &expected);
        }
        Ok(())
    }

    #[test]
    fn every_order_of_the_products_agrees_with_libtorch() -> Result<(), TchError> {
        // By counting: A and B beside W for few rows, W + s B A for many, the gradient of W for a high rank.
        for (rows, fan_in, rank) in [(4, 48, 2), (300, 48, 2), (300, 48, 24)] {
            for train_weights in [false, true] {
                for kind in [Kind::Float, Kind::Double] {
                    agrees(rows, fan_in, rank, train_weights, kind)?;
                }
            }
        }
        Ok(())
    }

    #[test]
    fn frozen_factors_and_inputs_get_no_gradient() -> Result<(), TchError> {
        let x = numbers(1, 40, 16);
        let weight = numbers(2, 16, 16);
        let (a, b) = (numbers(3, 4, 16), leaf(&numbers(4, 16, 4)));
        let lora = Some(Lora {
            a: &a,
            b: &b,
            scale: 2.0,
        });
        let y = linear(
            &x,
            &[Layer {
                weight: &weight,
                bias: None,
                lora,
            }],
        )?;
        y.sum(Kind::Float).backward();
        assert!(b.grad().defined() && !a.grad().defined() && !x.grad().defined());
        Ok(())
    }

    #[test]
    fn an_input_of_another_width_is_refused() {
        let (x, weight) = (numbers(1, 2, 5), numbers(2, 4, 6));
        let layer = Layer {
            weight: &weight,
            bias: None,
            lora: None,
        };
        let error = linear(&x, &[layer]).unwrap_err().to_string();
        assert!(
            error.contains("takes rows of 6 numbers, not of 5"),
            "{error}"
        );
    }
}
