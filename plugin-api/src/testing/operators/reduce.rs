//! Reductions over dimensions, and the losses made of them.

use crate::sdk::{Error, Kind, Result};
use crate::testing::array::{Array, floating};
use crate::testing::schema::{Args, Entry};

pub(super) const OPERATORS: &[Entry] = &[
    Entry::one("sum(self, dtype=None)", |args| {
        reduce(args, Over::All, |values, kind| Ok(total(values, kind)))
    }),
    Entry::one(
        "sum.dim_IntList(self, dim, keepdim=False, dtype=None)",
        |args| reduce(args, Over::Dims, |values, kind| Ok(total(values, kind))),
    ),
    Entry::one("mean(self, dtype=None)", |args| {
        reduce(args, Over::All, average)
    }),
    Entry::one("mean.dim(self, dim, keepdim=False, dtype=None)", |args| {
        reduce(args, Over::Dims, average)
    }),
    Entry::one("max(self)", |args| reduce(args, Over::All, largest)),
    Entry::one("min(self)", |args| reduce(args, Over::All, smallest)),
    Entry::one("amax(self, dim, keepdim=False)", |args| {
        reduce(args, Over::Dims, largest)
    }),
    Entry::one("amin(self, dim, keepdim=False)", |args| {
        reduce(args, Over::Dims, smallest)
    }),
    Entry::one("argmax(self, dim=None, keepdim=False)", |args| {
        reduce(args, Over::Dims, |values, _| {
            Ok((place(values, |a, b| a > b)?, Kind::Int64))
        })
    }),
    Entry::one("argmin(self, dim=None, keepdim=False)", |args| {
        reduce(args, Over::Dims, |values, _| {
            Ok((place(values, |a, b| a < b)?, Kind::Int64))
        })
    }),
    Entry::one("all(self)", |args| {
        reduce(args, Over::All, |values, _| {
            Ok((flag(!values.contains(&0.0)), Kind::Bool))
        })
    }),
    Entry::one("any(self)", |args| {
        reduce(args, Over::All, |values, _| {
            Ok((flag(values.iter().any(|&x| x != 0.0)), Kind::Bool))
        })
    }),
    Entry::one("logsumexp(self, dim, keepdim=False)", |args| {
        reduce(args, Over::Dims, |values, kind| {
            Ok((log_sum_exp(values), floating(kind)))
        })
    }),
    Entry::one(
        "linalg_vector_norm(self, ord=2, dim=None, keepdim=False, dtype=None)",
        norm,
    ),
    Entry::one("softmax.int(self, dim, dtype=None)", |args| {
        along(args, |value, norm| (value - norm).exp())
    }),
    Entry::one("log_softmax.int(self, dim, dtype=None)", |args| {
        along(args, |value, norm| value - norm)
    }),
    Entry::one(
        "cross_entropy_loss(self, target, weight=None, reduction=1, ignore_index=-100, label_smoothing=0)",
        cross_entropy,
    ),
    Entry::one("mse_loss(self, target, reduction=1)", |args| {
        by_value(args, |x, y| (x - y).powi(2))
    }),
    Entry::one(
        "binary_cross_entropy_with_logits(self, target, weight=None, pos_weight=None, reduction=1)",
        |args| {
            if !args.is_none("weight") || !args.is_none("pos_weight") {
                return Err(Error::new("the fake host has no weights of a loss"));
            }
            by_value(args, |x, y| x.max(0.0) - x * y + (-x.abs()).exp().ln_1p())
        },
    ),
];

#[derive(Clone, Copy)]
enum Over {
    All,
    /// What `dim` says; nothing and an empty list are everything.
    Dims,
}

/// Gives `function` the values that meet in one place and their kind; it answers with theirs.
fn reduce(
    args: &Args<'_>,
    over: Over,
    function: impl Fn(&[f64], Kind) -> Result<(f64, Kind)>,
) -> Result<Array> {
    let x = args.tensor("self")?;
    let dims = match over {
        Over::Dims if !args.is_none("dim") => args.ints("dim")?,
        _ => vec![],
    };
    let keep = matches!(over, Over::Dims) && args.bool("keepdim")?;
    let mut dims = dims
        .into_iter()
        .map(|dim| x.dim(dim))
        .collect::<Result<Vec<_>>>()?;
    if dims.is_empty() {
        dims = (0..x.shape.len()).collect();
    }
    let kept: Vec<usize> = (0..x.shape.len())
        .filter(|dim| !dims.contains(dim))
        .collect();
    // What is reduced goes last: then each result has its values in a row.
    let order: Vec<usize> = kept.iter().chain(&dims).copied().collect();
    let pick =
        |list: &[usize], order: &[usize]| order.iter().map(|&dim| list[dim]).collect::<Vec<_>>();
    let rows = x
        .view(0, pick(&x.shape, &order), pick(&x.strides, &order))
        .values();
    let width: usize = dims.iter().map(|&dim| x.shape[dim]).product();
    let count: usize = kept.iter().map(|&dim| x.shape[dim]).product();
    let results = (0..count).map(|row| function(&rows[row * width..][..width], x.kind));
    let (values, kinds): (Vec<_>, Vec<_>) =
        results.collect::<Result<Vec<_>>>()?.into_iter().unzip();
    let kind = kinds.first().copied().unwrap_or(x.kind);
    let shape: Vec<usize> = if keep {
        (0..x.shape.len())
            .map(|dim| if dims.contains(&dim) { 1 } else { x.shape[dim] })
            .collect()
    } else {
        pick(&x.shape, &kept)
    };
    Array::new(values, &shape, kind)
}

fn total(values: &[f64], kind: Kind) -> (f64, Kind) {
    let kind = if floating(kind) == kind {
        kind
    } else {
        Kind::Int64
    };
    (values.iter().sum(), kind)
}

