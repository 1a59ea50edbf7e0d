//! How A and B are distributed, on the fake host.

use lorahost_plugin_api::testing::{self, json, layer};

use super::*;

const FAN_OUT: usize = 400;
const FAN_IN: usize = 100;
const RANK: usize = 64;

fn std(tensor: &Tensor) -> Result<f64> {
    let centred = tensor - &tensor.mean()?;
    Ok(centred.square()?.mean()?.item()?.sqrt())
}

#[test]
fn units_divide_the_standard_deviations() -> Result<()> {
    let (fan_in, rank) = (FAN_IN as f64, RANK as f64);
    for (unit, a, b) in [
        ("absolute", 2.0, 0.5),
        ("fan_in", 2.0 / fan_in.sqrt(), 0.5 / rank.sqrt()),
        ("rank", 2.0 / rank, 0.5 / rank),
    ] {
        let parameters = json!({ "std_a": 2.0, "std_b": 0.5, "unit": unit });
        let scheme = testing::params::<Gaussian>(parameters)?;
        let factors = testing::init(&scheme, &layer(FAN_OUT, FAN_IN, RANK), 1)?;
        // Four standard errors of 6,400 and of 25,600 draws.
        for (name, expected, found, error) in [
            ("A", a, std(factors.a())?, 0.036),
            ("B", b, std(factors.b())?, 0.018),
        ] {
            let ratio = found / expected;
            assert!(
                (ratio - 1.0).abs() < error,
                "{unit}, {name}: {found}, not {expected}"
            );
        }
        assert!(factors.a().mean()?.item()?.abs() < 4.0 * a / 80.0);
    }
    Ok(())
}

#[test]
fn by_default_only_a_is_drawn() -> Result<()> {
    let scheme = testing::params::<Gaussian>(json!({}))?;
    let factors = testing::init(&scheme, &layer(FAN_OUT, FAN_IN, RANK), 1)?;
    assert!((std(factors.a())? * 10.0 - 1.0).abs() < 0.036);
    assert_eq!(factors.b().abs()?.max()?.item()?, 0.0);
    Ok(())
}

#[test]
fn compensation_is_asked_for_where_b_moves_the_model() -> Result<()> {
    for (compensate, std_b, expected) in
        [(true, 1.0, true), (true, 0.0, false), (false, 1.0, false)]
    {
        let parameters = json!({ "compensate": compensate, "std_b": std_b });
        let scheme = testing::params::<Gaussian>(parameters)?;
        let factors = testing::init(&scheme, &layer(4, 6, 2), 1)?;
        assert_eq!(factors.compensates(), expected, "{compensate}, {std_b}");
    }
    Ok(())
}

#[test]
fn a_does_not_depend_on_b() -> Result<()> {
    let a = |std_b: f64| {
        let scheme = testing::params::<Gaussian>(json!({ "std_b": std_b }))?;
        testing::init(&scheme, &layer(4, 6, 2), 1)?.a().to_f64()
    };
    assert_eq!(a(0.0)?, a(1.0)?);
    Ok(())
}

#[test]
fn an_unknown_unit_is_refused() {
    let error = testing::params::<Gaussian>(json!({ "unit": "fanin" })).err();
    let message = error.map(|error| error.to_string());
    let expected = "parameter `unit` must be one of absolute, fan_in, rank, not \"fanin\"";
    assert_eq!(message.as_deref(), Some(expected));
}
