//! What the factors are of the weight, on the fake host.

use lorahost_plugin_api::testing::{self, json, layer};

use super::*;

const FAN_OUT: usize = 12;
const FAN_IN: usize = 9;

fn weight() -> Result<Tensor> {
    testing::fresh_call(5, "weight")?.randn("W", [FAN_OUT, FAN_IN])
}

fn largest(tensor: &Tensor) -> Result<f64> {
    tensor.abs()?.max()?.item()
}

#[test]
fn what_is_left_has_the_other_singular_values() -> Result<()> {
    let weight = weight()?;
    let (_, all, _) = weight.svd()?;
    let layer = Layer {
        scale: 0.5,
        ..layer(FAN_OUT, FAN_IN, 3)
    };
    let scheme = testing::params::<Pissa>(json!({}))?;
    let factors = testing::init_on(&scheme, &layer, &weight, 1)?;
    assert!(factors.compensates());
    let rest = &weight - factors.b().matmul(factors.a())? * layer.scale;
    let (_, left, _) = rest.svd()?;
    let expected = all.narrow(0, 3, FAN_IN as i64 - 3)?;
    assert!(largest(&(left.narrow(0, 0, FAN_IN as i64 - 3)? - expected))? < 1e-12);
    assert!(largest(&left.narrow(0, FAN_IN as i64 - 3, 3)?)? < 1e-12);
    // Both factors are equally large in every direction.
    let gram_a = factors.a().matmul(&factors.a().t()?)?;
    let gram_b = factors.b().t()?.matmul(factors.b())?;
    assert!(largest(&(gram_a - gram_b))? < 1e-12);
    Ok(())
}

#[test]
fn iterations_make_the_randomised_one_exact() -> Result<()> {
    // Each column a quarter as long as the one before, so that the singular values fall quickly.
    let quarters: Vec<f64> = (0..FAN_IN as i32)
        .map(|place| 0.25_f64.powi(place))
        .collect();
    let weight = weight()? * testing::tensor(&quarters, &[FAN_IN as i64])?;
    let product = |parameters| {
        let scheme = testing::params::<Pissa>(parameters)?;
        let factors = testing::init_on(&scheme, &layer(FAN_OUT, FAN_IN, 3), &weight, 1)?;
        factors.b().matmul(factors.a())
    };
    let exact = product(json!({}))?;
    let off = |niter: usize| {
        let found = product(json!({ "svd": "randomised", "niter": niter }))?;
        largest(&(&exact - found))
    };
    assert!(off(20)? < 1e-9, "{}", off(20)?);
    assert!(off(0)? > 1e-3, "one pass alone is an approximation");
    Ok(())
}

#[test]
fn a_rank_beyond_the_layer_is_padded() -> Result<()> {
    let weight = weight()?;
    for svd in ["exact", "randomised"] {
        let scheme = testing::params::<Pissa>(json!({ "svd": svd }))?;
        let factors = testing::init_on(&scheme, &layer(FAN_OUT, FAN_IN, 11), &weight, 1)?;
        let product = factors.b().matmul(factors.a())?;
        assert!(largest(&(product - &weight))? < 1e-12, "the whole weight");
        assert_eq!(largest(&factors.b().narrow(1, 9, 2)?)?, 0.0);
        let drawn = factors.a().narrow(0, 9, 2)?;
        assert!(largest(&drawn)? <= 1.0 / 3.0 && drawn.abs()?.min()?.item()? > 0.0);
        let log = testing::take_log();
        let told = "info: `layer` has too few directions for rank 11";
        assert!(log.iter().any(|line| line.starts_with(told)), "{log:?}");
    }
    Ok(())
}

#[test]
fn a_scale_of_zero_is_refused() -> Result<()> {
    let layer = Layer {
        scale: 0.0,
        ..layer(FAN_OUT, FAN_IN, 2)
    };
    let scheme = testing::params::<Pissa>(json!({}))?;
    let error = testing::init_on(&scheme, &layer, &weight()?, 1).err();
    let message = error.map(|error| error.to_string()).unwrap_or_default();
    assert!(
        message.starts_with("the scale is 0, not above 0"),
        "{message}"
    );
    Ok(())
}

#[test]
fn nothing_is_left_behind() -> Result<()> {
    let weight = weight()?;
    let before = testing::live_handles();
    let scheme = testing::params::<Pissa>(json!({ "svd": "randomised" }))?;
    testing::init_on(&scheme, &layer(FAN_OUT, FAN_IN, 11), &weight, 1)?;
    assert_eq!(testing::live_handles(), before);
    Ok(())
}
