//! Series of numbers by name, where a list of numbers may stand: `logspace(1e-5, 1e-2, 7)`.

use super::value::Value;
use crate::nearest::nearest;

/// The series that there are, as messages show them.
pub(crate) const FORMS: [&str; 3] = [
    "logspace(START, STOP, COUNT)",
    "linspace(START, STOP, COUNT)",
    "range(START, STOP[, STEP])",
];

/// More values than that are taken for a mistake.
const MAX_VALUES: usize = 1_000_000;

/// Decimal digits that the inner points of a geometric series are rounded to: half decades are 3.162e-05 and 0.0001.
const GEOMETRIC_DIGITS: usize = 4;

/// Decimal digits that leave nothing of the rounding of sums.
const ARITHMETIC_DIGITS: usize = 12;

/// The values of `text`, if it has the form of a series; what is wrong with it otherwise.
///
/// `logspace` and `linspace` have COUNT values from START to STOP, both included, at equal ratios or distances. `range`
/// is Python's: from START, which may be left out for 0, in steps of STEP to the last value before STOP. Values that are
/// whole are integers where START, STOP and STEP are written as such.
pub(crate) fn series(text: &str) -> Option<Result<Vec<Value>, String>> {
    let (name, arguments) = text.trim().strip_suffix(')')?.split_once('(')?;
    let make: fn(&[f64]) -> Result<Vec<f64>, String> = match name.trim() {
        "logspace" => logspace,
        "linspace" => linspace,
        "range" => range,
        _ => return None,
    };
    let words: Vec<&str> = arguments.split(',').map(str::trim).collect();
    Some(numbers(&words).and_then(|numbers| {
        let whole = words.iter().all(|word| word.parse::<i64>().is_ok());
        let values = make(&numbers)?;
        Ok(values.into_iter().map(|x| typed(x, whole)).collect())
    }))
}

/// What may help where `text` looks like a series and is none.
pub(crate) fn hint(text: &str) -> Option<String> {
    let (name, _) = text.strip_suffix(')')?.split_once('(')?;
    let names = FORMS.map(|form| form.split('(').next().unwrap_or(form));
    nearest(name.trim(), names).map(|name| format!("; did you mean `{name}`?"))
}

fn numbers(words: &[&str]) -> Result<Vec<f64>, String> {
    let number = |word: &&str| {
        let number = word.parse().ok().filter(|number: &f64| number.is_finite());
        number.ok_or_else(|| format!("`{word}` is not a number"))
    };
    words.iter().map(number).collect()
}

fn typed(value: f64, whole: bool) -> Value {
    // Integers up to 2^53 are exact.
    if whole && value.fract() == 0.0 && value.abs() < 9e15 {
        Value::Int(value as i64)
    } else {
        Value::Float(value)
    }
}

fn logspace(arguments: &[f64]) -> Result<Vec<f64>, String> {
    let [start, stop, count] = three(arguments, FORMS[0])?;
    if start <= 0.0 || stop <= 0.0 {
        return Err("START and STOP must be above 0".to_owned());
    }
    let (from, to) = (start.log10(), stop.log10());
    let point = |share: f64| 10_f64.powf(from + (to - from) * share);
    between(start, stop, count, point, GEOMETRIC_DIGITS)
}

fn linspace(arguments: &[f64]) -> Result<Vec<f64>, String> {
    let [start, stop, count] = three(arguments, FORMS[1])?;
    let point = |share: f64| start + (stop - start) * share;
    between(start, stop, count, point, ARITHMETIC_DIGITS)
}

fn range(arguments: &[f64]) -> Result<Vec<f64>, String> {
    let (start, stop, step) = match *arguments {
        [stop] => (0.0, stop, 1.0),
        [start, stop] => (start, stop, 1.0),
        [start, stop, step] => (start, stop, step),
        _ => return Err(format!("expected {}", FORMS[2])),
    };
    if step == 0.0 {
        return Err("STEP must not be 0".to_owned());
    }
    // A last step that ends at STOP but for rounding does not count.
    let count = ((stop - start) / step - 1e-9).ceil().max(0.0);
    if count == 0.0 {
        return Err(format!(
            "no value lies from {start} to below {stop}; STOP itself does not belong to a range"
        ));
    }
    let values = (0..limited(count)?).map(|i| start + step * i as f64);
    Ok(distinct(values.collect(), ARITHMETIC_DIGITS))
}

fn three(arguments: &[f64], form: &str) -> Result<[f64; 3], String> {
    arguments.try_into().map_err(|_| format!("expected {form}"))
}

