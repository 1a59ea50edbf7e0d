use std::ffi::c_void;
use std::sync::OnceLock;

use abi_stable::std_types::{RResult, RSlice, RStr};

use super::tables::{
    AUTOGRAD, Argument, AutogradTable, CACHE, COVARIANCE, CacheTable, CovarianceTable, Description,
    Failure, GRADIENTS, GradientTable, HEAD, HeadTable, HostTable, LOG, LogTable, Named, Output,
    TENSOR, TensorTable, WEIGHT, WeightTable, table,
};
use crate::sdk::{Error, Result};

#[derive(Clone, Copy)]
pub struct Host {
    tensor: &'static TensorTable,
    log: Option<&'static LogTable>,
    weight: Option<&'static WeightTable>,
    head: Option<&'static HeadTable>,
    autograd: Option<&'static AutogradTable>,
    gradients: Option<&'static GradientTable>,
    covariance: Option<&'static CovarianceTable>,
    cache: Option<&'static CacheTable>,
}

static HOST: OnceLock<Host> = OnceLock::new();

pub(super) unsafe fn connect(host: *const c_void) -> Result<()> {
    if HOST.get().is_some() {
        return Ok(());
    }
    // SAFETY: by this function's own contract.
    match unsafe { table::<HostTable>(host) } {
        Some(host) => connect_static(host),
        None => Err(Error::new("the host passed no table")),
    }
}

pub fn connect_static(host: &'static HostTable) -> Result<()> {
    if HOST.get().is_none() {
        let _ = HOST.set(Host::new(host)?);
    }
    Ok(())
}

pub fn connected() -> Result<Host> {
    HOST.get().copied().ok_or_else(|| {
        Error::new("no host: tensors exist within calls of lorahost only")
            .with_help("in a unit test, call lorahost_plugin_api::testing::install() first")
    })
}

impl Host {
    fn new(host: &'static HostTable) -> Result<Self> {
        let find = |id: &str| (host.extension)(RStr::from_str(id));
        // SAFETY: the id of a table names its type, and a host's tables live as long as the process.
        let tables = unsafe {
            (
                table(find(TENSOR)),
                table(find(LOG)),
                table(find(WEIGHT)),
                table(find(HEAD)),
                table(find(AUTOGRAD)),
            )
        };
        let (tensor, log, weight, head, autograd) = tables;
        // SAFETY: as above.
        let (gradients, covariance, cache) = unsafe {
            (
                table(find(GRADIENTS)),
                table(find(COVARIANCE)),
                table(find(CACHE)),
            )
        };
        Ok(Self {
            tensor: tensor.ok_or_else(|| Error::new(format!("the host has no {TENSOR}")))?,
            log,
            weight,
            head,
            autograd,
            gradients,
            covariance,
            cache,
        })
    }

    #[must_use]
    pub fn tensor(self) -> TensorHost {
        TensorHost(self.tensor)
    }

    #[must_use]
    pub fn log(self) -> Option<LogHost> {
        self.log.map(LogHost)
    }

    pub fn weight(self) -> Result<WeightHost> {
        self.weight.map(WeightHost).ok_or_else(|| missing(WEIGHT))
    }

    pub fn head(self) -> Result<HeadHost> {
        self.head.map(HeadHost).ok_or_else(|| missing(HEAD))
    }

    pub fn autograd(self) -> Result<AutogradHost> {
        self.autograd
            .map(AutogradHost)
            .ok_or_else(|| missing(AUTOGRAD))
    }

    pub fn gradients(self) -> Result<GradientHost> {
        self.gradients
            .map(GradientHost)
            .ok_or_else(|| missing(GRADIENTS))
    }

    pub fn covariance(self) -> Result<CovarianceHost> {
        self.covariance
            .map(CovarianceHost)
            .ok_or_else(|| missing(COVARIANCE))
    }

    #[must_use]
    pub fn cache(self) -> Option<CacheHost> {
        self.cache.map(CacheHost)
    }
}

fn missing(id: &str) -> Error {
    Error::new(format!("this host has no extension {id}"))
        .with_help("name it in REQUIRES, so that it is checked first")
}

fn result<T>(result: RResult<T, Failure>) -> Result<T> {
    result
        .into_result()
        .map_err(|failure| Error::new(failure.message.as_str()))
}

