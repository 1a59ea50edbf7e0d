//! Rotary positions (arXiv 2104.09864) and the ways to stretch them.

use std::f64::consts::TAU;

use tch::{Device, Kind, TchError, Tensor};

use super::{Config, ModelError};

/// Turns pairs of a head's elements, element i with element i + `head_dim` / 2, by angles that grow with the position.
#[derive(Debug)]
pub(crate) struct Rotary {
    /// Angle a position, float32 `[head_dim / 2]`.
    frequencies: Tensor,
}

/// The turns of the tokens of one batch.
#[derive(Debug)]
pub(crate) struct Turns {
    /// `[total, 1, head_dim / 2]`, like `sin`.
    cos: Tensor,
    sin: Tensor,
}

/// How frequencies are stretched beyond the positions of the pretraining.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Scaling {
    None,
    /// Position interpolation (arXiv 2306.15595).
    Linear {
        factor: f64,
    },
    /// Llama 3.1's: low frequencies are divided, high ones kept, those between interpolated.
    Llama3 {
        factor: f64,
        low: f64,
        high: f64,
        original_positions: f64,
    },
}

/// The base where `config.json` says none.
const DEFAULT_BASE: f64 = 10_000.0;

impl Rotary {
    /// Reads `rope_parameters`, or `rope_scaling` and `rope_theta` as older files have them.
    ///
    /// # Errors
    /// Settings that are malformed or not served.
    pub(crate) fn new(config: &Config, head_dim: i64, device: Device) -> Result<Self, ModelError> {
        let (base, scaling) = settings(config)?;
        let frequencies = frequencies(base, head_dim)?.into_iter();
        let stretched: Vec<f32> = frequencies.map(|f| scaling.stretch(f)).collect();
        Ok(Self {
            frequencies: Tensor::f_from_slice(&stretched)?.f_to_device(device)?,
        })
    }

    /// The turns at `positions`, int64 `[total]`.
    pub(crate) fn turns(&self, positions: &Tensor) -> Result<Turns, TchError> {
        let positions = positions.f_to_kind(Kind::Float)?;
        let angles = positions.f_outer(&self.frequencies)?.f_unsqueeze(1)?;
        Ok(Turns {
            cos: angles.f_cos()?,
            sin: angles.f_sin()?,
        })
    }
}

impl Turns {
    /// `x`, `[total, heads, head_dim]`, turned.
    pub(crate) fn apply(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let halves = x.f_chunk(2, -1)?;
        let (first, second) = (&halves[0], &halves[1]);
        let turned_first = first.f_mul(&self.cos)?.f_sub(&second.f_mul(&self.sin)?)?;
        let turned_second = second.f_mul(&self.cos)?.f_add(&first.f_mul(&self.sin)?)?;
        Tensor::f_cat(&[turned_first, turned_second], -1)
    }
}

impl Scaling {
    /// In float32, as transformers computes it.
    fn stretch(self, frequency: f32) -> f32 {
        match self {
            Self::None => frequency,
            Self::Linear { factor } => frequency / factor as f32,
            Self::Llama3 {
                factor,
                low,
                high,
                original_positions,
            } => {
                let wavelength = TAU as f32 / frequency;
                if f64::from(wavelength) < original_positions / high {
                    frequency
                } else if f64::from(wavelength) > original_positions / low {
                    frequency / factor as f32
                } else {
                    let smooth =
                        (original_positions as f32 / wavelength - low as f32) / (high - low) as f32;
                    (1.0 - smooth) * frequency / factor as f32 + smooth * frequency
                }
            }
        }
    }
}

/// `base^(-2 i / head_dim)` for i from 0 to below `head_dim / 2`, with libtorch's float32 power.
fn frequencies(base: f64, head_dim: i64) -> Result<Vec<f32>, TchError> {
    let options = (Kind::Float, Device::Cpu);
    let exponents = Tensor::f_arange_start_step(0, head_dim, 2, options)?;
    let powers = Tensor::f_pow_scalar(base, &exponents.f_div_scalar(head_dim)?)?;
    Vec::try_from(powers.f_reciprocal()?)
}

/// The base and the scaling.
fn settings(config: &Config) -> Result<(f64, Scaling), ModelError> {
    refuse_partial(config)?;
    let base = config.positive("rope_theta", DEFAULT_BASE)?;
    // The older key goes before where a file has both, as in transformers.
    let section = match config.section("rope_scaling")? {
        Some(section) => Some(section),
        None => config.section("rope_parameters")?,
    };
    let Some(section) = section else {
        return Ok((base, Scaling::None));
    };
    let scaling = scaling(&section, config)?;
    Ok((section.positive("rope_theta", base)?, scaling))
}

