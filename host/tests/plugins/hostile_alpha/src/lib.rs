//! Alpha policies that each do one thing wrong.

use lorahost_plugin_api::prelude::*;

/// An infinite scale.
#[derive(Params)]
struct Infinite;

impl AlphaPolicy for Infinite {
    fn scale(&self, _layer: &Layer) -> Result<Scale> {
        Ok(Scale::from(f64::INFINITY))
    }
}

/// A learning rate of B below 0.
#[derive(Params)]
struct Backwards;

impl AlphaPolicy for Backwards {
    fn scale(&self, _layer: &Layer) -> Result<Scale> {
        Ok(Scale {
            s: 1.0,
            lr_a: 1.0,
            lr_b: -1.0,
        })
    }
}

/// Panics with something that is no text.
#[derive(Params)]
struct Panics;

impl AlphaPolicy for Panics {
    fn scale(&self, _layer: &Layer) -> Result<Scale> {
        std::panic::panic_any(13_u8)
    }
}

/// Cannot do without extensions that no host has.
#[derive(Params)]
struct Telepathic;

impl AlphaPolicy for Telepathic {
    const REQUIRES: &'static [&'static str] = &[
        "lorahost.telepathy/1",
        "lorahost.tensor/1",
        "lorahost.divination/2",
    ];

    fn scale(&self, _layer: &Layer) -> Result<Scale> {
        Ok(Scale::from(1.0))
    }
}

export_plugin! {
    alpha "infinite" => Infinite,
    alpha "backwards" => Backwards,
    alpha "panics" => Panics,
    alpha "telepathic" => Telepathic,
}
