//! A strided array of float64 that carries the dtype it stands for: views share memory, as in PyTorch.

use std::cell::RefCell;
use std::rc::Rc;

use crate::sdk::{Error, Kind, Result};

/// Values are float64 throughout, rounded to what `kind` can hold; int64 is exact up to 2^53.
#[derive(Debug, Clone)]
pub struct Array {
    storage: Rc<RefCell<Vec<f64>>>,
    offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
    pub kind: Kind,
}

impl Array {
    /// # Errors
    /// When the number of values is not the product of the shape, or the kind is not one that the fake knows.
    pub fn new(mut values: Vec<f64>, shape: &[usize], kind: Kind) -> Result<Self> {
        let round = rounding(kind)?;
        let size: usize = shape.iter().product();
        if values.len() != size {
            return Err(Error::new(format!(
                "{} values for the shape {shape:?}",
                values.len()
            )));
        }
        for value in &mut values {
            *value = round(*value);
        }
        Ok(Self {
            storage: Rc::new(RefCell::new(values)),
            offset: 0,
            shape: shape.to_vec(),
            strides: row_major(shape),
            kind,
        })
    }

    /// All of one value.
    pub fn full(value: f64, shape: &[usize], kind: Kind) -> Result<Self> {
        Self::new(vec![value; shape.iter().product()], shape, kind)
    }

    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// In row-major order.
    pub fn values(&self) -> Vec<f64> {
        let storage = self.storage.borrow();
        self.positions().into_iter().map(|at| storage[at]).collect()
    }

    /// Writes into the memory that all views share.
    ///
    /// # Errors
    /// When `other` has another shape, or a kind that would lose its meaning here.
    pub fn assign(&self, other: &Self) -> Result<()> {
        if other.shape != self.shape {
            return Err(Error::new(format!(
                "an update of shape {:?} in place of {:?}",
                other.shape, self.shape
            )));
        }
        if category(other.kind) > category(self.kind) {
            return Err(Error::new(format!(
                "an update of type {:?} in place of {:?}",
                other.kind, self.kind
            )));
        }
        if self
            .shape
            .iter()
            .zip(&self.strides)
            .any(|(&n, &s)| n > 1 && s == 0)
        {
            return Err(Error::new("an update of an expanded tensor in place"));
        }
        let round = rounding(self.kind)?;
        let values = other.values();
        let mut storage = self.storage.borrow_mut();
        for (at, value) in self.positions().into_iter().zip(values) {
            storage[at] = round(value);
        }
        Ok(())
    }

    /// Another look at the same memory, `shift` elements further on.
    pub fn view(&self, shift: usize, shape: Vec<usize>, strides: Vec<usize>) -> Self {
        Self {
            storage: Rc::clone(&self.storage),
            offset: self.offset + shift,
            shape,
            strides,
            kind: self.kind,
        }
    }

    /// The same values in memory of their own.
    pub fn copy(&self) -> Result<Self> {
        Self::new(self.values(), &self.shape, self.kind)
    }

    /// The same shape from values of this one.
    pub fn map(&self, kind: Kind, function: impl Fn(f64) -> f64) -> Result<Self> {
        let values = self.values().into_iter().map(function).collect();
        Self::new(values, &self.shape, kind)
    }

    pub fn to(&self, kind: Kind) -> Result<Self> {
        if kind == self.kind {
            return Ok(self.clone());
        }
        self.map(kind, |value| value)
    }

    /// A view that repeats dimensions of size 1, and adds some in front, until the shape fits.
    pub fn expand(&self, shape: &[usize]) -> Result<Self> {
        let bad = || Error::new(format!("{:?} does not expand to {shape:?}", self.shape));
        let added = shape.len().checked_sub(self.shape.len()).ok_or_else(bad)?;
        let mut strides = vec![0; added];
        for ((&size, &stride), &wanted) in self.shape.iter().zip(&self.strides).zip(&shape[added..])
        {
            strides.push(match size {
                _ if size == wanted => stride,
                1 => 0,
                _ => return Err(bad()),
            });
        }
        Ok(self.view(0, shape.to_vec(), strides))
    }

    /// The same values in another shape: a view where the memory is row-major, a copy elsewhere.
    pub fn reshape(&self, shape: &[usize]) -> Result<Self> {
        if self.is_dense() && shape.iter().product::<usize>() == self.len() {
            return Ok(self.view(0, shape.to_vec(), row_major(shape)));
        }
        Self::new(self.values(), shape, self.kind)
    }

    /// Whether the memory is row-major, without gaps.
    pub fn is_dense(&self) -> bool {
        let dense = row_major(&self.shape);
        let mut dims = self.shape.iter().zip(self.strides.iter().zip(&dense));
        dims.all(|(&size, (stride, dense))| size == 1 || stride == dense)
    }

    /// The dimension that `dim` names; negative ones count from the end.
    pub fn dim(&self, dim: i64) -> Result<usize> {
        wrap(dim, self.shape.len()).ok_or_else(|| {
            let dims = self.shape.len();
            Error::new(format!("dimension {dim} of a tensor with {dims}"))
        })
    }

