//! Against the formula in NumPy, the Sylvester equation solved as one linear system: `scripts/references/optimizers.py` made the numbers.

use lorahost_plugin_api::testing::{Descent, follow, json, parameter, params, tensor};

use super::*;

#[test]
fn steps_are_those_of_the_formula() -> Result<()> {
    follow::<LoraPro>(include_str!("../tests/lora_pro.json"), 1e-8)
}

fn pair(a: &[f64; 4], b: &[f64; 4], scale: f64) -> Result<Descent<LoraPro>> {
    let factor = |name, role, values: &[f64]| -> Result<_> {
        let info = ParameterInfo {
            pair: Some(1),
            scale,
            ..parameter(name, role)
        };
        Ok((info, tensor(values, &[2, 2])?))
    };
    let group = vec![factor("A", Role::A, a)?, factor("B", Role::B, b)?];
    Descent::new(params::<LoraPro>(json!({}))?, group)
}

#[test]
fn the_effect_of_a_step_is_the_gradient_of_the_full_weight() -> Result<()> {
    // Square factors of full rank can follow any gradient G: s (B g_A + g_B A) = G, with g_A = s B'G and g_B = s G A'.
    let a = tensor(&[1.0, 0.5, -0.3, 2.0], &[2, 2])?;
    let b = tensor(&[0.7, -1.0, 0.2, 1.5], &[2, 2])?;
    let full = tensor(&[0.4, -0.6, 1.2, 0.1], &[2, 2])?;
    let scale = 2.0;
    let pair = Pair::new(&a, &b, 1.0 / (scale * scale), 1e-12)?;
    let (of_a, of_b) = pair.gradients(
        &(b.t()?.matmul(&full)? * scale),
        &(full.matmul(&a.t()?)? * scale),
    )?;
    let effect = (b.matmul(&of_a)? + of_b.matmul(&a)?) * scale;
    assert!((effect - full).norm()?.item()? < 1e-9);
    Ok(())
}

#[test]
fn factors_that_are_not_finite_stay_so() -> Result<()> {
    let mut descent = pair(&[f64::NAN, 1.0, 1.0, 1.0], &[0.0; 4], 2.0)?;
    let grad = tensor(&[1.0; 4], &[2, 2])?;
    descent.step(&[Some(&grad), Some(&grad)], 0.1)?;
    assert!(descent.values()[0].norm()?.item()?.is_nan());
    let moved = descent.values()[1].to_f64()?[0];
    assert!(
        (moved + 0.1).abs() < 1e-8,
        "AdamW on its own gradient: {moved}"
    );
    Ok(())
}

#[test]
fn a_scale_of_0_is_refused() -> Result<()> {
    let mut descent = pair(&[1.0; 4], &[0.0; 4], 0.0)?;
    let grad = tensor(&[1.0; 4], &[2, 2])?;
    let error = descent.step(&[Some(&grad), Some(&grad)], 0.1).err();
    assert_eq!(
        error.map(|error| error.to_string()).as_deref(),
        Some(
            "A has the scale 0, by which this optimizer divides (choose an alpha policy that gives another scale)"
        )
    );
    Ok(())
}
