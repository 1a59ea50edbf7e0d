//! What a call may use besides tensors: named random streams, the layer's weight, the host's log.

use super::{Arg, Operator, Result, Tensor, op};
use crate::abi;

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
