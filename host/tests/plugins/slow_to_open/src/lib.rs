//! A plugin that works when its file is opened: whoever only wants to know what it has waits for it.

#![expect(unsafe_code, reason = "it goes around the SDK")]

use std::thread;
use std::time::Duration;

use lorahost_plugin_api::prelude::*;

/// s = 1.
#[derive(Params)]
struct Late;

impl AlphaPolicy for Late {
    fn scale(&self, _layer: &Layer) -> Result<Scale> {
        Ok(Scale::from(1.0))
    }
}

extern "C" fn work() {
    thread::sleep(Duration::from_millis(1500));
}

/// What the loader calls.
#[used]
#[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".init_array"))]
#[cfg_attr(
    target_vendor = "apple",
    unsafe(link_section = "__DATA,__mod_init_func")
)]
static AT_LOAD: extern "C" fn() = work;

export_plugin! { alpha "late" => Late }
