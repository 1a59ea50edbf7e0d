//! Standard output: what was asked for, and nothing else.

use std::io::{self, Write};

use super::failure::Failure;

/// Writes text to standard output. A reader that has gone away (`| head`) is no error: nobody misses the rest.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Output(error)),
        _ => Ok(()),
    }
}