    fn positions(&self) -> Vec<usize> {
        let dims = self.shape.iter().zip(&self.strides);
        dims.fold(vec![self.offset], |positions, (&size, &stride)| {
            positions
                .into_iter()
                .flat_map(|at| (0..size).map(move |index| at + index * stride))
                .collect()
        })
    }
}

/// Elements between neighbours along each dimension, where the last one is dense.
pub fn row_major(shape: &[usize]) -> Vec<usize> {
    (0..shape.len())
        .map(|dim| shape[dim + 1..].iter().product())
        .collect()
}

/// `index` of `size`, from the end where it is negative.
pub fn wrap(index: i64, size: usize) -> Option<usize> {
    let size_signed = i64::try_from(size).ok()?;
    let index = if index < 0 {
        index + size_signed
    } else {
        index
    };
    usize::try_from(index).ok().filter(|&index| index < size)
}

/// The shape that all of these expand to.
pub fn broadcast(arrays: &[&Array]) -> Result<Vec<usize>> {
    let dims = arrays.iter().map(|array| array.shape.len()).max();
    let mut shape = vec![1; dims.unwrap_or_default()];
    for array in arrays {
        let first = shape.len() - array.shape.len();
        for (joint, &size) in shape[first..].iter_mut().zip(&array.shape) {
            match (*joint, size) {
                (a, b) if a == b => {}
                (1, b) => *joint = b,
                (_, 1) => {}
                _ => {
                    let shapes: Vec<_> = arrays.iter().map(|array| &array.shape).collect();
                    return Err(Error::new(format!("the shapes {shapes:?} do not fit")));
                }
            }
        }
    }
    Ok(shape)
}

/// The kind of a result, as PyTorch promotes: a higher category wins, and within one a tensor with dimensions wins
/// over one without.
pub fn promote(a: &Array, b: &Array) -> Kind {
    let rank = |array: &Array| {
        let precision = match array.kind {
            Kind::Double | Kind::Int64 => 1,
            _ => 0,
        };
        (category(array.kind), !array.shape.is_empty(), precision)
    };
    if rank(b) > rank(a) { b.kind } else { a.kind }
}

/// `kind`, or float64 where it has no fractions.
pub fn floating(kind: Kind) -> Kind {
    if category(kind) == 2 {
        kind
    } else {
        Kind::Double
    }
}

fn category(kind: Kind) -> u8 {
    match kind {
        Kind::Bool => 0,
        Kind::Uint8 | Kind::Int64 => 1,
        _ => 2,
    }
}

fn rounding(kind: Kind) -> Result<fn(f64) -> f64> {
    Ok(match kind {
        Kind::Double => |value| value,
        Kind::Float => |value| f64::from(value as f32),
        Kind::Int64 => |value| value as i64 as f64,
        Kind::Uint8 => |value| (value as i64).rem_euclid(256) as f64,
        Kind::Bool => |value| f64::from(u8::from(value != 0.0)),
        other => {
            return Err(
                Error::new(format!("the fake host has no {other:?} tensors"))
                    .with_help("test it in the real one: `lorahost plugin check FILE`"),
            );
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(shape: &[usize]) -> Array {
        let size: u32 = shape
            .iter()
            .map(|&size| u32::try_from(size).unwrap())
            .product();
        Array::new((0..size).map(f64::from).collect(), shape, Kind::Double).unwrap()
    }

    #[test]
    fn views_share_memory_and_copies_do_not() {
        let x = counting(&[2, 3]);
        let transposed = x.view(0, vec![3, 2], vec![1, 3]);
        assert_eq!(transposed.values(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        let flat = transposed.reshape(&[6]).unwrap();
        let same = x.reshape(&[6]).unwrap();
        same.assign(&Array::full(9.0, &[6], Kind::Double).unwrap())
            .unwrap();
        assert_eq!(transposed.values(), [9.0; 6]);
        assert_eq!(flat.values(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    }

    #[test]
    fn kinds_round_and_promote() {
        let ints = Array::new(vec![1.9, -1.9], &[2], Kind::Int64).unwrap();
        assert_eq!(ints.values(), [1.0, -1.0]);
        let single = Array::full(0.1, &[1], Kind::Float).unwrap();
        assert!((single.values()[0] - 0.1).abs() > 1e-10);
        let scalar = Array::full(2.0, &[], Kind::Double).unwrap();
        assert_eq!(promote(&ints, &scalar), Kind::Double);
        assert_eq!(promote(&single, &scalar), Kind::Float);
        assert_eq!(promote(&ints, &single), Kind::Float);
        assert!(
            ints.assign(&Array::full(0.5, &[2], Kind::Double).unwrap())
                .is_err()
        );
    }

    #[test]
    fn shapes_that_do_not_fit_are_errors() {
        let (a, b) = (counting(&[2, 3]), counting(&[2]));
        assert!(broadcast(&[&a, &b]).is_err());
        assert_eq!(broadcast(&[&a, &counting(&[2, 1])]).unwrap(), [2, 3]);
        assert!(a.expand(&[3]).is_err());
        let repeated = b.reshape(&[2, 1]).unwrap().expand(&[2, 3]).unwrap();
        assert_eq!(repeated.values(), [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        assert!(repeated.assign(&a).is_err());
        assert!(a.dim(2).is_err());
        assert_eq!(a.dim(-1).unwrap(), 1);
    }
}
