//! Operators that work value by value.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use crate::sdk::{Error, Kind, Result};
use crate::testing::array::{Array, broadcast, floating, promote};
use crate::testing::schema::{Args, Entry};

pub(super) const OPERATORS: &[Entry] = &[
    // Of one tensor.
    Entry::one("neg(self)", |args| same(args, |x| -x)).or_in_place(),
    Entry::one("abs(self)", |args| same(args, f64::abs)).or_in_place(),
    Entry::one("sign(self)", |args| same(args, sign)).or_in_place(),
    Entry::one("square(self)", |args| same(args, |x| x * x)).or_in_place(),
    Entry::one("relu(self)", |args| {
        same(args, |x| if x > 0.0 { x } else { 0.0 })
    })
    .or_in_place(),
    Entry::one("floor(self)", |args| same(args, f64::floor)).or_in_place(),
    Entry::one("ceil(self)", |args| same(args, f64::ceil)).or_in_place(),
    Entry::one("round(self)", |args| same(args, f64::round_ties_even)).or_in_place(),
    Entry::one("sqrt(self)", |args| real(args, f64::sqrt)).or_in_place(),
    Entry::one("rsqrt(self)", |args| real(args, |x| x.sqrt().recip())).or_in_place(),
    Entry::one("reciprocal(self)", |args| real(args, f64::recip)).or_in_place(),
    Entry::one("exp(self)", |args| real(args, f64::exp)).or_in_place(),
    Entry::one("log(self)", |args| real(args, f64::ln)).or_in_place(),
    Entry::one("log1p(self)", |args| real(args, f64::ln_1p)).or_in_place(),
    Entry::one("sin(self)", |args| real(args, f64::sin)).or_in_place(),
    Entry::one("cos(self)", |args| real(args, f64::cos)).or_in_place(),
    Entry::one("tanh(self)", |args| real(args, f64::tanh)).or_in_place(),
    Entry::one("sigmoid(self)", |args| real(args, sigmoid)).or_in_place(),
    Entry::one("log_sigmoid(self)", |args| real(args, log_sigmoid)),
    Entry::one("silu(self)", |args| real(args, |x| x * sigmoid(x))).or_in_place(),
    Entry::one("erf(self)", |args| real(args, erf)).or_in_place(),
    Entry::one("gelu(self, approximate=none)", gelu),
    Entry::one("clamp(self, min=None, max=None)", clamp).or_in_place(),
    Entry::one("isfinite(self)", |args| flag(args, f64::is_finite)),
    Entry::one("isnan(self)", |args| flag(args, f64::is_nan)),
    Entry::one("logical_not(self)", |args| flag(args, |x| x == 0.0)).or_in_place(),
    // Arithmetic of two.
    Entry::one("add.Tensor(self, other, alpha=1)", add).or_in_place(),
    Entry::one("add.Scalar(self, other, alpha=1)", add).or_in_place(),
    Entry::one("sub.Tensor(self, other, alpha=1)", sub).or_in_place(),
    Entry::one("sub.Scalar(self, other, alpha=1)", sub).or_in_place(),
    Entry::one("rsub.Scalar(self, other, alpha=1)", rsub),
    Entry::one("mul.Tensor(self, other)", |args| pair(args, |a, b| a * b)).or_in_place(),
    Entry::one("mul.Scalar(self, other)", |args| pair(args, |a, b| a * b)).or_in_place(),
    Entry::one("div.Tensor(self, other)", divide).or_in_place(),
    Entry::one("div.Scalar(self, other)", divide).or_in_place(),
    Entry::one("pow.Tensor_Scalar(self, exponent)", power).or_in_place(),
    Entry::one("pow.Tensor_Tensor(self, exponent)", power).or_in_place(),
    Entry::one("maximum(self, other)", |args| pair(args, largest)),
    Entry::one("minimum(self, other)", |args| {
        pair(args, |a, b| -largest(-a, -b))
    }),
    // Comparisons.
    Entry::one("eq.Tensor(self, other)", |args| {
        compare(args, |a, b| a == b)
    }),
    Entry::one("eq.Scalar(self, other)", |args| {
        compare(args, |a, b| a == b)
    }),
    Entry::one("ne.Tensor(self, other)", |args| {
        compare(args, |a, b| a != b)
    }),
    Entry::one("ne.Scalar(self, other)", |args| {
        compare(args, |a, b| a != b)
    }),
    Entry::one("lt.Tensor(self, other)", |args| compare(args, |a, b| a < b)),
    Entry::one("lt.Scalar(self, other)", |args| compare(args, |a, b| a < b)),
    Entry::one("le.Tensor(self, other)", |args| {
        compare(args, |a, b| a <= b)
    }),
    Entry::one("le.Scalar(self, other)", |args| {
        compare(args, |a, b| a <= b)
    }),
    Entry::one("gt.Tensor(self, other)", |args| compare(args, |a, b| a > b)),
    Entry::one("gt.Scalar(self, other)", |args| compare(args, |a, b| a > b)),
    Entry::one("ge.Tensor(self, other)", |args| {
        compare(args, |a, b| a >= b)
    }),
    Entry::one("ge.Scalar(self, other)", |args| {
        compare(args, |a, b| a >= b)
    }),
    Entry::one("logical_and(self, other)", |args| {
        compare(args, |a, b| a != 0.0 && b != 0.0)
    })
    .or_in_place(),
    Entry::one("logical_or(self, other)", |args| {
        compare(args, |a, b| a != 0.0 || b != 0.0)
    })
    .or_in_place(),
    Entry::one("logical_xor(self, other)", |args| {
        compare(args, |a, b| (a != 0.0) != (b != 0.0))
    })
    .or_in_place(),
    // Of three, and what overwrites.
    Entry::one("where.self(condition, self, other)", choose),
    Entry::one("masked_fill.Scalar(self, mask, value)", masked_fill).or_in_place(),
    Entry::one("masked_fill.Tensor(self, mask, value)", masked_fill).or_in_place(),
    Entry::one("lerp.Scalar(self, end, weight)", lerp).or_in_place(),
    Entry::one("lerp.Tensor(self, end, weight)", lerp).or_in_place(),
    Entry::one("addcmul(self, tensor1, tensor2, value=1)", |args| {
        fused(args, |a, b| a * b)
    })
    .or_in_place(),
    Entry::one("addcdiv(self, tensor1, tensor2, value=1)", |args| {
        fused(args, |a, b| a / b)
    })
    .or_in_place(),
    Entry::one("copy(self, src, non_blocking=False)", |args| {
        let target = args.tensor("self")?;
        args.tensor("src")?.expand(&target.shape)?.to(target.kind)
    })
    .or_in_place(),
    Entry::one("zero(self)", |args| same(args, |_| 0.0)).or_in_place(),
    Entry::one("fill.Scalar(self, value)", |args| {
        let value = args.float("value")?;
        args.tensor("self")?
            .map(args.tensor("self")?.kind, |_| value)
    })
    .or_in_place(),
];

