//! The program: arguments, one call, an exit code.

use std::process::ExitCode;

use clap::Parser;
use lorahost::cli;
use mimalloc::MiMalloc;

/// Also libtorch's: `override` puts it in malloc's place. Batches of ever other sizes leave the system's allocator with
/// twice the memory that is in use.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    cli::run(&cli::args::Cli::parse()).into()
}
