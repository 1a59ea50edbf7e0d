//! Init schemes that a run would take, each with one defect that `lorahost plugin check` finds.

use std::sync::atomic::{AtomicUsize, Ordering};

use lorahost_plugin_api::Parameters;
use lorahost_plugin_api::manifest::Piece;
use lorahost_plugin_api::prelude::*;

/// A normal with the variance 1/`fan_in`, times `size`; B zero.
fn usual(layer: &Layer, ctx: &Context, size: f64) -> Result<Factors> {
    let a = ctx.randn("A", [layer.rank, layer.fan_in])? * (size / (layer.fan_in as f64).sqrt());
    let b = Tensor::zeros(&[layer.fan_out as i64, layer.rank as i64])?;
    Ok(Factors::new(a, b))
}

/// Multiplies by `fan_in` where it should divide by its root.
#[derive(Params)]
struct Wide;

impl InitScheme for Wide {
    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        usual(layer, ctx, (layer.fan_in as f64).powf(1.5))
    }
}

/// Counts its calls, in this component: a layer's factors depend on those before.
#[derive(Params)]
struct Counts {
    #[param(skip)]
    calls: AtomicUsize,
}

impl InitScheme for Counts {
    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed);
        usual(layer, ctx, 1.0 + calls as f64 / 100.0)
    }
}

/// Counts its calls in the whole process: no two are alike.
#[derive(Params)]
struct Moody;

impl InitScheme for Moody {
    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        let calls = CALLS.fetch_add(1, Ordering::Relaxed);
        usual(layer, ctx, 1.0 + calls as f64 / 1e6)
    }
}

/// Freezes B at zero.
#[derive(Params)]
struct Idle;

impl InitScheme for Idle {
    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        Ok(usual(layer, ctx, 1.0)?.freeze(Factor::B))
    }
}

/// Panics where the rank is odd.
#[derive(Params)]
struct Even;

impl InitScheme for Even {
    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        assert!(layer.rank.is_multiple_of(2), "rank {}", layer.rank);
        usual(layer, ctx, 1.0)
    }
}

/// Takes B off W with a scale so large that nothing of W is left in float32.
#[derive(Params)]
struct Swamps;

impl InitScheme for Swamps {
    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        let a = ctx.randn("A", [layer.rank, layer.fan_in])? / (layer.fan_in as f64).sqrt();
        let b = ctx.randn("B", [layer.fan_out, layer.rank])? * 1e6;
        Ok(Factors::new(a, b).compensate(true))
    }
}

/// Knows float32 alone.
#[derive(Params)]
struct Single;

impl InitScheme for Single {
    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        let factors = usual(layer, ctx, 1.0)?;
        let single = |tensor: &Tensor| tensor.to_kind(Kind::Float);
        Ok(Factors::new(single(factors.a())?, single(factors.b())?))
    }
}

/// Forgets a tensor in each call.
#[derive(Params)]
struct Keeps;

impl InitScheme for Keeps {
    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        std::mem::forget(Tensor::zeros(&[1])?);
        usual(layer, ctx, 1.0)
    }
}

/// Has a default beyond its own bound.
#[derive(Params)]
struct Beyond {
    /// At most 1, and 2.
    #[param(default = 2.0, max = 1.0)]
    size: f64,
}

impl InitScheme for Beyond {
    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        usual(layer, ctx, self.size)
    }
}

/// Has a choice that panics when it is read.
#[derive(Params)]
struct Trap {
    /// One of them is a trap.
    #[param(default = "sound")]
    door: Door,
}

struct Door;

impl Choice for Door {
    const NAMES: &'static str = r#"["sound","trap"]"#;

    fn from_name(name: &str) -> Option<Self> {
        assert!(name != "trap", "a trap");
        (name == "sound").then_some(Self)
    }
}

impl InitScheme for Trap {
    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        let Door = self.door;
        usual(layer, ctx, 1.0)
    }
}

/// Reads its parameter by itself, and takes what is no number for 1.
struct Lenient {
    size: f64,
}

impl Params for Lenient {
    const SUMMARY: &'static str = "Reads its parameter by itself.";
    const PARAMETERS: Piece = Piece::Text(r#"[{"name":"size","type":"float","default":1.0}]"#);

    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the type of the method is none of this crate's dependencies"
    )]
    fn from_parameters(parameters: &Parameters) -> Result<Self> {
        let size = parameters.get("size").and_then(|size| size.as_f64());
        Ok(Self {
            size: size.unwrap_or(1.0),
        })
    }
}

impl InitScheme for Lenient {
    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        usual(layer, ctx, self.size)
    }
}

/// Never comes back.
#[derive(Params)]
struct Hangs;

impl InitScheme for Hangs {
    fn init(&self, _layer: &Layer, _ctx: &Context) -> Result<Factors> {
        loop {
            std::thread::park();
        }
    }
}

export_plugin! {
    init "wide" => Wide,
    init "counts" => Counts,
    init "moody" => Moody,
    init "idle" => Idle,
    init "even" => Even,
    init "swamps" => Swamps,
    init "single" => Single,
    init "keeps" => Keeps,
    init "beyond" => Beyond,
    init "trap" => Trap,
    init "lenient" => Lenient,
    init "hangs" => Hangs,
}
