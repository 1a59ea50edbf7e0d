//! Tensors from nothing: constants and random values.

use crate::sdk::{Error, Kind, Result};
use crate::testing::array::Array;
use crate::testing::random::Stream;
use crate::testing::schema::{Args, Entry};
use crate::testing::store;

macro_rules! options {
    ($schema:literal) => {
        concat!(
            $schema,
            ", dtype=None, layout=None, device=None, pin_memory=None)"
        )
    };
}

pub(super) const OPERATORS: &[Entry] = &[
    Entry::one(options!("zeros(size"), |args| full(args, 0.0)),
    Entry::one(options!("ones(size"), |args| full(args, 1.0)),
    Entry::one(options!("full(size, fill_value"), |args| {
        full(args, args.float("fill_value")?)
    }),
    Entry::one(options!("zeros_like(self"), |args| full_like(args, 0.0)),
    Entry::one(options!("ones_like(self"), |args| full_like(args, 1.0)),
    Entry::one(options!("full_like(self, fill_value"), |args| {
        full_like(args, args.float("fill_value")?)
    }),
    Entry::one(options!("eye(n"), eye),
    Entry::one(options!("arange(end"), |args| range(args, 0)),
    Entry::one(options!("arange.start(start, end"), |args| {
        range(args, args.int("start")?)
    }),
    Entry::one(options!("rand.generator(size, generator"), |args| {
        draw(args, Stream::uniform)
    }),
    Entry::one(options!("randn.generator(size, generator"), |args| {
        draw(args, Stream::normal)
    }),
    Entry::one(
        options!("randint.generator(high, size, generator"),
        |args| integers(args, 0),
    ),
    Entry::one(
        options!("randint.low_generator(low, high, size, generator"),
        |args| integers(args, args.int("low")?),
    ),
    Entry::one(options!("randperm.generator(n, generator"), permutation),
];

fn full(args: &Args<'_>, value: f64) -> Result<Array> {
    args.on_cpu("device")?;
    Array::full(
        value,
        &args.sizes("size")?,
        args.kind("dtype", Kind::Double)?,
    )
}

fn full_like(args: &Args<'_>, value: f64) -> Result<Array> {
    args.on_cpu("device")?;
    let like = args.tensor("self")?;
    Array::full(value, &like.shape, args.kind("dtype", like.kind)?)
}

fn eye(args: &Args<'_>) -> Result<Array> {
    args.on_cpu("device")?;
    let [n] = args.sizes("n")?[..] else {
        return Err(Error::new("`n` must be one size"));
    };
    let values = (0..n * n).map(|at| f64::from(u8::from(at / n == at % n)));
    Array::new(values.collect(), &[n, n], args.kind("dtype", Kind::Double)?)
}

fn range(args: &Args<'_>, start: i64) -> Result<Array> {
    args.on_cpu("device")?;
    let values: Vec<_> = (start..args.int("end")?)
        .map(|value| value as f64)
        .collect();
    let shape = [values.len()];
    Array::new(values, &shape, args.kind("dtype", Kind::Int64)?)
}

fn draw(args: &Args<'_>, next: fn(&mut Stream) -> f64) -> Result<Array> {
    args.on_cpu("device")?;
    let shape = args.sizes("size")?;
    let values = store::draw(args.stream("generator")?, shape.iter().product(), next);
    Array::new(values, &shape, args.kind("dtype", Kind::Double)?)
}

fn integers(args: &Args<'_>, low: i64) -> Result<Array> {
    args.on_cpu("device")?;
    let high = args.int("high")?;
    if low >= high {
        return Err(Error::new(format!(
            "no integer lies in {low} <= x < {high}"
        )));
    }
    let shape = args.sizes("size")?;
    let draws = store::draw(
        args.stream("generator")?,
        shape.iter().product(),
        Stream::uniform,
    );
    let (low, width) = (low as f64, (high - low) as f64);
    let values = draws.into_iter().map(|draw| low + (draw * width).floor());
    Array::new(values.collect(), &shape, args.kind("dtype", Kind::Int64)?)
}

/// The order that sorts as many draws.
fn permutation(args: &Args<'_>) -> Result<Array> {
    args.on_cpu("device")?;
    let [n] = args.sizes("n")?[..] else {
        return Err(Error::new("`n` must be one size"));
    };
    let draws = store::draw(args.stream("generator")?, n, Stream::uniform);
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| draws[a].total_cmp(&draws[b]));
    let values = order.into_iter().map(|index| index as f64).collect();
    Array::new(values, &[n], args.kind("dtype", Kind::Int64)?)
}
