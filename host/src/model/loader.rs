//! Parameters by name, from a file or drawn.

use std::collections::HashSet;

use tch::{Device, Kind, Tensor};

use super::error::listed;
use super::{ModelError, WeightFile};
use crate::random::Stream;

/// How a parameter starts that no file gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    /// N(0, `initializer_range`^2).
    Normal,
    /// As [`Init::Normal`], with the padding token's row at 0.
    Embedding {
        padding: Option<i64>,
    },
    /// As [`Init::Normal`], narrower by sqrt(2 `layers`): the end of a residual branch (Radford et al. 2019, GPT-2).
    Residual {
        layers: i64,
    },
    Zeros,
    Ones,
}

/// The random streams that draw parameters: one a parameter, by its name.
#[derive(Debug, Clone, Copy)]
pub struct Draw {
    pub seed: u64,
    pub purpose: &'static str,
    /// Standard deviation, Hugging Face's `initializer_range`.
    pub std: f64,
}

/// Tensors and numbers in them that a model may have: more is a mistake in `config.json`, found before memory is spent
/// on it.
const MOST_TENSORS: i64 = 100_000;
const MOST_ELEMENTS: i64 = 1 << 38;

/// Gives a model its parameters by name, from a file or drawn, and collects what does not fit.
#[derive(Debug)]
pub struct Loader<'a> {
    file: Option<&'a WeightFile>,
    draw: Option<Draw>,
    device: Device,
    shapes_only: bool,
    taken: HashSet<String>,
    elements: i64,
    ignored: Vec<String>,
    missing: Vec<String>,
    wrong: Vec<String>,
}

impl<'a> Loader<'a> {
    /// Parameters come from `file` where it has them, else from `draw`; where there is neither they are missing.
    #[must_use]
    pub fn new(file: Option<&'a WeightFile>, draw: Option<Draw>, device: Device) -> Self {
        let (taken, ignored) = (HashSet::new(), Vec::new());
        Self {
            file,
            draw,
            device,
            shapes_only: false,
            taken,
            elements: 0,
            ignored,
            missing: Vec::new(),
            wrong: Vec::new(),
        }
    }

    /// As this loader, with parameters that have shapes but no values of their own and take no memory.
    #[must_use]
    pub fn shapes_only(self, shapes_only: bool) -> Self {
        Self {
            shapes_only,
            ..self
        }
    }

    /// Takes nothing of `module` from the file.
    pub fn ignore(&mut self, module: &str) {
        self.ignored.push(format!("{module}."));
    }

    /// The parameter `name`. One that does not fit is a placeholder until [`Loader::finish`] reports it.
    ///
    /// # Errors
    /// More than any model has; what libtorch reports.
    pub fn take(&mut self, name: &str, shape: &[i64], init: Init) -> Result<Tensor, ModelError> {
        self.taken.insert(name.to_owned());
        self.elements = shape
            .iter()
            .fold(1, |count: i64, size| count.saturating_mul(*size))
            .saturating_add(self.elements);
        for (count, most, what) in [
            (self.taken.len() as i64, MOST_TENSORS, "tensors"),
            (self.elements, MOST_ELEMENTS, "parameters"),
        ] {
            if count > most {
                return Err(ModelError::TooLarge { most, what });
            }
        }
        let tensor = match (self.read(name, shape), self.draw) {
            (Some(tensor), _) => tensor,
            (None, Some(_)) if self.shapes_only => placeholder(shape)?,
            (None, Some(draw)) => drawn(name, shape, init, draw)?,
            (None, None) => {
                self.missing.push(name.to_owned());
                placeholder(shape)?
            }
        };
        Ok(tensor.f_to_device(self.device)?)
    }

