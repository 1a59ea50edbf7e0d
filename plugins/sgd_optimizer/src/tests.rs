//! Against `torch.optim.SGD`: `scripts/references/optimizers.py` made the numbers.

use lorahost_plugin_api::testing::{self, Descent, follow, json, live_handles, parameter, tensor};

use super::*;

#[test]
fn steps_are_those_of_pytorch() -> Result<()> {
    follow::<Sgd>(include_str!("../tests/sgd.json"), 1e-12)
}

#[test]
fn nesterov_without_momentum_is_refused() -> Result<()> {
    let sgd = testing::params::<Sgd>(json!({ "nesterov": true }))?;
    let error = Descent::new(sgd, Vec::new())
        .err()
        .map(|error| error.to_string());
    let expected = "nesterov needs a momentum (set momentum above 0, such as 0.9)";
    assert_eq!(error.as_deref(), Some(expected));
    Ok(())
}

#[test]
fn it_descends_and_leaks_nothing() -> Result<()> {
    let before = live_handles();
    {
        let sgd = testing::params::<Sgd>(json!({ "momentum": 0.5 }))?;
        let group = vec![(parameter("w", Role::Base), tensor(&[3.0, -4.0], &[2])?)];
        let mut descent = Descent::new(sgd, group)?;
        descent.quadratic(1, 0.1)?;
        let held = live_handles();
        descent.quadratic(200, 0.1)?;
        assert_eq!(live_handles(), held, "a step keeps nothing new");
        assert!(descent.values()[0].norm()?.item()? < 1e-9);
    }
    assert_eq!(live_handles(), before);
    Ok(())
}
