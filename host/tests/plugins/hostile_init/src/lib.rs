//! Init schemes that each do one thing wrong. All but `panics` do it on the first layer.

use lorahost_plugin_api::abi::{GRADIENTS, RANKS};
use lorahost_plugin_api::prelude::*;

/// What a scheme should answer.
fn sound(layer: &Layer, ctx: &Context) -> Result<Factors> {
    let a = ctx.randn("A", [layer.rank, layer.fan_in])? * 0.1;
    Ok(Factors::new(a, zeros(layer.fan_out, layer.rank)?))
}

fn zeros(rows: usize, columns: usize) -> Result<Tensor> {
    Tensor::zeros(&[rows as i64, columns as i64])
}

/// Panics on the fourth layer.
#[derive(Params)]
struct Panics;

impl InitScheme for Panics {
    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        assert!(layer.index < 3, "index {} is cursed", layer.index);
        sound(layer, ctx)
    }
}

/// Refuses, on two lines.
#[derive(Params)]
struct Refuses;

impl InitScheme for Refuses {
    fn init(&self, _layer: &Layer, _ctx: &Context) -> Result<Factors> {
        Err(Error::new("not today,\n  nor tomorrow").with_help("ask again next week"))
    }
}

/// A of shape `[fan_in, rank]`.
#[derive(Params)]
struct Transposed;

impl InitScheme for Transposed {
    fn init(&self, layer: &Layer, _ctx: &Context) -> Result<Factors> {
        let a = zeros(layer.fan_in, layer.rank)?;
        Ok(Factors::new(a, zeros(layer.fan_out, layer.rank)?))
    }
}

/// One NaN in B.
#[derive(Params)]
struct Nan;

impl InitScheme for Nan {
    fn init(&self, layer: &Layer, _ctx: &Context) -> Result<Factors> {
        let mut values = vec![0.0; layer.fan_out * layer.rank];
        values[1] = f64::NAN;
        let b = Tensor::from_f64(&values, &[layer.fan_out as i64, layer.rank as i64])?;
        Ok(Factors::new(zeros(layer.rank, layer.fan_in)?, b))
    }
}

/// A in double precision.
#[derive(Params)]
struct Double;

impl InitScheme for Double {
    fn init(&self, layer: &Layer, _ctx: &Context) -> Result<Factors> {
        let a = zeros(layer.rank, layer.fan_in)?.to_kind(Kind::Double)?;
        Ok(Factors::new(a, zeros(layer.fan_out, layer.rank)?))
    }
}

/// Calls an operator that libtorch does not have.
#[derive(Params)]
struct UnknownOperator;

impl InitScheme for UnknownOperator {
    fn init(&self, layer: &Layer, _ctx: &Context) -> Result<Factors> {
        let a = op("aten::telepathy").arg(&[1, 2]).tensor()?;
        Ok(Factors::new(a, zeros(layer.fan_out, layer.rank)?))
    }
}

/// Multiplies what does not fit, by an operator that has no `Result`.
#[derive(Params)]
struct BadShapes;

impl InitScheme for BadShapes {
    fn init(&self, _layer: &Layer, _ctx: &Context) -> Result<Factors> {
        let (a, b) = (zeros(2, 3)?, zeros(4, 5)?);
        let sum = &a + &b;
        Ok(Factors::new(sum, b))
    }
}

/// Draws A without naming a stream.
#[derive(Params)]
struct Unseeded;

impl InitScheme for Unseeded {
    fn init(&self, layer: &Layer, _ctx: &Context) -> Result<Factors> {
        let shape = [layer.rank as i64, layer.fan_in as i64];
        let a = op("aten::randn").arg(&shape).tensor()?;
        Ok(Factors::new(a, zeros(layer.fan_out, layer.rank)?))
    }
}

/// Draws within an operator that takes no generator.
#[derive(Params)]
struct Dropout;

impl InitScheme for Dropout {
    fn init(&self, layer: &Layer, _ctx: &Context) -> Result<Factors> {
        let a = zeros(layer.rank, layer.fan_in)?;
        let a = op("aten::dropout").arg(&a).arg(0.5).arg(true).tensor()?;
        Ok(Factors::new(a, zeros(layer.fan_out, layer.rank)?))
    }
}

/// A sparse A.
#[derive(Params)]
struct Sparse;