    /// The matrix `name` of `[rows, columns]`, which files have as `[columns, rows]`.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn take_transposed(
        &mut self,
        name: &str,
        [rows, columns]: [i64; 2],
        init: Init,
    ) -> Result<Tensor, ModelError> {
        let turned = self.take(name, &[columns, rows], init)?.f_transpose(0, 1)?;
        if self.shapes_only {
            return Ok(turned);
        }
        Ok(turned.f_contiguous()?)
    }

    /// Whether the file has `name`.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.shape(name).is_some()
    }

    /// Reports all at once: missing, of wrong shape or type, and unexpected, which is what the file has, nobody took and
    /// `harmless` does not excuse.
    ///
    /// # Errors
    /// Where there is any.
    pub fn finish(self, harmless: impl Fn(&str) -> bool) -> Result<(), ModelError> {
        let Some(file) = self.file else { return Ok(()) };
        let unexpected: Vec<String> = file
            .names()
            .filter(|name| !self.taken.contains(*name) && !harmless(name))
            .map(str::to_owned)
            .collect();
        let kinds = [
            ("missing", self.missing),
            ("unexpected", unexpected),
            ("wrong", self.wrong),
        ];
        let problems: Vec<String> = kinds
            .iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(what, names)| listed(what, names))
            .collect();
        if problems.is_empty() {
            return Ok(());
        }
        Err(ModelError::Weights {
            origin: file.origin().to_owned(),
            problems,
        })
    }

    fn shape(&self, name: &str) -> Option<&'a [i64]> {
        let ignored = self.ignored.iter().any(|module| name.starts_with(module));
        self.file.filter(|_| !ignored)?.shape(name)
    }

    /// The file's tensor, or a placeholder where the file's does not fit; none where the file has none.
    fn read(&mut self, name: &str, shape: &[i64]) -> Option<Tensor> {
        let found = self.shape(name)?;
        let file = self.file?;
        let read = if found != shape {
            Err(format!("`{name}` has shape {found:?}, expected {shape:?}"))
        } else if self.shapes_only {
            let placeholder = |_| placeholder(shape).map_err(|error| error.to_string());
            file.kind(name)?.and_then(placeholder)
        } else {
            file.tensor(name)?
        };
        match read {
            Ok(tensor) => Some(tensor),
            Err(problem) => {
                self.wrong.push(problem);
                placeholder(shape).ok()
            }
        }
    }
}

/// One zero that stands for all elements.
fn placeholder(shape: &[i64]) -> Result<Tensor, ModelError> {
    Ok(Tensor::f_zeros([1], (Kind::Float, Device::Cpu))?.f_expand(shape, false)?)
}

/// Drawn on the CPU, so that every device gets the same.
fn drawn(name: &str, shape: &[i64], init: Init, draw: Draw) -> Result<Tensor, ModelError> {
    let options = (Kind::Float, Device::Cpu);
    let (std, padding) = match init {
        Init::Zeros => return Ok(Tensor::f_zeros(shape, options)?),
        Init::Ones => return Ok(Tensor::f_ones(shape, options)?),
        Init::Normal => (draw.std, None),
        Init::Embedding { padding } => (draw.std, padding),
        Init::Residual { layers } => (draw.std / (2.0 * layers as f64).sqrt(), None),
    };
    let mut stream = Stream::named(draw.seed, draw.purpose, name);
    let count = shape.iter().product::<i64>();
    let values: Vec<f32> = (0..count).map(|_| (std * stream.normal()) as f32).collect();
    let tensor = Tensor::f_from_slice(&values)?.f_reshape(shape)?;
    if let Some(row) = padding {
        let _ = tensor.f_get(row)?.f_zero_()?;
    }
    Ok(tensor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw() -> Draw {
        Draw {
            seed: 3,
            purpose: "weights",
            std: 0.02,
        }
    }

    #[test]
    fn a_name_gives_the_same_weights_whatever_came_before() -> Result<(), ModelError> {
        let mut one = Loader::new(None, Some(draw()), Device::Cpu);
        let mut other = Loader::new(None, Some(draw()), Device::Cpu);
        let first = one.take("a.weight", &[3, 4], Init::Normal)?;
        let _ = other.take("b.weight", &[8, 8], Init::Normal)?;
        tch::manual_seed(99);
        assert!(first.equal(&other.take("a.weight", &[3, 4], Init::Normal)?));
        assert!(!first.equal(&other.take("c.weight", &[3, 4], Init::Normal)?));
        Ok(())
    }

    #[test]
    fn a_model_without_end_is_refused() {
        let mut loader = Loader::new(None, Some(draw()), Device::Cpu).shapes_only(true);
        let endless = (0..).try_for_each(|layer| {
            let name = format!("{layer}.weight");
            loader.take(&name, &[8, 8], Init::Normal).map(drop)
        });
        assert!(matches!(
            endless,
            Err(ModelError::TooLarge {
                what: "tensors",
                ..
            })
        ));
        let mut loader = Loader::new(None, Some(draw()), Device::Cpu);
        let huge = loader.take("a.weight", &[1 << 30, 1 << 30], Init::Normal);
        assert!(matches!(
            huge,
            Err(ModelError::TooLarge {
                what: "parameters",
                ..
            })
        ));
    }

    #[test]
    fn the_padding_row_is_zero() -> Result<(), ModelError> {
        let mut loader = Loader::new(None, Some(draw()), Device::Cpu);
        let table = loader.take("words", &[4, 5], Init::Embedding { padding: Some(1) })?;
        assert!(
            table
                .get(1)
                .equal(&Tensor::zeros([5], (Kind::Float, Device::Cpu)))
        );
        assert!(table.get(0).abs().sum(Kind::Float).double_value(&[]) > 0.0);
        Ok(())
    }
}
