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

/// The variable that says which GPUs a process sees: numbers or ids, between commas.
pub const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";

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

/// The device that a spec's word means on this machine; the first GPU where it means each.
///
/// # Errors
/// When CUDA is asked for by name and is not there; `auto` falls back to the CPU.
pub fn resolve(device: spec::Device) -> Result<Device, DeviceError> {
    match device {
        spec::Device::Cpu => Ok(Device::Cpu),
        spec::Device::Auto => Ok(cuda(0).unwrap_or(Device::Cpu)),
        spec::Device::Cuda(index) => cuda(index.unwrap_or(0)),
    }
}

/// The GPUs over which worker processes are spread, each by the value of `CUDA_VISIBLE_DEVICES` that leaves a process
/// it alone. None where the word means the CPU or a certain GPU.
#[must_use]
pub fn gpus(device: spec::Device) -> Vec<String> {
    let each = matches!(device, spec::Device::Auto | spec::Device::Cuda(None));
    if !each || load_cuda().is_err() {
        return Vec::new();
    }
    let count = usize::try_from(Cuda::device_count()).unwrap_or(0);
    visible(std::env::var(VISIBLE).ok().as_deref(), count)
}

/// What `CUDA_VISIBLE_DEVICES` must be for each of `count` GPUs alone, where it is `now`.
fn visible(now: Option<&str>, count: usize) -> Vec<String> {
    match now {
        Some(list) => list
            .split(',')
            .take(count)
            .map(|gpu| gpu.trim().to_owned())
            .collect(),
        None => (0..count).map(|index| index.to_string()).collect(),
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
#[expect(unsafe_code, reason = "a library is opened")]
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

#[cfg(test)]
mod tests {
    use super::visible;

    #[test]
    fn a_process_sees_a_gpu_that_its_parent_sees() {
        assert_eq!(visible(None, 3), ["0", "1", "2"]);
        assert_eq!(visible(Some("4, GPU-8932f937"), 2), ["4", "GPU-8932f937"]);
        // From the first that is not there on, CUDA sees none.
        assert_eq!(visible(Some("1,-1,2"), 1), ["1"]);
        assert!(visible(Some(""), 0).is_empty());
    }
}
