//! An init scheme that takes memory until there is no more, and touches none of it: for processes with a limit on theirs.

use std::hint::black_box;

use lorahost_plugin_api::prelude::*;

/// Never has enough.
#[derive(Params)]
struct Hoards;

impl InitScheme for Hoards {
    fn init(&self, _layer: &Layer, _ctx: &Context) -> Result<Factors> {
        let mut hoard = Vec::new();
        loop {
            hoard.push(black_box(Vec::<u8>::with_capacity(64 << 20)));
        }
    }
}

export_plugin! { init "hoards" => Hoards }
