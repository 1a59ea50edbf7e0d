//! Init schemes that end the process, on the second layer.

#![expect(unsafe_code, reason = "it does what no plugin should do")]

use lorahost_plugin_api::prelude::*;

/// Aborts.
#[derive(Params)]
struct Aborts;

/// Exits as if all were well.
#[derive(Params)]
struct Exits;

/// Reads what is at no address.
#[derive(Params)]
struct Segfaults;

fn on_the_second_layer(layer: &Layer, ctx: &Context, end: fn() -> !) -> Result<Factors> {
    if layer.index == 1 {
        end();
    }
    let a = ctx.rand("A", [layer.rank, layer.fan_in])?;
    let b = Tensor::zeros(&[layer.fan_out as i64, layer.rank as i64])?;
    Ok(Factors::new(a, b))
}

impl InitScheme for Aborts {
    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        on_the_second_layer(layer, ctx, || std::process::abort())
    }
}

impl InitScheme for Exits {
    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        on_the_second_layer(layer, ctx, || std::process::exit(0))
    }
}

impl InitScheme for Segfaults {
    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        on_the_second_layer(layer, ctx, || {
            let nowhere = std::ptr::without_provenance::<u8>(8);
            // SAFETY: none, which is what it is for.
            let found = unsafe { nowhere.read_volatile() };
            unreachable!("address 8 holds {found}")
        })
    }
}

export_plugin! {
    init "aborts" => Aborts,
    init "exits" => Exits,
    init "segfaults" => Segfaults,
}