/// `count` points from `start` to `stop`, which stay as they were given.
fn between(
    start: f64,
    stop: f64,
    count: f64,
    point: impl Fn(f64) -> f64,
    digits: usize,
) -> Result<Vec<f64>, String> {
    if count < 2.0 || count.fract() != 0.0 {
        return Err("COUNT must be an integer of at least 2".to_owned());
    }
    if start == stop {
        return Err("START and STOP are the same".to_owned());
    }
    let last = limited(count)? - 1;
    let inner = (1..last).map(|i| point(i as f64 / last as f64));
    let inner: Vec<f64> = inner.collect();
    let whole = |inner: Vec<f64>| [vec![start], inner, vec![stop]].concat();
    let rounded = whole(inner.iter().map(|value| round(*value, digits)).collect());
    // As they are where rounding would make two of them one.
    Ok(if all_differ(&rounded) {
        rounded
    } else {
        whole(inner)
    })
}

fn limited(count: f64) -> Result<usize, String> {
    if count <= MAX_VALUES as f64 {
        Ok(count as usize)
    } else {
        Err(format!("{count} values are more than {MAX_VALUES}"))
    }
}

/// The values rounded to so many decimal digits, or as they are where rounding would make two of them one.
fn distinct(values: Vec<f64>, digits: usize) -> Vec<f64> {
    let rounded: Vec<f64> = values.iter().map(|value| round(*value, digits)).collect();
    if all_differ(&rounded) {
        rounded
    } else {
        values
    }
}

fn round(value: f64, digits: usize) -> f64 {
    let text = format!("{value:.*e}", digits - 1);
    text.parse().unwrap_or(value)
}

fn all_differ(values: &[f64]) -> bool {
    values.windows(2).all(|pair| pair[0] != pair[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match series(text) {
            None => "none".to_owned(),
            Some(Ok(values)) => Value::List(values).to_string(),
            Some(Err(problem)) => problem,
        }
    }

    #[test]
    fn decades_and_half_decades_are_round() {
        assert_eq!(
            shown("logspace(1e-5, 1e-2, 7)"),
            "[1e-5, 3.162e-5, 0.0001, 0.0003162, 0.001, 0.003162, 0.01]"
        );
        assert_eq!(shown("logspace(4,64,5)"), "[4, 8, 16, 32, 64]");
        assert_eq!(shown("logspace(1e-2, 1e-4, 3)"), "[0.01, 0.001, 0.0001]");
    }

    #[test]
    fn points_that_lie_close_stay_apart() {
        let Some(Ok(values)) = series("logspace(1, 1.001, 50)") else {
            panic!("no series")
        };
        assert_eq!(values.len(), 50);
        assert!(values.windows(2).all(|pair| pair[0] != pair[1]));
        let Some(Ok(values)) = series("logspace(1, 1.0004, 3)") else {
            panic!("no series")
        };
        assert!(values.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn sums_show_no_rounding() {
        assert_eq!(
            shown("linspace(0, 0.6, 7)"),
            "[0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]"
        );
        assert_eq!(shown("linspace(2, 8, 4)"), "[2, 4, 6, 8]");
        assert_eq!(shown("range(0, 0.3, 0.1)"), "[0.0, 0.1, 0.2]");
    }

    #[test]
    fn a_range_is_pythons() {
        assert_eq!(shown("range(3)"), "[0, 1, 2]");
        assert_eq!(shown("range(1, 5)"), "[1, 2, 3, 4]");
        assert_eq!(shown("range(5, 0, -2)"), "[5, 3, 1]");
        assert_eq!(shown(" range( 1 , 2 ) "), "[1]");
    }

    #[test]
    fn what_makes_no_series_is_told() {
        assert_eq!(
            shown("logspace(1e-5, 1e-2)"),
            "expected logspace(START, STOP, COUNT)"
        );
        assert_eq!(shown("logspace(0, 1, 3)"), "START and STOP must be above 0");
        assert_eq!(
            shown("linspace(0, 1, 2.5)"),
            "COUNT must be an integer of at least 2"
        );
        assert_eq!(shown("linspace(1, 1, 3)"), "START and STOP are the same");
        assert_eq!(shown("linspace(0, 1, x)"), "`x` is not a number");
        assert_eq!(shown("range()"), "`` is not a number");
        assert_eq!(
            shown("range(5, 1)"),
            "no value lies from 5 to below 1; STOP itself does not belong to a range"
        );
        assert_eq!(shown("range(1, 2, 0)"), "STEP must not be 0");
        assert_eq!(
            shown("range(1e12)"),
            "1000000000000 values are more than 1000000"
        );
        assert_eq!(
            shown("logspace(0.1, 1, 1e9)"),
            "1000000000 values are more than 1000000"
        );
        assert_eq!(shown("geomspace(1, 2, 3)"), "none");
        assert_eq!(
            hint("logspce(1,2,3)").unwrap(),
            "; did you mean `logspace`?"
        );
    }
}