fn same(args: &Args<'_>, function: fn(f64) -> f64) -> Result<Array> {
    let x = args.tensor("self")?;
    x.map(x.kind, function)
}

fn real(args: &Args<'_>, function: fn(f64) -> f64) -> Result<Array> {
    let x = args.tensor("self")?;
    x.map(floating(x.kind), function)
}

fn flag(args: &Args<'_>, function: fn(f64) -> bool) -> Result<Array> {
    let x = args.tensor("self")?;
    x.map(Kind::Bool, |x| f64::from(u8::from(function(x))))
}

/// `function` over two tensors that expand to one shape.
fn zip(a: &Array, b: &Array, kind: Kind, function: impl Fn(f64, f64) -> f64) -> Result<Array> {
    let shape = broadcast(&[a, b])?;
    let (a, b) = (a.expand(&shape)?.values(), b.expand(&shape)?.values());
    let values = a.into_iter().zip(b).map(|(a, b)| function(a, b));
    Array::new(values.collect(), &shape, kind)
}

fn pair(args: &Args<'_>, function: impl Fn(f64, f64) -> f64) -> Result<Array> {
    let (a, b) = (args.operand("self")?, args.operand("other")?);
    zip(&a, &b, promote(&a, &b), function)
}

fn compare(args: &Args<'_>, function: fn(f64, f64) -> bool) -> Result<Array> {
    let (a, b) = (args.operand("self")?, args.operand("other")?);
    zip(&a, &b, Kind::Bool, |a, b| {
        f64::from(u8::from(function(a, b)))
    })
}

fn add(args: &Args<'_>) -> Result<Array> {
    let alpha = args.float("alpha")?;
    pair(args, |a, b| a + alpha * b)
}

fn sub(args: &Args<'_>) -> Result<Array> {
    let alpha = args.float("alpha")?;
    pair(args, |a, b| a - alpha * b)
}

fn rsub(args: &Args<'_>) -> Result<Array> {
    let alpha = args.float("alpha")?;
    pair(args, |a, b| b - alpha * a)
}

fn divide(args: &Args<'_>) -> Result<Array> {
    let (a, b) = (args.operand("self")?, args.operand("other")?);
    zip(&a, &b, floating(promote(&a, &b)), |a, b| a / b)
}

