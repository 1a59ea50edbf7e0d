//! Views, conversions, joining and picking.

use crate::sdk::{Error, Kind, Result};
use crate::testing::array::{Array, row_major, wrap};
use crate::testing::schema::{Args, Entry};

pub(super) const OPERATORS: &[Entry] = &[
    // Views: they share memory with their source.
    Entry::one("t(self)", |args| {
        let x = args.tensor("self")?;
        let order: Vec<_> = (0..x.shape.len()).rev().collect();
        match order.len() {
            0..=2 => Ok(reorder(&x, &order)),
            dims => Err(Error::new(format!("t of a tensor with {dims} dimensions"))),
        }
    }),
    Entry::one("transpose.int(self, dim0, dim1)", |args| {
        let x = args.tensor("self")?;
        let mut order: Vec<_> = (0..x.shape.len()).collect();
        order.swap(x.dim(args.int("dim0")?)?, x.dim(args.int("dim1")?)?);
        Ok(reorder(&x, &order))
    }),
    Entry::one("permute(self, dims)", permute),
    Entry::one("expand(self, size, implicit=False)", expand),
    Entry::one("unsqueeze(self, dim)", |args| {
        let x = args.tensor("self")?;
        let (mut shape, mut strides) = (x.shape.clone(), x.strides.clone());
        let dim = wrap(args.int("dim")?, shape.len() + 1);
        let dim = dim.ok_or_else(|| Error::new("no such dimension"))?;
        shape.insert(dim, 1);
        strides.insert(dim, 0);
        Ok(x.view(0, shape, strides))
    }),
    Entry::one("squeeze(self)", |args| {
        let x = args.tensor("self")?;
        Ok(keep(&x, |dim| x.shape[dim] != 1))
    }),
    Entry::one("squeeze.dim(self, dim)", |args| {
        let x = args.tensor("self")?;
        let gone = x.dim(args.int("dim")?)?;
        Ok(keep(&x, |dim| dim != gone || x.shape[dim] != 1))
    }),
    Entry::one("narrow(self, dim, start, length)", |args| {
        let (start, length) = (args.int("start")?, args.int("length")?);
        range(
            &args.tensor("self")?,
            args.int("dim")?,
            start,
            start.saturating_add(length),
            1,
        )
    }),
    Entry::one(
        "slice.Tensor(self, dim=0, start=None, end=None, step=1)",
        slice,
    ),
    Entry::one("select.int(self, dim, index)", |args| {
        let (x, index) = (args.tensor("self")?, args.int("index")?);
        let dim = x.dim(args.int("dim")?)?;
        let size = x.shape[dim];
        let at = wrap(index, size).ok_or_else(|| Error::new(format!("index {index} of {size}")))?;
        let rest = keep(&x, |other| other != dim);
        Ok(rest.view(
            at * x.strides[dim],
            rest.shape.clone(),
            rest.strides.clone(),
        ))
    }),
    Entry::one("diagonal(self)", |args| diagonal(&args.tensor("self")?)),
    Entry::one("detach(self)", |args| args.tensor("self")),
    // Nothing is recorded: the flag has no meaning here.
    Entry::one("requires_grad(self, requires_grad=True)", |args| {
        args.tensor("self")
    })
    .or_in_place(),
    Entry::one("reshape(self, shape)", |args| reshape(args, "shape")),
    Entry::one("view(self, size)", |args| reshape(args, "size")),
    // Conversions.
    Entry::one("contiguous(self, memory_format=None)", |args| {
        let x = args.tensor("self")?;
        if x.is_dense() { Ok(x) } else { x.copy() }
    }),
    Entry::one("clone(self, memory_format=None)", |args| {
        args.tensor("self")?.copy()
    }),
    Entry::one(
        "to.dtype(self, dtype, non_blocking=False, copy=False, memory_format=None)",
        |args| {
            let x = args.tensor("self")?;
            x.to(args.kind("dtype", x.kind)?)
        },
    ),
    Entry::one(
        "to.dtype_layout(self, dtype=None, layout=None, device=None, pin_memory=None, \
         non_blocking=False, copy=False, memory_format=None)",
        |args| {
            args.on_cpu("device")?;
            let x = args.tensor("self")?;
            x.to(args.kind("dtype", x.kind)?)
        },
    ),
    // New tensors.
    Entry::one("cat(tensors, dim=0)", |args| {
        cat(&args.tensors("tensors")?, args.int("dim")?)
    }),
    Entry::one("stack(tensors, dim=0)", stack),
    Entry::one("flip(self, dims)", flip),
    Entry::one("index_select(self, dim, index)", index_select),
    Entry::one("gather(self, dim, index)", gather),
    Entry::one("nonzero(self)", nonzero),
    Entry::one("diag(self, diagonal=0)", diag),
    Entry::one("triu(self, diagonal=0)", |args| {
        triangle(args, |above| above >= 0)
    })
    .or_in_place(),
    Entry::one("tril(self, diagonal=0)", |args| {
        triangle(args, |above| above <= 0)
    })
    .or_in_place(),
];

