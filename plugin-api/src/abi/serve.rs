//! The host's side of the tensor table without `unsafe` for whoever implements it: lifted arguments go in, errors and
//! panics come out as failures.

use abi_stable::std_types::{RResult, RSlice, RStr, RVec};

use super::export::guarded;
use super::lift::{Lifted, lift};
use super::tables::{Argument, Description, Failure, Named, Output, TensorTable};
use crate::sdk::Result;

/// What answers the functions of a [`TensorTable`]; see there for each.
pub trait TensorServer {
    /// # Errors
    /// When there is no such operator.
    fn resolve(name: &str, overload: &str) -> Result<u64>;

    /// # Errors
    /// When the operator is unknown or refuses its arguments.
    fn call(
        operator: u64,
        arguments: &[Lifted<'_>],
        named: &[(&str, Lifted<'_>)],
    ) -> Result<Vec<Output>>;

    /// # Errors
    /// When the handle is unknown.
    fn clone(tensor: u64) -> Result<u64>;

    fn drop(tensor: u64);

    /// # Errors
    /// When the handle is unknown.
    fn describe(tensor: u64) -> Result<Description>;

    /// # Errors
    /// When the bytes do not fill the shape, or the dtype is unknown.
    fn from_bytes(bytes: &[u8], shape: &[i64], dtype: i32) -> Result<u64>;

    /// # Errors
    /// When the handle is unknown.
    fn to_bytes(tensor: u64) -> Result<Vec<u8>>;

    /// # Errors
    /// When there is no way to say it in a [`Description`].
    fn defaults() -> Result<Description>;
}

impl TensorTable {
    /// The table whose functions `S` answers.
    #[must_use]
    pub const fn of<S: TensorServer>() -> Self {
        Self {
            size: size_of::<Self>(),
            resolve: resolve::<S>,
            call: call::<S>,
            clone: clone::<S>,
            drop: drop_tensor::<S>,
            describe: describe::<S>,
            from_bytes: from_bytes::<S>,
            to_bytes: to_bytes::<S>,
            defaults: defaults::<S>,
        }
    }
}

extern "C" fn resolve<S: TensorServer>(
    name: RStr<'_>,
    overload: RStr<'_>,
) -> RResult<u64, Failure> {
    guarded(|| S::resolve(name.as_str(), overload.as_str())).into()
}

extern "C" fn call<S: TensorServer>(
    operator: u64,
    arguments: RSlice<'_, Argument>,
    named: RSlice<'_, Named<'_>>,
) -> RResult<RVec<Output>, Failure> {
    guarded(|| {
        let arguments = arguments.as_slice().iter().map(read);
        let arguments = arguments.collect::<Result<Vec<_>>>()?;
        let named = named.as_slice().iter().map(|argument| {
            let value = read(&argument.value)?;
            Ok((argument.name.as_str(), value))
        });
        let named = named.collect::<Result<Vec<_>>>()?;
        S::call(operator, &arguments, &named).map(RVec::from)
    })
    .into()
}

fn read(argument: &Argument) -> Result<Lifted<'_>> {
    // SAFETY: by the contract of `TensorTable::call`, lists are alive and unchanged for the call.
    Ok(unsafe { lift(argument) }?)
}

extern "C" fn clone<S: TensorServer>(tensor: u64) -> RResult<u64, Failure> {
    guarded(|| S::clone(tensor)).into()
}

extern "C" fn drop_tensor<S: TensorServer>(tensor: u64) {
    // Nobody is left to hear of a failure.
    let _ = guarded(|| {
        S::drop(tensor);
        Ok(())
    });
}

extern "C" fn describe<S: TensorServer>(tensor: u64) -> RResult<Description, Failure> {
    guarded(|| S::describe(tensor)).into()
}

extern "C" fn from_bytes<S: TensorServer>(
    bytes: RSlice<'_, u8>,
    shape: RSlice<'_, i64>,
    dtype: i32,
) -> RResult<u64, Failure> {
    guarded(|| S::from_bytes(bytes.as_slice(), shape.as_slice(), dtype)).into()
}

extern "C" fn to_bytes<S: TensorServer>(tensor: u64) -> RResult<RVec<u8>, Failure> {
    guarded(|| S::to_bytes(tensor).map(RVec::from)).into()
}

extern "C" fn defaults<S: TensorServer>() -> Description {
    // The function has no way to fail: float32 on the CPU is what every host has.
    guarded(S::defaults).unwrap_or_else(|_| Description {
        shape: RVec::new(),
        dtype: 6,
        device_type: 0,
        device_index: -1,
    })
}
