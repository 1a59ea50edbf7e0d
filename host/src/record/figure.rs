//! Numbers as text: as Python writes them, and in JSON, which has no NaN: there `null` reads back as NaN.
//!
//! Writing that `null` needs no help, since `serde_json` writes every number that is not finite so.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Deserializer};

/// Python's `str(float)`: the shortest digits that read back as the same number, with an exponent of two digits at
/// least below 1e-4 and from 1e16.
#[must_use]
pub fn python_float(value: f64) -> String {
    if !value.is_finite() {
        return format!("{value}").to_lowercase();
    }
    // Rust's `{:e}` gives the same shortest digits: `1.5e-5`.
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let mut plain = format!("{value}");
        if !plain.contains('.') {
            plain.push_str(".0");
        }
        return plain;
    }
    let mut text = digits.to_owned();
    let sign = if exponent < 0 { '-' } else { '+' };
    // Writing to a string cannot fail.
    let _ = write!(text, "e{sign}{:02}", exponent.abs());
    text
}

pub(super) fn one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Option::deserialize(deserializer).map(or_nan)
}

/// Of a field that may be absent: what is there is a number.
pub(super) fn present<'de, D>(deserializer: D) -> Result<Option<f64>, D::Error>
where
    D: Deserializer<'de>,
{
    one(deserializer).map(Some)
}

pub(super) fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    let figures = Vec::<Option<f64>>::deserialize(deserializer)?;
    Ok(figures.into_iter().map(or_nan).collect())
}

pub(super) fn by_name<'de, D>(deserializer: D) -> Result<BTreeMap<String, f64>, D::Error>
where
    D: Deserializer<'de>,
{
    let figures = BTreeMap::<String, Option<f64>>::deserialize(deserializer)?;
    Ok(figures
        .into_iter()
        .map(|(name, figure)| (name, or_nan(figure)))
        .collect())
}

fn or_nan(figure: Option<f64>) -> f64 {
    figure.unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_python_writes_them() {
        let expected = [
            (1e-5, "1e-05"),
            (1e-4, "0.0001"),
            (1.5e-4, "0.00015"),
            (1.5e-5, "1.5e-05"),
            (1e-3, "0.001"),
            (3e-4, "0.0003"),
            (0.1 + 0.2, "0.30000000000000004"),
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-2.5, "-2.5"),
            (1e15, "1000000000000000.0"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (1e16, "1e+16"),
            (1e22, "1e+22"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (f64::NAN, "nan"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (value, text) in expected {
            assert_eq!(python_float(value), text);
        }
    }
}
