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

/// Seconds as a person says them, rounded: `50 s`, `12 min`, `3 h 20 min`, `2 d 4 h`.
pub fn duration(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match minutes {
        _ if seconds < 59.5 => format!("{:.0} s", seconds.max(1.0)),
        0..60 => format!("{minutes} min"),
        60..1440 => format!("{} h {} min", minutes / 60, minutes % 60),
        _ => format!("{} d {} h", minutes / 1440, minutes % 1440 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_are_rounded() {
        let shown = [0.2, 50.0, 59.9, 700.0, 12_000.0, 190_000.0].map(duration);
        assert_eq!(
            shown,
            ["1 s", "50 s", "1 min", "12 min", "3 h 20 min", "2 d 4 h"]
        );
    }
}
