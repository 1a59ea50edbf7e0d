//! What the factors are of weight and inputs, on the fake host.

use lorahost_plugin_api::testing::{self, Given, json, layer, tensor};

use super::*;

/// A weight `[4, 3]` and a covariance of rank 2.
fn measured() -> Result<(Tensor, Tensor)> {
    let ctx = testing::fresh_call(5, "measured")?;
    let x = ctx.randn("x", [3, 2])?;
    Ok((ctx.randn("W", [4, 3])?, x.matmul(&x.t()?)?))
}

fn product(mode: &str, rank: usize) -> Result<Tensor> {
    let (weight, covariance) = measured()?;
    let given = Given {
        weight: Some(&weight),
        covariance: Some(&covariance),
        ..Given::default()
    };
    let layer = Layer {
        scale: 0.5,
        ..layer(4, 3, rank)
    };
    let scheme = testing::params::<Corda>(json!({ "mode": mode }))?;
    let factors = testing::init_given(&scheme, &layer, given, 1)?;
    assert!(factors.compensates());
    Ok(factors.b().matmul(factors.a())? * layer.scale)
}

#[test]
fn both_modes_share_the_weight_between_them() -> Result<()> {
    let (weight, _) = measured()?;
    let sum = product("ipm", 2)? + product("kpm", 1)?;
    assert!((sum - &weight).abs()?.max()?.item()? < 1e-10);
    assert!(
        (product("ipm", 5)? - &weight).abs()?.max()?.item()? < 1e-10,
        "padded"
    );
    Ok(())
}

#[test]
fn the_part_that_adapts_acts_most_on_the_inputs() -> Result<()> {
    let (weight, covariance) = measured()?;
    let rest = |mode| {
        (&weight - product(mode, 1)?)
            .matmul(&covariance)?
            .norm()?
            .item()
    };
    assert!(rest("ipm")? < rest("kpm")?);
    Ok(())
}

#[test]
fn inputs_that_are_all_zero_are_refused() -> Result<()> {
    let (weight, _) = measured()?;
    let zeros = tensor(&[0.0; 9], &[3, 3])?;
    let given = Given {
        weight: Some(&weight),
        covariance: Some(&zeros),
        ..Given::default()
    };
    let scheme = testing::params::<Corda>(json!({}))?;
    let error = testing::init_given(&scheme, &layer(4, 3, 2), given, 1).err();
    let message = error.map(|error| error.to_string()).unwrap_or_default();
    assert!(message.contains("no accurate inverse"), "{message}");
    Ok(())
}