fn reorder(x: &Array, order: &[usize]) -> Array {
    let pick = |list: &[usize]| order.iter().map(|&dim| list[dim]).collect();
    x.view(0, pick(&x.shape), pick(&x.strides))
}

/// The view without the dimensions that `kept` does not want.
fn keep(x: &Array, kept: impl Fn(usize) -> bool) -> Array {
    let order: Vec<_> = (0..x.shape.len()).filter(|&dim| kept(dim)).collect();
    reorder(x, &order)
}

fn permute(args: &Args<'_>) -> Result<Array> {
    let x = args.tensor("self")?;
    let dims = args.ints("dims")?;
    let order = dims
        .iter()
        .map(|&dim| x.dim(dim))
        .collect::<Result<Vec<_>>>()?;
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if sorted != (0..x.shape.len()).collect::<Vec<_>>() {
        return Err(Error::new(format!("{dims:?} is no order of {:?}", x.shape)));
    }
    Ok(reorder(&x, &order))
}

fn expand(args: &Args<'_>) -> Result<Array> {
    let x = args.tensor("self")?;
    let wanted = args.ints("size")?;
    let added = wanted.len().saturating_sub(x.shape.len());
    let sizes = wanted.iter().enumerate().map(|(dim, &size)| match size {
        // The size as it is.
        -1 if dim >= added => Ok(x.shape[dim - added]),
        size => usize::try_from(size).map_err(|_| Error::new(format!("a size of {size}"))),
    });
    x.expand(&sizes.collect::<Result<Vec<_>>>()?)
}

fn slice(args: &Args<'_>) -> Result<Array> {
    let x = args.tensor("self")?;
    let dim = args.int("dim")?;
    let size = x.shape[x.dim(dim)?].cast_signed() as i64;
    let clamped = |index: i64| (if index < 0 { index + size } else { index }).clamp(0, size);
    let start = clamped(args.optional_int("start")?.unwrap_or(0));
    let end = clamped(args.optional_int("end")?.unwrap_or(size));
    range(&x, dim, start, end.max(start), args.int("step")?)
}

/// `start <= index < end` along `dim`.
fn range(x: &Array, dim: i64, start: i64, end: i64, step: i64) -> Result<Array> {
    let dim = x.dim(dim)?;
    let size = x.shape[dim];
    let bad = |_| Error::new(format!("{start}..{end} by {step} of {size}"));
    let first = usize::try_from(start).map_err(bad)?;
    let last = usize::try_from(end).map_err(bad)?;
    let step = usize::try_from(step).map_err(bad)?;
    if first > last || last > size || step == 0 {
        return Err(Error::new(format!("{start}..{end} by {step} of {size}")));
    }
    let (mut shape, mut strides) = (x.shape.clone(), x.strides.clone());
    shape[dim] = (last - first).div_ceil(step);
    strides[dim] *= step;
    Ok(x.view(first * x.strides[dim], shape, strides))
}

