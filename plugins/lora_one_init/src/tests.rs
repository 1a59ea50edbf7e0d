//! What the factors are of the gradient, on the fake host.

use lorahost_plugin_api::testing::{self, Given, json, layer, tensor};

use super::*;

fn factors(gradient: &Tensor, layer: &Layer) -> Result<Factors> {
    let given = Given {
        gradient: Some(gradient),
        ..Given::default()
    };
    let scheme = testing::params::<LoraOne>(json!({ "gamma": 4.0 }))?;
    testing::init_given(&scheme, layer, given, 1)
}

#[test]
fn the_product_goes_down_the_gradient() -> Result<()> {
    let gradient = tensor(&[3., 0., 0., 0., 2., 0., 0., 0., 1., 0., 0., 0.], &[4, 3])?;
    let found = factors(&gradient, &layer(4, 3, 2))?;
    assert!(!found.compensates());
    // -G without its smallest singular value, over the largest and over gamma.
    let product = found.b().matmul(found.a())?.to_f64()?;
    let expected = [-3., 0., 0., 0., -2., 0., 0., 0., 0., 0., 0., 0.];
    for (found, expected) in product.iter().zip(expected) {
        assert!(
            (found - expected / 12.0).abs() < 1e-12,
            "{found}, {expected}"
        );
    }
    let padded = factors(&gradient, &layer(4, 3, 5))?;
    assert_eq!(padded.b().narrow(1, 3, 2)?.abs()?.max()?.item()?, 0.0);
    Ok(())
}

#[test]
fn a_gradient_of_zero_is_refused() -> Result<()> {
    let error = factors(&tensor(&[0.0; 12], &[4, 3])?, &layer(4, 3, 1)).err();
    let message = error.map(|error| error.to_string());
    assert_eq!(message.as_deref(), Some("the gradient of `layer` is zero"));
    Ok(())
}