fn scaling(section: &Config, config: &Config) -> Result<Scaling, ModelError> {
    let key = match section.present("rope_type") {
        Some(_) => "rope_type",
        None => "type",
    };
    let scaling = match section.text_if_there(key)? {
        // `dynamic` changes nothing up to the model's positions, and longer sequences are refused.
        None | Some("default" | "dynamic") => Scaling::None,
        Some("linear") => Scaling::Linear {
            factor: section.number("factor")?,
        },
        Some("llama3") => llama3(section, config)?,
        Some(other) => {
            let expected = "one of default, linear, dynamic, llama3; no other is served";
            return Err(section.wrong(key, &other.into(), expected));
        }
    };
    section.refuse_unknown(&[
        "rope_type",
        "type",
        "rope_theta",
        "partial_rotary_factor",
        "factor",
        "low_freq_factor",
        "high_freq_factor",
        "original_max_position_embeddings",
    ])?;
    refuse_partial(section)?;
    Ok(scaling)
}

fn llama3(section: &Config, config: &Config) -> Result<Scaling, ModelError> {
    let low = section.number("low_freq_factor")?;
    let high = section.number("high_freq_factor")?;
    if high <= low {
        let expected = format!("a number above low_freq_factor, {low}");
        return Err(section.wrong("high_freq_factor", &high.into(), &expected));
    }
    let positions = config.size("max_position_embeddings")?;
    let original = section
        .optional_size("original_max_position_embeddings")?
        .unwrap_or(positions);
    Ok(Scaling::Llama3 {
        factor: section.number("factor")?,
        low,
        high,
        original_positions: original as f64,
    })
}

/// Rotation of a part of each head alone is not served.
fn refuse_partial(config: &Config) -> Result<(), ModelError> {
    let key = "partial_rotary_factor";
    match config.present(key) {
        Some(value) if value.as_f64() != Some(1.0) => {
            Err(config.wrong(key, value, "1; no other is served"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(f64, Scaling), ModelError> {
        settings(&Config::parse(text.as_bytes(), "config.json", None)?)
    }

    fn refusal(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    #[test]
    fn old_and_new_files_say_the_same() {
        let new = r#"{"rope_parameters": {"rope_type": "linear", "rope_theta": 5e5, "factor": 4}}"#;
        let old = r#"{"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 4}}"#;
        let expected = (5e5, Scaling::Linear { factor: 4.0 });
        assert_eq!(read(new).unwrap(), expected);
        assert_eq!(read(old).unwrap(), expected);
        let plain = (10_000.0, Scaling::None);
        assert_eq!(read("{}").unwrap(), plain);
        assert_eq!(read(r#"{"rope_scaling": null}"#).unwrap(), plain);
        assert_eq!(
            read(r#"{"rope_scaling": {"type": "dynamic", "factor": 2.0}}"#).unwrap(),
            plain
        );
    }

    #[test]
    fn what_is_not_served_is_named() {
        assert_eq!(
            refusal(r#"{"rope_scaling": {"type": "yarn", "factor": 4}}"#),
            "config.json: in `rope_scaling`: `type` is \"yarn\", expected one of default, linear, dynamic, llama3; \
             no other is served"
        );
        assert_eq!(
            refusal(r#"{"partial_rotary_factor": 0.5}"#),
            "config.json: `partial_rotary_factor` is 0.5, expected 1; no other is served"
        );
        assert_eq!(
            refusal(r#"{"rope_parameters": {"rope_type": "linear"}}"#),
            "config.json: in `rope_parameters`: `factor` is missing"
        );
        let message = refusal(r#"{"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}"#);
        assert!(message.contains("`full_attention` is"), "{message}");
        let message = refusal(
            r#"{"max_position_embeddings": 64, "rope_parameters": {"rope_type": "llama3", "factor": 8,
                "low_freq_factor": 4, "high_freq_factor": 4}}"#,
        );
        assert!(message.contains("above low_freq_factor, 4"), "{message}");
    }

    #[test]
    fn a_turn_keeps_lengths_and_distances_alone_count() -> Result<(), ModelError> {
        let config = Config::parse(b"{}", "config.json", None)?;
        let rotary = Rotary::new(&config, 8, Device::Cpu)?;
        let row = Tensor::arange(8, (Kind::Float, Device::Cpu)).reshape([1, 1, 8]);
        let at = |position: i64| -> Result<Tensor, ModelError> {
            let turns = rotary.turns(&Tensor::from_slice(&[position]))?;
            Ok(turns.apply(&row)?.flatten(0, -1))
        };
        assert!(at(0)?.equal(&row.flatten(0, -1)));
        let near = at(3)?.dot(&at(5)?).double_value(&[]);
        let far = at(13)?.dot(&at(15)?).double_value(&[]);
        assert!((near - far).abs() < 1e-4, "{near} {far}");
        Ok(())
    }
}