impl InitScheme for Sparse {
    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        let a = ctx.randn("A", [layer.rank, layer.fan_in])?;
        let a = op("aten::to_sparse").arg(&a).tensor()?;
        Ok(Factors::new(a, zeros(layer.fan_out, layer.rank)?))
    }
}

/// A complex B.
#[derive(Params)]
struct Complex;

impl InitScheme for Complex {
    fn init(&self, layer: &Layer, _ctx: &Context) -> Result<Factors> {
        let b = zeros(layer.fan_out, layer.rank)?;
        let b = op("aten::complex").arg(&b).arg(&b).tensor()?;
        Ok(Factors::new(zeros(layer.rank, layer.fan_in)?, b))
    }
}

/// Writes into W; what it gets is a copy, so nothing happens.
#[derive(Params)]
struct Scribbles;

impl InitScheme for Scribbles {
    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        ctx.weight()?.fill_(13.0)?;
        sound(layer, ctx)
    }
}

/// Says nothing good of its own parameter.
#[derive(Params)]
struct BadParameter {
    /// Its default panics when it is read.
    #[param(default = "boom")]
    fuse: Fuse,
}

/// A choice that the manifest allows and the code does not expect.
struct Fuse;

impl Choice for Fuse {
    const NAMES: &'static str = r#"["boom","fizzle"]"#;

    fn from_name(name: &str) -> Option<Self> {
        assert!(name != "boom", "boom");
        None
    }
}

impl InitScheme for BadParameter {
    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        let Fuse = self.fuse;
        sound(layer, ctx)
    }
}

/// Asks for more memory than any machine has.
#[derive(Params)]
struct Greedy;

impl InitScheme for Greedy {
    fn init(&self, layer: &Layer, _ctx: &Context) -> Result<Factors> {
        let a = Tensor::zeros(&[1 << 50])?;
        Ok(Factors::new(a, zeros(layer.fan_out, layer.rank)?))
    }
}

/// Refuses in words that clear the screen and ring.
#[derive(Params)]
struct Rings;

impl InitScheme for Rings {
    fn init(&self, _layer: &Layer, _ctx: &Context) -> Result<Factors> {
        Err(Error::new("\u{1b}[2Jnothing\rhappened\u{7}"))
    }
}

/// One rank for all layers.
#[derive(Params)]
struct TooFewRanks;

impl InitScheme for TooFewRanks {
    const REQUIRES: &'static [&'static str] = &[RANKS];

    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        sound(layer, ctx)
    }

    fn ranks(&self, _layers: &[Layer], _ctx: &Context) -> Result<Option<Vec<usize>>> {
        Ok(Some(vec![4]))
    }
}

/// No layer is to have factors.
#[derive(Params)]
struct NoRanks;

impl InitScheme for NoRanks {
    const REQUIRES: &'static [&'static str] = &[RANKS];

    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        sound(layer, ctx)
    }

    fn ranks(&self, layers: &[Layer], _ctx: &Context) -> Result<Option<Vec<usize>>> {
        Ok(Some(vec![0; layers.len()]))
    }
}

/// Asks for the gradient of another layer, which the model has not.
#[derive(Params)]
struct Elsewhere;

impl InitScheme for Elsewhere {
    const REQUIRES: &'static [&'static str] = &[GRADIENTS];

    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        let other = Layer {
            name: "elsewhere".to_owned(),
            ..layer.clone()
        };
        ctx.gradient(&other, 1)?;
        sound(layer, ctx)
    }
}

/// Asks for the mean gradient of no batches.
#[derive(Params)]
struct NoBatches;

impl InitScheme for NoBatches {
    const REQUIRES: &'static [&'static str] = &[GRADIENTS];

    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        ctx.gradient(layer, 0)?;
        sound(layer, ctx)
    }
}

export_plugin! {
    init "too-few-ranks" => TooFewRanks,
    init "no-ranks" => NoRanks,
    init "elsewhere" => Elsewhere,
    init "no-batches" => NoBatches,
    init "panics" => Panics,
    init "refuses" => Refuses,
    init "transposed" => Transposed,
    init "nan" => Nan,
    init "double" => Double,
    init "unknown-operator" => UnknownOperator,
    init "bad-shapes" => BadShapes,
    init "unseeded" => Unseeded,
    init "dropout" => Dropout,
    init "sparse" => Sparse,
    init "complex" => Complex,
    init "scribbles" => Scribbles,
    init "bad-parameter" => BadParameter,
    init "greedy" => Greedy,
    init "rings" => Rings,
}