fn average(values: &[f64], kind: Kind) -> Result<(f64, Kind)> {
    if floating(kind) != kind {
        return Err(Error::new(format!(
            "the mean of {kind:?} values; convert them first"
        )));
    }
    Ok((values.iter().sum::<f64>() / values.len() as f64, kind))
}

fn largest(values: &[f64], kind: Kind) -> Result<(f64, Kind)> {
    Ok((values[index(values, |a, b| a > b)?], kind))
}

fn smallest(values: &[f64], kind: Kind) -> Result<(f64, Kind)> {
    Ok((values[index(values, |a, b| a < b)?], kind))
}

/// Place of the first value that is better than all before it; NaN is better than everything.
fn index(values: &[f64], better: fn(f64, f64) -> bool) -> Result<usize> {
    (0..values.len())
        .reduce(|best, other| {
            let (a, b) = (values[best], values[other]);
            if !a.is_nan() && (b.is_nan() || better(b, a)) {
                other
            } else {
                best
            }
        })
        .ok_or_else(|| Error::new("the largest or smallest of no values"))
}

fn place(values: &[f64], better: fn(f64, f64) -> bool) -> Result<f64> {
    Ok(index(values, better)? as f64)
}

fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}

fn log_sum_exp(values: &[f64]) -> f64 {
    let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    largest
        + values
            .iter()
            .map(|value| (value - largest).exp())
            .sum::<f64>()
            .ln()
}

fn norm(args: &Args<'_>) -> Result<Array> {
    let order = args.float("ord")?;
    reduce(args, Over::Dims, |values, kind| {
        let sizes = values.iter().map(|value| value.abs());
        let norm = if order == f64::INFINITY {
            sizes.fold(0.0, f64::max)
        } else {
            sizes
                .map(|size| size.powf(order))
                .sum::<f64>()
                .powf(order.recip())
        };
        Ok((norm, floating(kind)))
    })
}

/// `function` of each value and the log-sum-exp of its row along `dim`.
fn along(args: &Args<'_>, function: fn(f64, f64) -> f64) -> Result<Array> {
    let x = args.tensor("self")?;
    let dim = x.dim(args.int("dim")?)?;
    let last = x.shape.len() - 1;
    let (mut shape, mut strides) = (x.shape.clone(), x.strides.clone());
    shape.swap(dim, last);
    strides.swap(dim, last);
    let rows = x.view(0, shape.clone(), strides).values();
    let results = rows.chunks(shape[last].max(1)).flat_map(|row| {
        let norm = log_sum_exp(row);
        row.iter().map(move |&value| function(value, norm))
    });
    let kind = args.kind("dtype", floating(x.kind))?;
    let swapped = Array::new(results.collect(), &shape, kind)?;
    let (mut shape, mut strides) = (swapped.shape.clone(), swapped.strides.clone());
    shape.swap(dim, last);
    strides.swap(dim, last);
    Ok(swapped.view(0, shape, strides))
}

fn cross_entropy(args: &Args<'_>) -> Result<Array> {
    if !args.is_none("weight") || args.float("label_smoothing")? != 0.0 {
        return Err(Error::new(
            "the fake host has no class weights and no label smoothing",
        ));
    }
    let (logits, target) = (args.tensor("self")?, args.tensor("target")?);
    let ([rows, classes], [targets]) = (&logits.shape[..], &target.shape[..]) else {
        return Err(Error::new(format!(
            "logits {:?} and target {:?}, not [rows, classes] and [rows]",
            logits.shape, target.shape
        )));
    };
    if rows != targets || target.kind != Kind::Int64 {
        let kind = target.kind;
        return Err(Error::new(format!(
            "{targets} targets of type {kind:?} for {rows} rows"
        )));
    }
    let ignored = args.int("ignore_index")? as f64;
    let values = logits.values();
    let losses = target
        .values()
        .into_iter()
        .zip(values.chunks((*classes).max(1)));
    let losses = losses.map(|(target, row)| {
        if target == ignored {
            return Ok(None);
        }
        let class = usize::try_from(target as i64)
            .ok()
            .and_then(|class| row.get(class));
        let class = class
            .ok_or_else(|| Error::new(format!("target {target} is out of bounds of {classes}")))?;
        Ok(Some(log_sum_exp(row) - class))
    });
    let losses = losses.collect::<Result<Vec<_>>>()?;
    match args.int("reduction")? {
        0 => {
            let values = losses.iter().map(|loss| loss.unwrap_or_default()).collect();
            Array::new(values, &[*rows], logits.kind)
        }
        reduction => {
            let counted: Vec<f64> = losses.into_iter().flatten().collect();
            reduced(&counted, reduction, logits.kind)
        }
    }
}

/// A loss of each value and its target.
fn by_value(args: &Args<'_>, loss: fn(f64, f64) -> f64) -> Result<Array> {
    let (x, target) = (args.tensor("self")?, args.tensor("target")?);
    let target = target.expand(&x.shape)?.values();
    let losses: Vec<_> = x
        .values()
        .iter()
        .zip(target)
        .map(|(&x, y)| loss(x, y))
        .collect();
    match args.int("reduction")? {
        0 => Array::new(losses, &x.shape, x.kind),
        reduction => reduced(&losses, reduction, x.kind),
    }
}

/// 1 is the mean, 2 the sum, as in ATen.
fn reduced(losses: &[f64], reduction: i64, kind: Kind) -> Result<Array> {
    let (value, kind) = match reduction {
        1 => average(losses, kind)?,
        2 => total(losses, kind),
        other => {
            return Err(Error::new(format!(
                "reduction {other} is none of 0, 1 and 2"
            )));
        }
    };
    Array::full(value, &[], kind)
}
