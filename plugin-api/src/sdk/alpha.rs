//! Alpha policies: once a layer, the scale s in y = W x + s B A x.

use super::{Answer, Call, Error, Params, Result};
use crate::abi::Component;
use crate::manifest::Piece;
use crate::protocol::{AlphaReply, AlphaRequest, Layer};

/// How strongly the low-rank path counts.
pub trait AlphaPolicy: Params {
    /// Ids of host extensions that the policy cannot do without.
    const REQUIRES: &'static [&'static str] = &[];

    /// The scale of this layer; `layer.scale` is not known yet and 1.
    ///
    /// # Errors
    /// Whatever keeps the policy from a result; the run ends and names plugin and layer.
    fn scale(&self, layer: &Layer) -> Result<Scale>;
}

/// What an alpha policy gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// s in y = W x + s B A x.
    pub s: f64,
    /// Factor on the learning rate of A.
    pub lr_a: f64,
    /// Factor on the learning rate of B.
    pub lr_b: f64,
}

impl From<f64> for Scale {
    /// This scale, learning rates unchanged.
    fn from(s: f64) -> Self {
        Self {
            s,
            lr_a: 1.0,
            lr_b: 1.0,
        }
    }
}

/// The component of an [`AlphaPolicy`].
pub struct Alpha<T>(T);

impl<T> From<T> for Alpha<T> {
    fn from(policy: T) -> Self {
        Self(policy)
    }
}

impl<T: AlphaPolicy> Alpha<T> {
    pub const REQUIRES: &'static [&'static str] = T::REQUIRES;
    /// What the manifest says beside that of every kind.
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
