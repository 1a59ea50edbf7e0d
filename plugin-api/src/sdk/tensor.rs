//! The tensor: an opaque handle that drops itself.

use std::fmt;

use super::{Error, Result};
use crate::abi;

/// A tensor of the host. Cloning makes a second handle to the same memory, as in PyTorch.
///
/// Methods return a [`Result`]; the operators `+ - * /` cannot, so their errors end the call as if they had been
/// returned.
pub struct Tensor {
    handle: u64,
    /// Lent tensors belong to the host and are not dropped.
    lent: bool,
}

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Uint8,
    Int64,
    Half,
    Float,
    Double,
    Bool,
    BFloat16,
    /// Another of `c10::ScalarType`.
    Other(i32),
}

impl Kind {
    pub(crate) fn code(self) -> i32 {
        match self {
            Kind::Uint8 => 0,
            Kind::Int64 => 4,
            Kind::Half => 5,
            Kind::Float => 6,
            Kind::Double => 7,
            Kind::Bool => 11,
            Kind::BFloat16 => 15,
            Kind::Other(code) => code,
        }
    }

    pub(crate) fn from_code(code: i32) -> Self {
        match code {
            0 => Kind::Uint8,
            4 => Kind::Int64,
            5 => Kind::Half,
            6 => Kind::Float,
            7 => Kind::Double,
            11 => Kind::Bool,
            15 => Kind::BFloat16,
            other => Kind::Other(other),
        }
    }
}

/// Where a tensor lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// `c10::DeviceType`: 0 is the CPU, 1 is CUDA.
    pub(crate) kind: i32,
    pub(crate) index: i32,
}

impl Device {
    pub const CPU: Self = Self { kind: 0, index: -1 };

    pub(crate) fn word(self) -> u64 {
        (u64::from(self.kind.cast_unsigned()) << 32) | u64::from(self.index.cast_unsigned())
    }
}

impl Tensor {
    pub(crate) fn owned(handle: u64) -> Self {
        Self {
            handle,
            lent: false,
        }
    }

    pub(crate) fn lent(handle: u64) -> Self {
        Self { handle, lent: true }
    }

    pub(crate) fn handle(&self) -> u64 {
        self.handle
    }

    pub(crate) fn is_none(&self) -> bool {
        self.handle == 0
    }

    /// The tensor as the plugin's own: a lent one is cloned.
    pub(crate) fn into_owned(self) -> Result<Self> {
        if self.lent {
            self.try_clone()
        } else {
            Ok(self)
        }
    }

    /// The handle as a gift to the host, of a tensor that is the plugin's own.
    pub(crate) fn into_handle(self) -> u64 {
        let handle = self.handle;
        std::mem::forget(self);
        handle
    }

    /// A second handle to the same tensor.
    ///
    /// # Errors
    /// When the handle is stale.
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self::owned(
            abi::connected()?.tensor().clone_handle(self.handle)?,
        ))
    }

    /// A tensor of these values on the device of the run.
    ///
    /// # Errors
    /// When the number of values is not the product of the shape.
    pub fn from_f64(values: &[f64], shape: &[i64]) -> Result<Self> {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_ne_bytes())
            .collect();
        let host = abi::connected()?.tensor();
        let raw = Self::owned(host.put_bytes(&bytes, shape, Kind::Double.code())?);
        raw.to_default()
    }

    /// An int64 tensor of these values on the device of the run.
    ///
    /// # Errors
    /// When the number of values is not the product of the shape.
    pub fn from_i64(values: &[i64], shape: &[i64]) -> Result<Self> {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_ne_bytes())
            .collect();
        let host = abi::connected()?.tensor();
        Self::owned(host.put_bytes(&bytes, shape, Kind::Int64.code())?)
            .to_device(Self::default_device()?)
    }

    /// # Errors
    /// When the handle is stale.
    pub fn shape(&self) -> Result<Vec<i64>> {
        Ok(abi::connected()?
            .tensor()
            .describe(self.handle)?
            .shape
            .into())
    }

    /// # Errors
    /// When the handle is stale.
    pub fn kind(&self) -> Result<Kind> {
        Ok(Kind::from_code(
            abi::connected()?.tensor().describe(self.handle)?.dtype,
        ))
    }

    /// # Errors
    /// When the handle is stale.
    pub fn device(&self) -> Result<Device> {
        let description = abi::connected()?.tensor().describe(self.handle)?;
        Ok(Device {
            kind: description.device_type,
            index: description.device_index,
        })
    }

    /// The type of the run's parameters.
    ///
    /// # Errors
    /// Outside of a host.
    pub fn default_kind() -> Result<Kind> {
        Ok(Kind::from_code(abi::connected()?.tensor().defaults().dtype))
    }

    /// The device of the run's parameters.
    ///
    /// # Errors
    /// Outside of a host.
    pub fn default_device() -> Result<Device> {
        let defaults = abi::connected()?.tensor().defaults();
        Ok(Device {
            kind: defaults.device_type,
            index: defaults.device_index,
        })
    }

    /// All values in row-major order, as f64.
    ///
    /// # Errors
    /// When the handle is stale.
    pub fn to_f64(&self) -> Result<Vec<f64>> {
        let bytes = abi::connected()?
            .tensor()
            .to_bytes(self.to_kind(Kind::Double)?.handle)?;
        Ok(bytes
            .as_chunks()
            .0
            .iter()
            .map(|chunk| f64::from_ne_bytes(*chunk))
            .collect())
    }

    /// All values in row-major order, as i64.
    ///
    /// # Errors
    /// When the handle is stale.
    pub fn to_i64(&self) -> Result<Vec<i64>> {
        let bytes = abi::connected()?
            .tensor()
            .to_bytes(self.to_kind(Kind::Int64)?.handle)?;
        Ok(bytes
            .as_chunks()
            .0
            .iter()
            .map(|chunk| i64::from_ne_bytes(*chunk))
            .collect())
    }

    /// The value of a tensor of one element.
    ///
    /// # Errors
    /// When it has another number of elements.
    pub fn item(&self) -> Result<f64> {
        match self.to_f64()?[..] {
            [value] => Ok(value),
            ref values => Err(Error::new(format!(
                "item of a tensor with {} elements",
                values.len()
            ))),
        }
    }
}

impl Drop for Tensor {
    fn drop(&mut self) {
        if !self.lent
            && self.handle != 0
            && let Ok(host) = abi::connected()
        {
            host.tensor().drop_handle(self.handle);
        }
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.shape(), self.kind()) {
            (Ok(shape), Ok(kind)) => write!(f, "Tensor({kind:?}{shape:?})"),
            _ => write!(f, "Tensor(unknown)"),
        }
    }
}