fn power(args: &Args<'_>) -> Result<Array> {
    let (a, b) = (args.tensor("self")?, args.operand("exponent")?);
    zip(&a, &b, promote(&a, &b), f64::powf)
}

fn clamp(args: &Args<'_>) -> Result<Array> {
    let x = args.tensor("self")?;
    let min = args.optional_float("min")?.unwrap_or(f64::NEG_INFINITY);
    let max = args.optional_float("max")?.unwrap_or(f64::INFINITY);
    // Not f64::clamp, which panics where min > max: there PyTorch answers max.
    x.map(x.kind, |x| {
        if x < min { min } else { x }.min(if x.is_nan() { x } else { max })
    })
}

fn gelu(args: &Args<'_>) -> Result<Array> {
    match args.str("approximate")? {
        "none" => real(args, |x| 0.5 * x * (1.0 + erf(x * FRAC_1_SQRT_2))),
        "tanh" => real(args, |x| {
            0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
        }),
        other => Err(Error::new(format!(
            "approximate must be none or tanh, not {other}"
        ))),
    }
}

fn choose(args: &Args<'_>) -> Result<Array> {
    let [a, b] = [args.operand("self")?, args.operand("other")?];
    select(&args.tensor("condition")?, &a, &b, promote(&a, &b))
}

fn masked_fill(args: &Args<'_>) -> Result<Array> {
    let x = args.tensor("self")?;
    select(&args.tensor("mask")?, &args.operand("value")?, &x, x.kind)
}

/// `a` where `condition` holds, `b` elsewhere.
fn select(condition: &Array, a: &Array, b: &Array, kind: Kind) -> Result<Array> {
    if condition.kind != Kind::Bool {
        return Err(Error::new(format!(
            "a condition of type {:?}",
            condition.kind
        )));
    }
    zip3(
        condition,
        a,
        b,
        kind,
        |holds, a, b| if holds == 0.0 { b } else { a },
    )
}

fn lerp(args: &Args<'_>) -> Result<Array> {
    let (start, end) = (args.tensor("self")?, args.tensor("end")?);
    let weight = args.operand("weight")?;
    zip3(&start, &end, &weight, start.kind, |start, end, weight| {
        start + weight * (end - start)
    })
}

fn fused(args: &Args<'_>, function: fn(f64, f64) -> f64) -> Result<Array> {
    let value = args.float("value")?;
    let x = args.tensor("self")?;
    let (a, b) = (args.tensor("tensor1")?, args.tensor("tensor2")?);
    zip3(&x, &a, &b, x.kind, |x, a, b| x + value * function(a, b))
}

fn zip3(
    a: &Array,
    b: &Array,
    c: &Array,
    kind: Kind,
    function: impl Fn(f64, f64, f64) -> f64,
) -> Result<Array> {
    let shape = broadcast(&[a, b, c])?;
    let values = |array: &Array| array.expand(&shape).map(|array| array.values());
    let (a, b, c) = (values(a)?, values(b)?, values(c)?);
    let values = a
        .into_iter()
        .zip(b)
        .zip(c)
        .map(|((a, b), c)| function(a, b, c));
    Array::new(values.collect(), &shape, kind)
}

/// 0 at 0, unlike `f64::signum`.
fn sign(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x.signum() }
}

/// NaN wherever one is NaN, unlike `f64::max`.
fn largest(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn log_sigmoid(x: f64) -> f64 {
    x.min(0.0) - (-x.abs()).exp().ln_1p()
}

/// The error function: its series near 0, the continued fraction of its complement beyond; to about 1e-15.
fn erf(x: f64) -> f64 {
    let square = x * x;
    if x.abs() < 2.5 {
        let (mut term, mut sum) = (x, x);
        for n in 1..80 {
            let n = f64::from(n);
            term *= -square / n;
            sum += term / (2.0 * n + 1.0);
        }
        2.0 / PI.sqrt() * sum
    } else {
        let fraction = (1..80)
            .rev()
            .fold(x.abs(), |below, n| x.abs() + f64::from(n) / 2.0 / below);
        x.signum() * (1.0 - (-square).exp() / (PI.sqrt() * fraction))
    }
}

#[cfg(test)]
mod tests {
    use super::erf;

    #[test]
    fn error_function() {
        // Values of Abramowitz and Stegun, table 7.1, and of erfc at 3.
        for (x, expected) in [
            (0.0, 0.0),
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
            (2.0, 0.995_322_265_018_952_7),
            (3.0, 0.999_977_909_503_001_4),
            (-1.0, -0.842_700_792_949_714_9),
        ] {
            assert!((erf(x) - expected).abs() < 1e-14, "{x}: {}", erf(x));
        }
    }
}
