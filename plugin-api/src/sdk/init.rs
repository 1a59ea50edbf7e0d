//! Init schemes: once a layer, A and B.

use super::{Answer, Call, Context, Error, Params, Result, Tensor};
use crate::abi::Component;
use crate::manifest::Piece;
use crate::protocol::{Factor, InitReply, InitRequest, Layer};

/// How A `[rank, fan_in]` and B `[fan_out, rank]` of a layer start.
///
/// Called once a layer, without gradients. Draw from the named streams of `ctx`: then the same seed gives the same
/// factors whatever else was initialised before.
pub trait InitScheme: Params {
    /// Ids of host extensions that the scheme cannot do without, such as [`crate::abi::WEIGHT`].
    const REQUIRES: &'static [&'static str] = &[];

    /// The factors of this layer.
    ///
    /// # Errors
    /// Whatever keeps the scheme from a result; the run ends and names plugin and layer.
    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors>;
}

/// What an init scheme gives.
#[derive(Debug)]
pub struct Factors {
    a: Tensor,
    b: Tensor,
    compensate: bool,
    frozen: Option<Factor>,
}

impl Factors {
    /// A `[rank, fan_in]` and B `[fan_out, rank]`, both trained, the base weight as it is.
    #[must_use]
    pub fn new(a: Tensor, b: Tensor) -> Self {
        Self {
            a,
            b,
            compensate: false,
            frozen: None,
        }
    }

    /// Whether the host keeps W - s B A as base, so that the model's function starts unchanged.
    #[must_use]
    pub fn compensate(mut self, compensate: bool) -> Self {
        self.compensate = compensate;
        self
    }

    /// Keeps one factor as it starts.
    #[must_use]
    pub fn freeze(mut self, factor: Factor) -> Self {
        self.frozen = Some(factor);
        self
    }

    /// What [`compensate`](Self::compensate) set.
    #[must_use]
    pub fn compensates(&self) -> bool {
        self.compensate
    }

    /// What [`freeze`](Self::freeze) set.
    #[must_use]
    pub fn frozen(&self) -> Option<Factor> {
        self.frozen
    }

    #[must_use]
    pub fn a(&self) -> &Tensor {
        &self.a
    }

    #[must_use]
    pub fn b(&self) -> &Tensor {
        &self.b
    }
}

/// The component of an [`InitScheme`].
pub struct Init<T>(T);

impl<T> From<T> for Init<T> {
    fn from(scheme: T) -> Self {
        Self(scheme)
    }
}

impl<T: InitScheme> Init<T> {
    pub const REQUIRES: &'static [&'static str] = T::REQUIRES;
    /// What the manifest says beside that of every kind.
    pub const MANIFEST: Piece = Piece::Many(&[]);
}

impl<T: InitScheme> Component for Init<T> {
    fn invoke(&mut self, call: &Call<'_>) -> Result<Answer> {
        match call.method {
            "init" => {
                let InitRequest { layer } = call.read()?;
                let factors = self.0.init(&layer, &Context::new()?)?;
                let reply = InitReply {
                    compensate: factors.compensate,
                    frozen: factors.frozen,
                };
                Answer::new(&reply, vec![factors.a, factors.b])
            }
            other => Err(Error::unsupported(other)),
        }
    }
}
