//! An init scheme that writes to standard output, where worker and parent talk, and reads standard input.

use std::io::{Read, Write};

use lorahost_plugin_api::prelude::*;

/// A uniform between 0 and 1, B zero; noisily.
#[derive(Params)]
struct Prints;

impl InitScheme for Prints {
    #[expect(
        clippy::print_stdout,
        reason = "a plugin that does what it must not do"
    )]
    fn init(&self, layer: &Layer, ctx: &Context) -> Result<Factors> {
        println!("{{\"message\":\"finished\",\"content\":{{\"retires\":false}}}}");
        print!("no line end");
        let flushed = std::io::stdout().flush();
        let mut input = Vec::new();
        let read = std::io::stdin().read_to_end(&mut input);
        if flushed.is_err() || read.is_err() || !input.is_empty() {
            return Err(Error::new(
                "standard input and output are not what they were to be",
            ));
        }
        ctx.info("initialised");
        let a = ctx.rand("A", [layer.rank, layer.fan_in])?;
        let b = Tensor::zeros(&[layer.fan_out as i64, layer.rank as i64])?;
        Ok(Factors::new(a, b))
    }
}

export_plugin! { init "prints" => Prints }
