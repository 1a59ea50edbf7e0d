//! That the product vanishes and the factors do not, on the fake host.

use lorahost_plugin_api::testing::{self, json, layer};

use super::*;

#[test]
fn the_product_is_zero_and_the_factors_are_not() -> Result<()> {
    let (fan_out, fan_in, rank) = (40, 60, 8);
    let scheme = testing::params::<Orthogonal>(json!({}))?;
    let factors = testing::init(&scheme, &layer(fan_out, fan_in, rank), 1)?;
    let product = factors.b().matmul(factors.a())?;
    assert!(product.abs()?.max()?.item()? < 1e-14);
    // Q keeps lengths: the squares of A sum to chi squared of fan_in r/2 draws, over 100; four standard deviations.
    for (factor, draws) in [
        (factors.a(), fan_in * rank / 2),
        (factors.b(), fan_out * rank / 2),
    ] {
        let draws = draws as f64;
        let sum = factor.square()?.sum()?.item()? * 100.0;
        assert!(
            (sum - draws).abs() < 4.0 * (2.0 * draws).sqrt(),
            "{sum} of {draws}"
        );
    }
    assert!(!factors.compensates());
    Ok(())
}

#[test]
fn an_odd_rank_is_refused() -> Result<()> {
    let scheme = testing::params::<Orthogonal>(json!({}))?;
    let error = testing::init(&scheme, &layer(8, 6, 3), 1).err();
    let message = error.map(|error| error.to_string());
    let expected = "rank 3 is odd, and each half of it is one factor's (take an even rank)";
    assert_eq!(message.as_deref(), Some(expected));
    Ok(())
}
