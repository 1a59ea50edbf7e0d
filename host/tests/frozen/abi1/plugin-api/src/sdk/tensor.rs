use std::fmt;

use super::{Error, Result};
use crate::abi;

pub struct Tensor {
    handle: u64,
    lent: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Uint8,
    Int64,
    Half,
    Float,
    Double,
    Bool,
    BFloat16,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
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

    pub(crate) fn into_owned(self) -> Result<Self> {
        if self.lent {
            self.try_clone()
        } else {
            Ok(self)
        }
    }

    pub(crate) fn into_handle(self) -> u64 {
        let handle = self.handle;
        std::mem::forget(self);
        handle
    }

    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self::owned(
            abi::connected()?.tensor().clone_handle(self.handle)?,
        ))
    }

    pub fn from_f64(values: &[f64], shape: &[i64]) -> Result<Self> {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_ne_bytes())
            .collect();
        let host = abi::connected()?.tensor();
        let raw = Self::owned(host.put_bytes(&bytes, shape, Kind::Double.code())?);
        raw.to_default()
    }

    pub fn shape(&self) -> Result<Vec<i64>> {
        Ok(abi::connected()?
            .tensor()
            .describe(self.handle)?
            .shape
            .into())
    }

    pub fn kind(&self) -> Result<Kind> {
        Ok(Kind::from_code(
            abi::connected()?.tensor().describe(self.handle)?.dtype,
        ))
    }

    pub fn device(&self) -> Result<Device> {
        let description = abi::connected()?.tensor().describe(self.handle)?;
        Ok(Device {
            kind: description.device_type,
            index: description.device_index,
        })
    }

    pub fn default_kind() -> Result<Kind> {
        Ok(Kind::from_code(abi::connected()?.tensor().defaults().dtype))
    }

    pub fn default_device() -> Result<Device> {
        let defaults = abi::connected()?.tensor().defaults();
        Ok(Device {
            kind: defaults.device_type,
            index: defaults.device_index,
        })
    }

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
