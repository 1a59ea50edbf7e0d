//! Standard output: what was asked for, and nothing else.

use std::io::{self, Write};

use super::failure::Failure;

/// Writes text to standard output. A reader that has gone away (`| head`) is no error: nobody misses the rest.
pub fn print(text: &str) -> Result<(), Failure> {
    offer(text).map(|_| ())
}

/// As [`print`]; whether there is still a reader.
pub fn offer(text: &str) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::Output(error)),
    }
}

/// Rows as columns that are as wide as they need to be.
pub fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    });
    let line = |row: &[String; N]| {
        let cells = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}
