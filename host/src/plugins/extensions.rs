//! What the host lends to init schemes beyond tensors: measurements of the layers, and a cache on the disk.

use std::ffi::c_void;
use std::rc::Rc;

use abi_stable::std_types::{RResult, RSlice, RStr, RVec};
use lorahost_plugin_api::abi::{
    CACHE, COVARIANCE, CacheTable, CovarianceTable, Failure, GRADIENTS, GradientTable, RANKS,
    RanksTable, answered,
};
use lorahost_plugin_api::sdk::{Error, Result};
use tch::Tensor;

use super::{TensorCache, handles, scope};

/// What is measured of the layers that get factors, before any has some.
pub trait Measure {
    /// dL/dW `[fan_out, fan_in]` of the mean loss over the first `batches` training batches.
    ///
    /// # Errors
    /// When there is no such layer, or the loss fails.
    fn gradient(&self, layer: &str, batches: u64) -> Result<Tensor>;

    /// E[x x'] `[fan_in, fan_in]` over the layer's inputs in the first `batches` training batches.
    ///
    /// # Errors
    /// When there is no such layer, or the forward pass fails.
    fn covariance(&self, layer: &str, batches: u64) -> Result<Tensor>;
}

/// Lent to an init scheme for each of its calls.
#[derive(Clone)]
pub struct InitAccess {
    pub measure: Rc<dyn Measure>,
    pub cache: Rc<TensorCache>,
}

/// Ids of what [`table`] answers.
pub const INIT_EXTENSIONS: [&str; 4] = [GRADIENTS, COVARIANCE, RANKS, CACHE];

/// The table of this id; null if it is none of [`INIT_EXTENSIONS`].
pub fn table(id: &str) -> *const c_void {
    static GRADIENT: GradientTable = GradientTable {
        size: size_of::<GradientTable>(),
        gradient,
    };
    static COVARIANCES: CovarianceTable = CovarianceTable {
        size: size_of::<CovarianceTable>(),
        covariance,
    };
    static RANK: RanksTable = RanksTable {
        size: size_of::<RanksTable>(),
    };
    static KEPT: CacheTable = CacheTable {
        size: size_of::<CacheTable>(),
        load,
        store,
    };
    match id {
        GRADIENTS => std::ptr::from_ref(&GRADIENT).cast(),
        COVARIANCE => std::ptr::from_ref(&COVARIANCES).cast(),
        RANKS => std::ptr::from_ref(&RANK).cast(),
        CACHE => std::ptr::from_ref(&KEPT).cast(),
        _ => std::ptr::null(),
    }
}

extern "C" fn gradient(layer: RStr<'_>, batches: u64) -> RResult<u64, Failure> {
    answered(|| {
        let measure = scope::init()?.measure;
        measure.gradient(&layer, batches).map(handles::insert)
    })
}

extern "C" fn covariance(layer: RStr<'_>, batches: u64) -> RResult<u64, Failure> {
    answered(|| {
        let measure = scope::init()?.measure;
        measure.covariance(&layer, batches).map(handles::insert)
    })
}

extern "C" fn load(layer: RStr<'_>, key: RStr<'_>) -> RResult<RVec<u64>, Failure> {
    answered(|| {
        let kept = scope::init()?.cache.load(&layer, &key);
        given(&kept.unwrap_or_default())
    })
}

extern "C" fn store(
    layer: RStr<'_>,
    key: RStr<'_>,
    tensors: RSlice<'_, u64>,
) -> RResult<RVec<u64>, Failure> {
    answered(|| {
        let cache = scope::init()?.cache;
        let tensors: Vec<Tensor> = tensors
            .iter()
            .map(|&handle| Ok(handles::get(handle)?.shallow_clone()))
            .collect::<Result<_>>()?;
        let unkept = |error: &dyn std::fmt::Display| {
            Error::new(format!("the cache cannot keep `{key}`: {error}"))
        };
        cache
            .store(&layer, &key, &tensors)
            .map_err(|error| unkept(&error))?;
        let kept = cache.load(&layer, &key);
        given(&kept.ok_or_else(|| unkept(&"what was written cannot be read"))?)
    })
}

/// Handles of tensors on the run's device.
fn given(tensors: &[Tensor]) -> Result<RVec<u64>> {
    let (_, device) = scope::defaults();
    let moved = tensors
        .iter()
        .map(|tensor| tensor.f_to_device(device))
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|error| Error::new(error.to_string()))?;
    Ok(moved.into_iter().map(handles::insert).collect())
}
