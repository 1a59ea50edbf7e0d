//! What the factors are of the gradient, on the fake host.

use lorahost_plugin_api::testing::{self, Given, json, layer, tensor};

use super::*;

fn factors(gradient: &Tensor, layer: &Layer) -> Result<Factors> {
    let given = Given {
        gradient: Some(gradient),
        ..Given::default()
    };
    let scheme = testing::params::<LoraGa>(json!({ "gamma": 4.0 }))?;
    testing::init_given(&scheme, layer, given, 1)
}

#[test]
fn a_takes_the_first_directions_and_b_the_next() -> Result<()> {
    // Its singular vectors are those of the identity, with the values 3, 2 and 1.
    let values = [3., 0., 0., 0., 2., 0., 0., 0., 1., 0., 0., 0.];
    let gradient = tensor(&values, &[4, 3])?;
    let found = factors(&gradient, &layer(4, 3, 1))?;
    assert!(found.compensates());
    let size = 4_f64.powf(0.25) / 2.0;
    let near = |found: &Tensor, expected: &[f64]| -> Result<()> {
        for (found, expected) in found.to_f64()?.iter().zip(expected) {
            assert!(
                (found - expected * size).abs() < 1e-12,
                "{found}, {expected}"
            );
        }
        Ok(())
    };
    near(found.a(), &[1., 0., 0.])?;
    near(found.b(), &[0., 1., 0., 0.])?;

    // There are three directions: the second of A, and none but the third for B.
    let found = factors(&gradient, &layer(4, 3, 2))?;
    near(found.a(), &[1., 0., 0., 0., 1., 0.])?;
    near(found.b(), &[0., 0., 0., 0., 1., 0., 0., 0.])?;
    let log = testing::take_log();
    assert!(
        log[0].contains("0 rows of A are drawn uniformly, 1 columns of B are zero"),
        "{log:?}"
    );
    Ok(())
}

#[test]
fn a_gradient_of_zero_is_refused() -> Result<()> {
    let error = factors(&tensor(&[0.0; 12], &[4, 3])?, &layer(4, 3, 1)).err();
    let message = error.map(|error| error.to_string());
    assert_eq!(message.as_deref(), Some("the gradient of `layer` is zero"));
    Ok(())
}
