use super::{Answer, Call, Context, Error, Params, Result, Tensor};
use crate::abi::Component;
use crate::manifest::Piece;
use crate::protocol::{Factor, InitReply, InitRequest, Layer, RanksReply, RanksRequest};

pub trait InitScheme: Params {
    const REQUIRES: &'static [&'static str] = &[];

    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors>;

    fn ranks(&self, _layers: &[Layer], _ctx: &Context) -> Result<Option<Vec<usize>>> {
        Ok(None)
    }
}

#[derive(Debug)]
pub struct Factors {
    a: Tensor,
    b: Tensor,
    compensate: bool,
    frozen: Option<Factor>,
}

impl Factors {
    #[must_use]
    pub fn new(a: Tensor, b: Tensor) -> Self {
        Self {
            a,
            b,
            compensate: false,
            frozen: None,
        }
    }

    #[must_use]
    pub fn compensate(mut self, compensate: bool) -> Self {
        self.compensate = compensate;
        self
    }

    #[must_use]
    pub fn freeze(mut self, factor: Factor) -> Self {
        self.frozen = Some(factor);
        self
    }

    #[must_use]
    pub fn compensates(&self) -> bool {
        self.compensate
    }

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

pub struct Init<T>(T);

impl<T> From<T> for Init<T> {
    fn from(scheme: T) -> Self {
        Self(scheme)
    }
}

impl<T: InitScheme> Init<T> {
    pub const REQUIRES: &'static [&'static str] = T::REQUIRES;
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
            "ranks" => {
                let RanksRequest { layers } = call.read()?;
                let ranks = self.0.ranks(&layers, &Context::new()?)?;
                Answer::new(&RanksReply { ranks }, vec![])
            }
            other => Err(Error::unsupported(other)),
        }
    }
}
