//! How A is distributed, on the fake host.

use lorahost_plugin_api::testing::{self, json, layer};

use super::*;

fn draw(gain: f64, layer: &Layer, seed: u64) -> Result<Vec<f64>> {
    let scheme = testing::params::<Uniform>(json!({ "gain": gain }))?;
    let factors = testing::init(&scheme, layer, seed)?;
    assert!(
        factors.b().to_f64()?.iter().all(|&value| value == 0.0),
        "B is zero"
    );
    assert!(!factors.compensates() && factors.frozen().is_none());
    factors.a().to_f64()
}

#[test]
fn a_fills_its_bounds_evenly() -> Result<()> {
    let (fan_in, rank) = (100, 64);
    let values = draw(1.0, &layer(8, fan_in, rank), 1)?;
    let bound = 1.0 / (fan_in as f64).sqrt();
    let largest = values
        .iter()
        .fold(0.0_f64, |largest, value| largest.max(value.abs()));
    assert!(
        largest <= bound && largest > 0.99 * bound,
        "{largest} of {bound}"
    );
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let std = (values
        .iter()
        .map(|value| (value - mean).powi(2))
        .sum::<f64>()
        / count)
        .sqrt();
    let expected = 1.0 / (3.0 * fan_in as f64).sqrt();
    // Four standard errors of 6,400 draws.
    assert!(mean.abs() < 4.0 * expected / count.sqrt(), "{mean}");
    assert!(
        (std / expected - 1.0).abs() < 4.0 * (0.2 / count).sqrt(),
        "{std}, not {expected}"
    );
    Ok(())
}

#[test]
fn gain_is_a_factor() -> Result<()> {
    let (one, three) = (
        draw(1.0, &layer(4, 6, 2), 1)?,
        draw(3.0, &layer(4, 6, 2), 1)?,
    );
    for (one, three) in one.iter().zip(three) {
        assert!((3.0 * one - three).abs() < 1e-15);
    }
    assert!(testing::params::<Uniform>(json!({ "gain": -1.0 })).is_err());
    Ok(())
}

#[test]
fn seed_and_layer_decide_and_order_does_not() -> Result<()> {
    let other = Layer {
        name: "other".to_owned(),
        ..layer(4, 6, 2)
    };
    let first = draw(1.0, &layer(4, 6, 2), 1)?;
    let second = draw(1.0, &other, 1)?;
    assert_ne!(first, second);
    assert_ne!(first, draw(1.0, &layer(4, 6, 2), 2)?);
    assert_eq!(second, draw(1.0, &other, 1)?);
    assert_eq!(first, draw(1.0, &layer(4, 6, 2), 1)?);
    Ok(())
}

#[test]
fn nothing_is_left_behind() -> Result<()> {
    let before = testing::live_handles();
    draw(1.0, &layer(4, 6, 2), 1)?;
    assert_eq!(testing::live_handles(), before);
    Ok(())
}
