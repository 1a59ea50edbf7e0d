//! Modules with parameters that are not LoRA's business: norms, embeddings.

use tch::{TchError, Tensor};

use super::{Init, Loader, ModelError};
use crate::adapter::{Linear, ModuleKind, Parameter, Role};
use crate::dropout::{Dropout, Pass};
use crate::native::{self, dropout::Mask};

/// Any module that has parameters.
#[derive(Debug)]
pub enum Part<'a> {
    Linear(&'a Linear),
    Norm(&'a Norm),
    RmsNorm(&'a RmsNorm),
    Embedding(&'a Embedding),
}

/// Layer normalisation over the last dimension (arXiv 1607.06450).
#[derive(Debug)]
pub struct Norm {
    name: String,
    weight: Tensor,
    bias: Tensor,
    eps: f64,
    role: Role,
}

impl Norm {
    /// The norm under the module path `name`; `role` is [`Role::Norm`] or [`Role::Head`].
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn load(
        loader: &mut Loader,
        name: &str,
        width: i64,
        eps: f64,
        role: Role,
    ) -> Result<Self, ModelError> {
        Ok(Self {
            name: name.to_owned(),
            weight: loader.take(&format!("{name}.weight"), &[width], Init::Ones)?,
            bias: loader.take(&format!("{name}.bias"), &[width], Init::Zeros)?,
            eps,
            role,
        })
    }

    /// # Errors
    /// What libtorch reports.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, TchError> {
        x.f_layer_norm(
            self.weight.size(),
            Some(&self.weight),
            Some(&self.bias),
            self.eps,
            false,
        )
    }

    /// The norm of x + dropout(a).
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn of_sum(
        &self,
        a: &Tensor,
        dropout: &Dropout,
        x: &Tensor,
        pass: &Pass,
    ) -> Result<Tensor, TchError> {
        if !native::is_plain(a) {
            return self.forward(&dropout.forward(a, pass)?.f_add(x)?);
        }
        let mask = dropout.mask(pass, 0).unwrap_or(Mask::NONE);
        native::norm::residual_norm([a, x], [&self.weight, &self.bias], self.eps, mask)
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Division by the root mean square over the last dimension (arXiv 1910.07467): a gain, no shift.
#[derive(Debug)]
pub struct RmsNorm {
    name: String,
    weight: Tensor,
    eps: f64,
}

impl RmsNorm {
    /// The norm under the module path `name`.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn load(loader: &mut Loader, name: &str, width: i64, eps: f64) -> Result<Self, ModelError> {
        Ok(Self {
            name: name.to_owned(),
            weight: loader.take(&format!("{name}.weight"), &[width], Init::Ones)?,
            eps,
        })
    }

    /// # Errors
    /// What libtorch reports.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, TchError> {
        x.f_rms_norm(self.weight.size(), Some(&self.weight), Some(self.eps))
    }
}

/// A table of vectors, `[entries, width]`.
#[derive(Debug)]
pub struct Embedding {
    name: String,
    weight: Tensor,
}

impl Embedding {
    /// The table under the module path `name`; `padding` is the row of a token that stands for nothing.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn load(
        loader: &mut Loader,
        name: &str,
        shape: [i64; 2],
        padding: Option<i64>,
    ) -> Result<Self, ModelError> {
        let weight = loader.take(
            &format!("{name}.weight"),
            &shape,
            Init::Embedding { padding },
        )?;
        Ok(Self {
            name: name.to_owned(),
            weight,
        })
    }

    /// The rows `ids`: `[total]` to `[total, width]`.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn forward(&self, ids: &Tensor) -> Result<Tensor, TchError> {
        Tensor::f_embedding(&self.weight, ids, -1, false, false)
    }

    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The full name of the table itself.
    #[must_use]
    pub fn weight_name(&self) -> String {
        format!("{}.weight", self.name)
    }
}

impl Part<'_> {
    /// All parameters, frozen ones too; `pair` numbers A and B of a linear layer.
    #[must_use]
    pub fn parameters(&self, pair: usize) -> Vec<Parameter> {
        let plain = |name: &str, suffix: &str, role, tensor: &Tensor| Parameter {
            name: format!("{name}.{suffix}"),
            role,
            pair: None,
            scale: 1.0,
            tensor: tensor.shallow_clone(),
            decay: true,
        };
        match self {
            Self::Linear(linear) => linear.parameters(pair),
            Self::Norm(norm) => vec![
                plain(&norm.name, "weight", norm.role, &norm.weight),
                plain(&norm.name, "bias", norm.role, &norm.bias),
            ],
            Self::RmsNorm(norm) => vec![plain(&norm.name, "weight", Role::Norm, &norm.weight)],
            Self::Embedding(table) => {
                vec![plain(&table.name, "weight", Role::Embedding, &table.weight)]
            }
        }
    }

    /// Lets the plain weights learn or not; the factors of a linear layer learn as their scheme wants.
    pub(crate) fn train(&self, weights: bool) {
        match self {
            Self::Linear(linear) => linear.train(weights),
            Self::Norm(norm) => {
                let _ = norm.weight.set_requires_grad(weights);
                let _ = norm.bias.set_requires_grad(weights);
            }
            Self::RmsNorm(norm) => {
                let _ = norm.weight.set_requires_grad(weights);
            }
            Self::Embedding(table) => {
                let _ = table.weight.set_requires_grad(weights);
            }
        }
    }
}

/// The linear layer under the module path `name`, `[fan_out, fan_in]`, with a bias.
///
/// # Errors
/// What libtorch reports.
pub(crate) fn load_linear(
    loader: &mut Loader,
    name: &str,
    kind: ModuleKind,
    [fan_out, fan_in]: [i64; 2],
) -> Result<Linear, ModelError> {
    let weight = loader.take(&format!("{name}.weight"), &[fan_out, fan_in], Init::Normal)?;
    let bias = loader.take(&format!("{name}.bias"), &[fan_out], Init::Zeros)?;
    Ok(Linear::new(name, kind, weight, Some(bias)))
}

/// As [`load_linear`], for transformers' `Conv1D`, whose weight files have as `[fan_in, fan_out]`; a drawn weight starts
/// as `init` says.
///
/// # Errors
/// What libtorch reports.
pub(crate) fn load_conv1d(
    loader: &mut Loader,
    name: &str,
    kind: ModuleKind,
    [fan_out, fan_in]: [i64; 2],
    init: Init,
) -> Result<Linear, ModelError> {
    let weight = loader.take_transposed(&format!("{name}.weight"), [fan_out, fan_in], init)?;
    let bias = loader.take(&format!("{name}.bias"), &[fan_out], Init::Zeros)?;
    Ok(Linear::new(name, kind, weight, Some(bias)).stored_transposed())
}

/// As [`load_linear`], without a bias.
///
/// # Errors
/// What libtorch reports.
pub(crate) fn load_unbiased_linear(
    loader: &mut Loader,
    name: &str,
    kind: ModuleKind,
    size: [i64; 2],
) -> Result<Linear, ModelError> {
    let weight = loader.take(&format!("{name}.weight"), &size, Init::Normal)?;
    Ok(Linear::new(name, kind, weight, None))
}
