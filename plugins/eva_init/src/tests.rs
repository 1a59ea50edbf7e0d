//! What A is of the inputs, and where ranks go, on the fake host.

use lorahost_plugin_api::testing::{self, Given, json, layer, tensor};

use super::*;

fn rotation() -> Result<Tensor> {
    let (q, _) = testing::fresh_call(5, "covariance")?
        .randn("Q", [6, 6])?
        .qr()?;
    Ok(q)
}

/// Q diag(values) Q'.
fn covariance(values: &[f64]) -> Result<Tensor> {
    let q = rotation()?;
    let values = tensor(values, &[values.len() as i64])?;
    (&q * &values).matmul(&q.t()?)
}

#[test]
fn a_has_the_directions_that_vary_most() -> Result<()> {
    let covariance = covariance(&[3.0, 0.1, 5.0, 0.2, 1.0, 0.0])?;
    let given = Given {
        covariance: Some(&covariance),
        ..Given::default()
    };
    let scheme = testing::params::<Eva>(json!({}))?;
    let factors = testing::init_given(&scheme, &layer(4, 6, 2), given, 1)?;
    assert_eq!(factors.b().abs()?.max()?.item()?, 0.0);
    // In the eigenvectors' own coordinates A picks the third and the first.
    let picked = factors.a().matmul(&rotation()?)?.abs()?;
    let expected = tensor(&[0., 0., 1., 0., 0., 0., 1., 0., 0., 0., 0., 0.], &[2, 6])?;
    assert!((picked - expected).abs()?.max()?.item()? < 1e-12);

    let factors = testing::init_given(&scheme, &layer(4, 6, 8), given, 1)?;
    assert!(
        factors.a().narrow(0, 6, 2)?.abs()?.min()?.item()? > 0.0,
        "padded"
    );
    Ok(())
}

#[test]
fn ranks_go_where_more_is_explained_and_keep_their_sum() -> Result<()> {
    let narrow = covariance(&[9.0, 0.5, 0.5, 0.0, 0.0, 0.0])?;
    let wide = covariance(&[2.0, 2.0, 2.0, 2.0, 1.0, 1.0])?;
    let named = |name: &str, covariance| {
        let layer = Layer {
            name: name.to_owned(),
            ..layer(4, 6, 2)
        };
        let given = Given {
            covariance: Some(covariance),
            ..Given::default()
        };
        (layer, given)
    };
    let layers = [named("narrow", &narrow), named("wide", &wide)];
    let ranks = |parameters| testing::ranks(&testing::params::<Eva>(parameters)?, &layers, 1);
    assert_eq!(ranks(json!({}))?, None);
    // Shares are 0.9, then 0.2 four times; at most round(1.5 * 2) = 3 a layer, or 2 * 2 = 4.
    let given = json!({ "redistribute": true, "rho": 1.5 });
    assert_eq!(ranks(given)?, Some(vec![1, 3]));
    let given = json!({ "redistribute": true, "rho": 1.0 });
    assert_eq!(ranks(given)?, Some(vec![2, 2]));
    Ok(())
}