#[derive(Clone, Copy)]
pub struct TensorHost(&'static TensorTable);

impl TensorHost {
    pub(crate) fn resolve(self, name: &str, overload: &str) -> Result<u64> {
        result((self.0.resolve)(
            RStr::from_str(name),
            RStr::from_str(overload),
        ))
    }

    pub(crate) fn call(
        self,
        operator: u64,
        arguments: &[Argument],
        named: &[Named<'_>],
    ) -> Result<Vec<Output>> {
        result((self.0.call)(
            operator,
            RSlice::from_slice(arguments),
            RSlice::from_slice(named),
        ))
        .map(Into::into)
    }

    pub(crate) fn clone_handle(self, tensor: u64) -> Result<u64> {
        result((self.0.clone)(tensor))
    }

    pub(crate) fn drop_handle(self, tensor: u64) {
        (self.0.drop)(tensor);
    }

    pub(crate) fn describe(self, tensor: u64) -> Result<Description> {
        result((self.0.describe)(tensor))
    }

    pub(crate) fn put_bytes(self, bytes: &[u8], shape: &[i64], dtype: i32) -> Result<u64> {
        result((self.0.from_bytes)(
            RSlice::from_slice(bytes),
            RSlice::from_slice(shape),
            dtype,
        ))
    }

    pub(crate) fn to_bytes(self, tensor: u64) -> Result<Vec<u8>> {
        result((self.0.to_bytes)(tensor)).map(Into::into)
    }

    pub(crate) fn defaults(self) -> Description {
        (self.0.defaults)()
    }
}

#[derive(Clone, Copy)]
pub struct LogHost(&'static LogTable);

impl LogHost {
    pub(crate) fn log(self, level: u32, message: &str) {
        (self.0.log)(level, RStr::from_str(message));
    }

    pub(crate) fn warn(self, message: &str) {
        self.log(2, message);
    }
}

#[derive(Clone, Copy)]
pub struct WeightHost(&'static WeightTable);

impl WeightHost {
    pub(crate) fn weight(self) -> Result<u64> {
        result((self.0.weight)())
    }
}

#[derive(Clone, Copy)]
pub struct HeadHost(&'static HeadTable);

impl HeadHost {
    pub(crate) fn layer(self, name: &str, x: u64) -> Result<u64> {
        result((self.0.layer)(RStr::from_str(name), x))
    }

    pub(crate) fn dropout(self, x: u64, p: f64) -> Result<u64> {
        result((self.0.dropout)(x, p))
    }

    pub(crate) fn parameters(self, name: &str) -> Result<Vec<u64>> {
        result((self.0.parameters)(RStr::from_str(name))).map(Into::into)
    }
}

#[derive(Clone, Copy)]
pub struct AutogradHost(&'static AutogradTable);

impl AutogradHost {
    pub(crate) fn grad(self, outputs: &[u64], inputs: &[u64]) -> Result<Vec<u64>> {
        let (outputs, inputs) = (RSlice::from_slice(outputs), RSlice::from_slice(inputs));
        result((self.0.grad)(outputs, inputs)).map(Into::into)
    }

    pub(crate) fn with_gradients(self, loss: u64, inputs: &[u64], grads: &[u64]) -> Result<u64> {
        let (inputs, grads) = (RSlice::from_slice(inputs), RSlice::from_slice(grads));
        result((self.0.with_gradients)(loss, inputs, grads))
    }
}

#[derive(Clone, Copy)]
pub struct GradientHost(&'static GradientTable);

impl GradientHost {
    pub(crate) fn gradient(self, layer: &str, batches: u64) -> Result<u64> {
        result((self.0.gradient)(RStr::from_str(layer), batches))
    }
}

#[derive(Clone, Copy)]
pub struct CovarianceHost(&'static CovarianceTable);

impl CovarianceHost {
    pub(crate) fn covariance(self, layer: &str, batches: u64) -> Result<u64> {
        result((self.0.covariance)(RStr::from_str(layer), batches))
    }
}

#[derive(Clone, Copy)]
pub struct CacheHost(&'static CacheTable);

impl CacheHost {
    pub(crate) fn load(self, layer: &str, key: &str) -> Result<Vec<u64>> {
        result((self.0.load)(RStr::from_str(layer), RStr::from_str(key))).map(Into::into)
    }

    pub(crate) fn store(self, layer: &str, key: &str, tensors: &[u64]) -> Result<Vec<u64>> {
        let (layer, key) = (RStr::from_str(layer), RStr::from_str(key));
        result((self.0.store)(layer, key, RSlice::from_slice(tensors))).map(Into::into)
    }
}
