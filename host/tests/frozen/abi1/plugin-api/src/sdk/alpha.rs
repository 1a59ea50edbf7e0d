use super::{Answer, Call, Error, Params, Result};
use crate::abi::Component;
use crate::manifest::Piece;
use crate::protocol::{AlphaReply, AlphaRequest, Layer};

pub trait AlphaPolicy: Params {
    const REQUIRES: &'static [&'static str] = &[];

    fn scale(&self, layer: &Layer) -> Result<Scale>;
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    pub s: f64,
    pub lr_a: f64,
    pub lr_b: f64,
}

impl From<f64> for Scale {
    fn from(s: f64) -> Self {
        Self {
            s,
            lr_a: 1.0,
            lr_b: 1.0,
        }
    }
}

pub struct Alpha<T>(T);

impl<T> From<T> for Alpha<T> {
    fn from(policy: T) -> Self {
        Self(policy)
    }
}

impl<T: AlphaPolicy> Alpha<T> {
    pub const REQUIRES: &'static [&'static str] = T::REQUIRES;
    pub const MANIFEST: Piece = Piece::Many(&[]);
}

impl<T: AlphaPolicy> Component for Alpha<T> {
    fn invoke(&mut self, call: &Call<'_>) -> Result<Answer> {
        match call.method {
            "scale" => {
                let AlphaRequest { layer } = call.read()?;
                let Scale { s, lr_a, lr_b } = self.0.scale(&layer)?;
                Answer::new(
                    &AlphaReply {
                        scale: s,
                        lr_a,
                        lr_b,
                    },
                    vec![],
                )
            }
            other => Err(Error::unsupported(other)),
        }
    }
}
