//! Init schemes: once a layer, A and B.

use super::{Answer, Call, Context, Error, Params, Result, Tensor, cat};
use crate::abi::Component;
use crate::manifest::Piece;
use crate::protocol::{Factor, InitReply, InitRequest, Layer, RanksReply, RanksRequest};

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

    /// The ranks of all layers, in their order: 0 leaves a layer without factors, `None` all of them as they are. Called
    /// once before everything else if [`crate::abi::RANKS`] is in `REQUIRES`; scales are not known yet and 1.
    ///
    /// # Errors
    /// As [`init`](Self::init).
    fn ranks(&self, _layers: &[Layer], _ctx: &Context) -> Result<Option<Vec<usize>>> {
        Ok(None)
    }
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

    /// Each factor gets the root of the singular values `s` `[k]`: B = U diag(sqrt S), A = diag(sqrt S) V', so that
    /// B A = U S V' with U `[fan_out, k]` and V' `[k, fan_in]`.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn balanced(u: &Tensor, s: &Tensor, vt: &Tensor) -> Result<Self> {
        let roots = s.sqrt()?;
        let a = vt.mul_tensor(&roots.unsqueeze(1)?)?;
        Ok(Self::new(a, u.mul_tensor(&roots)?))
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

    /// Fills the factors up to the layer's rank: A with rows that are uniform within `1/sqrt(fan_in)`, B with zeros, so
    /// that the product stays what it is; the log tells. For schemes that need more directions than the layer has.
    ///
    /// # Errors
    /// When A and B are no matrices.
    pub fn padded(mut self, layer: &Layer, ctx: &Context) -> Result<Self> {
        let missing = |found: Option<&i64>| {
            let found = found.map_or(0, |&found| usize::try_from(found).unwrap_or(0));
            layer.rank.saturating_sub(found)
        };
        let rows = missing(self.a.shape()?.first());
        let columns = missing(self.b.shape()?.get(1));
        if rows > 0 {
            let bound = 1.0 / (layer.fan_in as f64).sqrt();
            let uniform = ctx.rand("padding", [rows, layer.fan_in])? * (2.0 * bound) - bound;
            self.a = cat(&[&self.a, &uniform], 0)?;
        }
        if columns > 0 {
            let zeros = Tensor::zeros(&[layer.fan_out as i64, columns as i64])?;
            self.b = cat(&[&self.b, &zeros], 1)?;
        }
        if rows > 0 || columns > 0 {
            ctx.info(&format!(
                "`{}` has too few directions for rank {}: {rows} rows of A are drawn uniformly, {columns} columns of B \
                 are zero",
                layer.name, layer.rank
            ));
        }
        Ok(self)
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

impl Layer {
    /// The scale s, for schemes that divide by it or take its root.
    ///
    /// # Errors
    /// When it is not above 0.
    pub fn positive_scale(&self) -> Result<f64> {
        if self.scale > 0.0 {
            return Ok(self.scale);
        }
        Err(
            Error::new(format!("the scale is {}, not above 0", self.scale))
                .with_help("this scheme needs an alpha policy that gives a scale above 0"),
        )
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
            "ranks" => {
                let RanksRequest { layers } = call.read()?;
                let ranks = self.0.ranks(&layers, &Context::new()?)?;
                Answer::new(&RanksReply { ranks }, vec![])
            }
            other => Err(Error::unsupported(other)),
        }
    }
}