fn diagonal(x: &Array) -> Result<Array> {
    match (&x.shape[..], &x.strides[..]) {
        (&[rows, columns], &[down, across]) => {
            Ok(x.view(0, vec![rows.min(columns)], vec![down + across]))
        }
        _ => Err(Error::new(format!("the diagonal of {:?}", x.shape))),
    }
}

fn reshape(args: &Args<'_>, name: &str) -> Result<Array> {
    let x = args.tensor("self")?;
    let wanted = args.ints(name)?;
    let bad = || Error::new(format!("{:?} as {wanted:?}", x.shape));
    let known: i64 = wanted.iter().filter(|&&size| size != -1).product();
    let known = usize::try_from(known).map_err(|_| bad())?;
    let sizes = wanted.iter().map(|&size| match size {
        -1 => x.len().checked_div(known).ok_or_else(bad),
        size => usize::try_from(size).map_err(|_| bad()),
    });
    let sizes = sizes.collect::<Result<Vec<_>>>()?;
    x.reshape(&sizes).map_err(|_| bad())
}

fn cat(tensors: &[Array], dim: i64) -> Result<Array> {
    let first = tensors
        .first()
        .ok_or_else(|| Error::new("no tensors to join"))?;
    let dim = first.dim(dim)?;
    let mut shape = first.shape.clone();
    shape[dim] = 0;
    for other in tensors {
        let mut like = other.shape.clone();
        if let Some(size) = like.get_mut(dim) {
            shape[dim] += std::mem::take(size);
        }
        if like
            .iter()
            .enumerate()
            .any(|(at, size)| at != dim && shape.get(at) != Some(size))
            || like.len() != shape.len()
            || other.kind != first.kind
        {
            return Err(Error::new(format!(
                "{:?} {:?} beside {:?} {:?}",
                other.kind, other.shape, first.kind, first.shape
            )));
        }
    }
    // With `dim` in front, the values follow each other; then the result is looked at the other way round.
    let mut order: Vec<_> = (0..shape.len()).collect();
    order.swap(0, dim);
    let values = tensors
        .iter()
        .flat_map(|tensor| reorder(tensor, &order).values());
    shape.swap(0, dim);
    let joined = Array::new(values.collect(), &shape, first.kind)?;
    Ok(reorder(&joined, &order))
}

fn stack(args: &Args<'_>) -> Result<Array> {
    let tensors = args.tensors("tensors")?;
    let dims = tensors.first().map_or(0, |first| first.shape.len());
    let dim = args.int("dim")?;
    let place = wrap(dim, dims + 1).ok_or_else(|| Error::new(format!("no dimension {dim}")))?;
    let raised: Vec<_> = tensors
        .iter()
        .map(|tensor| {
            let (mut shape, mut strides) = (tensor.shape.clone(), tensor.strides.clone());
            shape.insert(place.min(shape.len()), 1);
            strides.insert(place.min(strides.len()), 0);
            tensor.view(0, shape, strides)
        })
        .collect();
    cat(&raised, place.cast_signed() as i64)
}

fn flip(args: &Args<'_>) -> Result<Array> {
    let x = args.tensor("self")?;
    let dims = args.ints("dims")?;
    let dims = dims
        .iter()
        .map(|&dim| x.dim(dim))
        .collect::<Result<Vec<_>>>()?;
    pick(&x, &x.shape, |place| {
        for &dim in &dims {
            place[dim] = x.shape[dim] - 1 - place[dim];
        }
    })
}

fn index_select(args: &Args<'_>) -> Result<Array> {
    let x = args.tensor("self")?;
    let dim = x.dim(args.int("dim")?)?;
    let index = args.tensor("index")?;
    if index.shape.len() > 1 {
        return Err(Error::new(format!("an index of shape {:?}", index.shape)));
    }
    let index = indices(&index, x.shape[dim])?;
    let mut shape = x.shape.clone();
    shape[dim] = index.len();
    pick(&x, &shape, |place| place[dim] = index[place[dim]])
}

