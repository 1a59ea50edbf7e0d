//! What a call may use besides tensors: named random streams, the layer's weight, the host's log.

use super::{Arg, Error, Operator, Result, Tensor, op};
use crate::abi;
use crate::protocol::Layer;

/// The context of a call.
///
/// A stream is named within the call: the host adds the run's seed, what the call is for and on which layer or step, so
/// equal names in other layers or steps are other streams. Drawing twice from one name continues the stream.
pub struct Context {
    _private: (),
}

impl Context {
    /// # Errors
    /// Outside of a host.
    pub(crate) fn new() -> Result<Self> {
        abi::connected().map(|_| Self { _private: () })
    }

    /// Standard normal values.
    ///
    /// # Errors
    /// When the shape does not fit in memory.
    pub fn randn<const N: usize>(&self, stream: &str, shape: [usize; N]) -> Result<Tensor> {
        self.draw(op("aten::randn.generator").arg(&signed(shape)), stream)
    }

    /// Uniform values in 0 <= x < 1.
    ///
    /// # Errors
    /// When the shape does not fit in memory.
    pub fn rand<const N: usize>(&self, stream: &str, shape: [usize; N]) -> Result<Tensor> {
        self.draw(op("aten::rand.generator").arg(&signed(shape)), stream)
    }

    /// Draws on the CPU, so that a seed means the same on every device.
    #[expect(clippy::unused_self, reason = "a context is the permission to draw")]
    fn draw(&self, operator: Operator<'_>, stream: &str) -> Result<Tensor> {
        operator
            .named("generator", Arg::Stream(stream))
            .named("dtype", Tensor::default_kind()?)
            .tensor()?
            .to_device(Tensor::default_device()?)
    }

    /// Integers in `low <= x < high`, int64.
    ///
    /// # Errors
    /// When the range is empty.
    pub fn randint<const N: usize>(
        &self,
        stream: &str,
        low: i64,
        high: i64,
        shape: [usize; N],
    ) -> Result<Tensor> {
        op("aten::randint.low_generator")
            .arg(low)
            .arg(high)
            .arg(&signed(shape))
            .named("generator", Arg::Stream(stream))
            .tensor()?
            .to_device(Tensor::default_device()?)
    }

    /// W `[fan_out, fan_in]` of the layer that is being initialised; needs [`abi::WEIGHT`] in `REQUIRES`.
    ///
    /// # Errors
    /// Outside of an init call.
    pub fn weight(&self) -> Result<Tensor> {
        Ok(Tensor::owned(abi::connected()?.weight()?.weight()?))
    }

    /// dL/dW `[fan_out, fan_in]` of a layer that gets factors, of the mean loss over the first `batches` training batches,
    /// without dropout; the model is as it came. Needs [`abi::GRADIENTS`] in `REQUIRES`.
    ///
    /// # Errors
    /// Outside of an init call, or when the loss has no gradient.
    pub fn gradient(&self, layer: &Layer, batches: u64) -> Result<Tensor> {
        let host = abi::connected()?.gradients()?;
        host.gradient(&layer.name, batches).map(Tensor::owned)
    }

    /// E[x x'] `[fan_in, fan_in]`, not centred, over what goes into a layer that gets factors in the first `batches`
    /// training batches, without dropout; the model is as it came. Needs [`abi::COVARIANCE`] in `REQUIRES`.
    ///
    /// # Errors
    /// Outside of an init call.
    pub fn covariance(&self, layer: &Layer, batches: u64) -> Result<Tensor> {
        let host = abi::connected()?.covariance()?;
        host.covariance(&layer.name, batches).map(Tensor::owned)
    }

    /// What `make` gives, made once for this component with these parameters on the same model, data, head, batch size
    /// and seeds, and kept on the disk for other ranks, runs and processes. So it may depend on all of these, but not on
    /// the layer's rank or scale. A host without [`abi::CACHE`] makes it each time.
    ///
    /// # Errors
    /// Those of `make`; a kept file that cannot be read is made anew.
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

    /// Shows a message at level `warn`.
    pub fn warn(&self, message: &str) {
        self.log(2, message);
    }

    /// Shows a message at level `info`.
    pub fn info(&self, message: &str) {
        self.log(3, message);
    }

    /// Shows a message at level `debug`.
    pub fn debug(&self, message: &str) {
        self.log(4, message);
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
