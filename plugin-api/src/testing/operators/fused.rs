//! Operators that do in one what others do in several.

use super::linear_algebra::matmul;
use crate::sdk::{Error, Result};
use crate::testing::array::Array;
use crate::testing::schema::{Args, Entry};

pub(super) const OPERATORS: &[Entry] = &[
    Entry::one("addmm(self, mat1, mat2, beta=1, alpha=1)", |args| {
        let product = matmul(&args.tensor("mat1")?, &args.tensor("mat2")?)?;
        let (beta, alpha) = (args.float("beta")?, args.float("alpha")?);
        let old = args.tensor("self")?.expand(&product.shape)?.values();
        let both = old.into_iter().zip(product.values());
        let sum = both.map(|(old, new)| beta * old + alpha * new);
        Array::new(sum.collect(), &product.shape, product.kind)
    }),
    Entry::many(
        "_fused_adamw_(self, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, state_steps, lr, beta1, beta2, weight_decay, eps, amsgrad, maximize)",
        adamw,
    ),
];

/// Changes the lists in place, and has no result.
fn adamw(args: &Args<'_>) -> Result<Vec<Array>> {
    if args.bool("amsgrad")? || args.bool("maximize")? {
        return Err(Error::new(
            "the fake host has neither amsgrad nor maximize; test them in the real one",
        ));
    }
    let values = args.tensors("self")?;
    let lists = [
        args.tensors("grads")?,
        args.tensors("exp_avgs")?,
        args.tensors("exp_avg_sqs")?,
        args.tensors("state_steps")?,
    ];
    if let Some(other) = lists.iter().find(|list| list.len() != values.len()) {
        let (found, wanted) = (other.len(), values.len());
        return Err(Error::new(format!(
            "a list of {found} for {wanted} tensors"
        )));
    }
    let number = |name| args.float(name);
    let (lr, eps, decay) = (number("lr")?, number("eps")?, number("weight_decay")?);
    let (beta1, beta2) = (number("beta1")?, number("beta2")?);
    let [grads, means, squares, steps] = &lists;
    for (place, value) in values.iter().enumerate() {
        let gradient = grads[place].values();
        let step = steps[place].values().first().copied().unwrap_or_default();
        let average = |old: &Array, beta: f64, power: i32| {
            let both = old.values().into_iter().zip(&gradient);
            let new = both.map(|(old, g)| beta * old + (1.0 - beta) * g.powi(power));
            old.assign(&Array::new(new.collect(), &old.shape, old.kind)?)
        };
        average(&means[place], beta1, 1)?;
        average(&squares[place], beta2, 2)?;
        let (of_mean, of_square) = (1.0 - beta1.powf(step), 1.0 - beta2.powf(step));
        let moments = means[place]
            .values()
            .into_iter()
            .zip(squares[place].values());
        let moved = value.values().into_iter().zip(moments);
        let moved = moved.map(|(value, (mean, square))| {
            let direction = (mean / of_mean) / ((square / of_square).sqrt() + eps);
            value * (1.0 - lr * decay) - lr * direction
        });
        value.assign(&Array::new(moved.collect(), &value.shape, value.kind)?)?;
    }
    Ok(vec![])
}