fn gather(args: &Args<'_>) -> Result<Array> {
    let (x, index) = (args.tensor("self")?, args.tensor("index")?);
    let dim = x.dim(args.int("dim")?)?;
    let fits = index.shape.len() == x.shape.len()
        && (0..x.shape.len()).all(|at| at == dim || index.shape[at] <= x.shape[at]);
    if !fits {
        return Err(Error::new(format!(
            "an index {:?} into {:?}",
            index.shape, x.shape
        )));
    }
    let places = indices(&index, x.shape[dim])?;
    let strides = row_major(&index.shape);
    pick(&x, &index.shape, |place| {
        let at: usize = place
            .iter()
            .zip(&strides)
            .map(|(index, stride)| index * stride)
            .sum();
        place[dim] = places[at];
    })
}

/// Of each place in `shape`, the value of `x` at the place that `source` makes of it.
fn pick(x: &Array, shape: &[usize], source: impl Fn(&mut [usize])) -> Result<Array> {
    let (values, strides) = (x.values(), row_major(&x.shape));
    let picked = places(shape).map(|mut place| {
        source(&mut place);
        let at: usize = place
            .iter()
            .zip(&strides)
            .map(|(index, stride)| index * stride)
            .sum();
        values[at]
    });
    Array::new(picked.collect(), shape, x.kind)
}

/// All places of a shape in row-major order.
fn places(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    let strides = row_major(shape);
    let place = move |at: usize| {
        strides
            .iter()
            .zip(shape)
            .map(|(stride, size)| at / stride % size)
            .collect()
    };
    (0..shape.iter().product()).map(place)
}

fn indices(index: &Array, size: usize) -> Result<Vec<usize>> {
    if index.kind != Kind::Int64 {
        return Err(Error::new(format!("an index of type {:?}", index.kind)));
    }
    let values = index.values().into_iter().map(|value| {
        let place = usize::try_from(value as i64)
            .ok()
            .filter(|&place| place < size);
        place.ok_or_else(|| Error::new(format!("index {value} is out of range of {size}")))
    });
    values.collect()
}

fn nonzero(args: &Args<'_>) -> Result<Array> {
    let x = args.tensor("self")?;
    let found: Vec<_> = places(&x.shape)
        .zip(x.values())
        .filter_map(|(place, value)| (value != 0.0).then_some(place))
        .collect();
    let values = found.iter().flatten().map(|&index| index as f64).collect();
    Array::new(values, &[found.len(), x.shape.len()], Kind::Int64)
}

fn diag(args: &Args<'_>) -> Result<Array> {
    if args.int("diagonal")? != 0 {
        return Err(Error::new("the fake host has the main diagonal only"));
    }
    let x = args.tensor("self")?;
    let [n] = x.shape[..] else {
        return diagonal(&x)?.copy();
    };
    let matrix = Array::full(0.0, &[n, n], x.kind)?;
    diagonal(&matrix)?.assign(&x)?;
    Ok(matrix)
}

/// Keeps what lies on one side; `kept` gets the number of diagonals above the chosen one.
fn triangle(args: &Args<'_>, kept: fn(i64) -> bool) -> Result<Array> {
    let (x, diagonal) = (args.tensor("self")?, args.int("diagonal")?);
    let [_, _] = x.shape[..] else {
        return Err(Error::new(format!("a triangle of {:?}", x.shape)));
    };
    let values = places(&x.shape).zip(x.values()).map(|(place, value)| {
        let above = place[1].cast_signed() as i64 - place[0].cast_signed() as i64 - diagonal;
        if kept(above) { value } else { 0.0 }
    });
    Array::new(values.collect(), &x.shape, x.kind)
}
