use super::{Arg, Error, Operator, Result, Tensor, op};
use crate::abi;
use crate::protocol::Layer;

pub struct Context {
    _private: (),
}

impl Context {
    pub(crate) fn new() -> Result<Self> {
        abi::connected().map(|_| Self { _private: () })
    }

    pub fn rand<const N: usize>(&self, stream: &str, shape: [usize; N]) -> Result<Tensor> {
        self.draw(op("aten::rand.generator").arg(&signed(shape)), stream)
    }

    #[expect(clippy::unused_self, reason = "a context is the permission to draw")]
    fn draw(&self, operator: Operator<'_>, stream: &str) -> Result<Tensor> {
        operator
            .named("generator", Arg::Stream(stream))
            .named("dtype", Tensor::default_kind()?)
            .tensor()?
            .to_device(Tensor::default_device()?)
    }

    pub fn weight(&self) -> Result<Tensor> {
        Ok(Tensor::owned(abi::connected()?.weight()?.weight()?))
    }

    pub fn gradient(&self, layer: &Layer, batches: u64) -> Result<Tensor> {
        let host = abi::connected()?.gradients()?;
        host.gradient(&layer.name, batches).map(Tensor::owned)
    }

    pub fn covariance(&self, layer: &Layer, batches: u64) -> Result<Tensor> {
        let host = abi::connected()?.covariance()?;
        host.covariance(&layer.name, batches).map(Tensor::owned)
    }

    pub fn cached<const N: usize>(
        &self,
        layer: &Layer,
        key: &str,
        make: impl FnOnce() -> Result<[Tensor; N]>,
    ) -> Result<[Tensor; N]> {
        let Some(cache) = abi::connected()?.cache() else {
            return make();
        };
        let owned = |handles: Vec<u64>| {
            let tensors: Vec<Tensor> = handles.into_iter().map(Tensor::owned).collect();
            <[Tensor; N]>::try_from(tensors)
        };
        if let Ok(kept) = owned(cache.load(&layer.name, key)?) {
            return Ok(kept);
        }
        let made = make()?;
        let handles: Vec<u64> = made.iter().map(Tensor::handle).collect();
        // What comes back is what another run will load, to the last stride.
        owned(cache.store(&layer.name, key, &handles)?)
            .map_err(|other| Error::new(format!("the cache gave {} tensors", other.len())))
    }

    pub fn info(&self, message: &str) {
        self.log(3, message);
    }

    #[expect(clippy::unused_self, reason = "a context is the permission to log")]
    fn log(&self, level: u32, message: &str) {
        if let Some(log) = abi::connected().ok().and_then(abi::Host::log) {
            log.log(level, message);
        }
    }
}

fn signed<const N: usize>(shape: [usize; N]) -> [i64; N] {
    // A size beyond i64 cannot be allocated: libtorch says so.
    shape.map(|size| i64::try_from(size).unwrap_or(i64::MAX))
}
