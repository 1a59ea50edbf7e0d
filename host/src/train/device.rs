//! Where a run computes. The binary links the CPU half of libtorch; the CUDA half is opened when it is asked for.

use std::path::PathBuf;
use std::sync::OnceLock;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use tch::{Cuda, Device};
use thiserror::Error;

use crate::plugins::with_causes;
use crate::spec;

/// The half of libtorch that knows CUDA.
const CUDA_LIBRARY: &str = "libtorch_cuda.so";

/// The folder of libtorch that this program was linked with.
const LINKED: &str = env!("LORAHOST_LIBTORCH");

/// Why a device cannot be used.
#[derive(Debug, Clone, Error)]
pub enum DeviceError {
    #[error(
        "--device cuda needs {CUDA_LIBRARY}, which was looked for in LD_LIBRARY_PATH ({path}) and in \
         {linked}: run `scripts/setup cuda`, or use --device cpu"
    )]
    NoLibrary { path: String, linked: &'static str },

    #[error("{} cannot be opened: {reason}", file.display())]
    Unloadable { file: PathBuf, reason: String },

    #[error("{CUDA_LIBRARY} is there, but it finds no GPU: is the driver installed?")]
    NoGpu,

    #[error("there is no GPU {index}: the machine has {count}")]
    NoSuchGpu { index: usize, count: i64 },
}

/// The device that a spec's word means on this machine.
///
/// # Errors
/// When CUDA is asked for by name and is not there; `auto` falls back to the CPU.
pub fn resolve(device: spec::Device) -> Result<Device, DeviceError> {
    match device {
        spec::Device::Cpu => Ok(Device::Cpu),
        spec::Device::Auto => Ok(cuda(0).unwrap_or(Device::Cpu)),
        spec::Device::Cuda(index) => cuda(index),
    }
}

fn cuda(index: usize) -> Result<Device, DeviceError> {
    load_cuda()?;
    if !Cuda::is_available() {
        return Err(DeviceError::NoGpu);
    }
    let count = Cuda::device_count();
    if i64::try_from(index).is_ok_and(|index| index < count) {
        Ok(Device::Cuda(index))
    } else {
        Err(DeviceError::NoSuchGpu { index, count })
    }
}

/// Opens the CUDA half once; libtorch finds it by its registrations.
fn load_cuda() -> Result<(), DeviceError> {
    static LOADED: OnceLock<Result<(), DeviceError>> = OnceLock::new();
    let load = || {
        // SAFETY: opening libtorch's own library runs its initialisers, which register the CUDA kernels.
        match unsafe { Library::open(Some(CUDA_LIBRARY), RTLD_NOW | RTLD_GLOBAL) } {
            Ok(library) => {
                std::mem::forget(library);
                Ok(())
            }
            Err(error) => Err(unopened(&error)),
        }
    };
    LOADED.get_or_init(load).clone()
}

/// Why the library did not open: it is nowhere, or the loader does not like what is there.
fn unopened(error: &libloading::Error) -> DeviceError {
    let listed = std::env::var_os("LD_LIBRARY_PATH");
    let folders = listed.iter().flat_map(std::env::split_paths);
    let file = folders
        .chain([PathBuf::from(LINKED)])
        .map(|folder| folder.join(CUDA_LIBRARY))
        .find(|file| file.exists());
    match file {
        Some(file) => DeviceError::Unloadable {
            file,
            reason: with_causes(error),
        },
        None => DeviceError::NoLibrary {
            path: listed.map_or_else(
                || "not set".to_owned(),
                |path| path.to_string_lossy().into_owned(),
            ),
            linked: LINKED,
        },
    }
}
