//! The linear layer, with or without LoRA.

use std::cell::OnceCell;

use serde::{Deserialize, Serialize};
use tch::{Kind, TchError, Tensor};

use super::lowered::{Full, Lowered};
use super::{AdapterError, LayerInfo, Parameter, Role, observer};
use crate::dropout::{Dropout, Pass};
use crate::native;
use crate::native::linear::First;

/// Where in the model a linear layer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModuleKind {
    Attention,
    Mlp,
    Head,
}

impl ModuleKind {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Attention => "attention",
            Self::Mlp => "mlp",
            Self::Head => "head",
        }
    }
}

/// The LoRA factors of one layer as an init scheme and an alpha policy made them.
#[derive(Debug)]
pub struct Factors {
    /// `[rank, fan_in]`.
    pub a: Tensor,
    /// `[fan_out, rank]`.
    pub b: Tensor,
    /// s of y = Wx + sBAx.
    pub scale: f64,
    /// Dropout on the input of the LoRA path.
    pub dropout: f64,
    /// Replaces W by W - s B A, so that the layer starts as it was.
    pub compensate: bool,
    pub train_a: bool,
    pub train_b: bool,
}

impl Factors {
    /// Both factors trained, no dropout, no compensation.
    #[must_use]
    pub fn new(a: Tensor, b: Tensor, scale: f64) -> Self {
        Self {
            a,
            b,
            scale,
            dropout: 0.0,
            compensate: false,
            train_a: true,
            train_b: true,
        }
    }
}

/// y = Wx + b + s B A x, with or without the second half.
#[derive(Debug)]
pub struct Linear {
    name: String,
    kind: ModuleKind,
    weight: Tensor,
    bias: Option<Tensor>,
    bias_name: String,
    /// The weight belongs to another module, which counts, trains and saves it.
    tied: bool,
    /// Files have W as `[fan_in, fan_out]`.
    stored_transposed: bool,
    lora: Option<Lora>,
    /// Where products are made in bfloat16.
    lowered: OnceCell<Lowered>,
}

#[derive(Debug)]
struct Lora {
    a: Tensor,
    b: Tensor,
    scale: f64,
    dropout: Dropout,
    train_a: bool,
    train_b: bool,
    /// A and B as they were taken off W, where they were.
    compensated: Option<(Tensor, Tensor)>,
}

impl Linear {
    /// A layer under Hugging Face's module path `name`: `weight` is `[fan_out, fan_in]`, `bias` is `[fan_out]`.
    #[must_use]
    pub fn new(name: &str, kind: ModuleKind, weight: Tensor, bias: Option<Tensor>) -> Self {
        let bias_name = format!("{name}.bias");
        Self {
            name: name.to_owned(),
            kind,
            weight,
            bias,
            bias_name,
            tied: false,
            stored_transposed: false,
            lora: None,
            lowered: OnceCell::new(),
        }
    }

    /// As [`Linear::new`], with a weight that is another module's own.
    #[must_use]
    pub fn tied(name: &str, kind: ModuleKind, weight: Tensor, bias: Option<Tensor>) -> Self {
        Self {
            tied: true,
            ..Self::new(name, kind, weight, bias)
        }
    }

    /// The bias under a full name of its own.
    #[must_use]
    pub fn with_bias_name(self, name: &str) -> Self {
        Self {
            bias_name: name.to_owned(),
            ..self
        }
    }

    /// As this layer, with a weight that files have as `[fan_in, fan_out]`: transformers' `Conv1D`. It is
    /// `[fan_out, fan_in]` here all the same.
    #[must_use]
    pub fn stored_transposed(self) -> Self {
        Self {
            stored_transposed: true,
            ..self
        }
    }

    /// y of `x`: `[rows, fan_in]` to `[rows, fan_out]`.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn forward(&self, x: &Tensor, pass: &Pass) -> Result<Tensor, TchError> {
        Self::together(&[self], x, pass)
    }

    /// What layers that share their input make of it, side by side: `[rows, fan_in]` to `[rows, sum of fan_out]`. One
    /// wide product is faster than several narrow ones.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn together(layers: &[&Self], x: &Tensor, pass: &Pass) -> Result<Tensor, TchError> {
        for layer in layers {
            observer::show(&layer.name, x)?;
        }
        if layers
            .iter()
            .any(|layer| layer.drops(pass) || layer.is_lowered())
        {
            let parts = layers.iter().map(|layer| layer.beside(x, pass));
            return Tensor::f_cat(&parts.collect::<Result<Vec<_>, _>>()?, 1);
        }
        let layers: Vec<_> = layers.iter().map(|layer| layer.native()).collect();
        native::linear::linear(x, First::Nothing, &layers)
    }

    /// y of an activation of `x`, `[rows, fan_in]` to `[rows, fan_out]`. What the activation gives is made again in the
    /// backward pass, and not kept.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn after(&self, first: First, x: &Tensor, pass: &Pass) -> Result<Tensor, TchError> {
        // An observer wants the layer's own input.
        if self.drops(pass) || self.is_lowered() || observer::present() {
            return self.forward(&first.apply(x)?, pass);
        }
        native::linear::linear(x, first, &[self.native()])
    }

    /// Whether the products are made in a lower precision than float32.
    pub(crate) fn is_lowered(&self) -> bool {
        self.lowered.get().is_some()
    }

    fn drops(&self, pass: &Pass) -> bool {
        let lora = self.lora.as_ref();
        lora.is_some_and(|lora| lora.dropout.is_active(pass))
    }

    fn native(&self) -> native::linear::Layer<'_> {
        native::linear::Layer {
            weight: &self.weight,
            bias: self.bias.as_ref(),
            lora: self.lora.as_ref().map(|lora| native::linear::Lora {
                a: &lora.a,
                b: &lora.b,
                scale: lora.scale,
            }),
        }
    }

    /// The plain way, for dropout on the input of the LoRA path, which rules out W + s B A: the two halves, one beside
    /// the other.
    fn beside(&self, x: &Tensor, pass: &Pass) -> Result<Tensor, TchError> {
        if let Some(lowered) = self.lowered.get() {
            return self.below(lowered, x, pass);
        }
        let mut y = x.f_linear(&self.weight, self.bias.as_ref())?;
        let Some(lora) = &self.lora else { return Ok(y) };
        let input = lora.dropout.forward(x, pass)?;
        // s goes into the narrow side, and the sum into the product: no pass over y of its own.
        let mut narrow = input.f_matmul(&lora.a.f_transpose(0, 1)?)?;
        let narrow = narrow.f_mul_scalar_(lora.scale)?;
        y.f_addmm_(&narrow, &lora.b.f_transpose(0, 1)?)
    }

    /// As [`Linear::beside`], in bfloat16.
    fn below(&self, lowered: &Lowered, x: &Tensor, pass: &Pass) -> Result<Tensor, TchError> {
        let Some(lora) = &self.lora else {
            return lowered.forward(self.full(), x, None);
        };
        let input = lora.dropout.forward(x, pass)?;
        let factors = (&lora.a, &lora.b, lora.scale, &input);
        lowered.forward(self.full(), x, Some(factors))
    }

    fn full(&self) -> Full<'_> {
        Full {
            weight: &self.weight,
            bias: self.bias.as_ref(),
        }
    }

    /// Makes this layer's products in bfloat16 from now on. What learns stays float32; it has to be settled before what
    /// that is, and W must not change afterwards but by learning.
    pub(crate) fn lower(&self) -> Result<(), TchError> {
        let lowered = Lowered::new(self.full())?;
        self.lowered.get_or_init(|| lowered);
        Ok(())
    }

    /// Puts LoRA on this layer. The factors are copied to the layer's device as float32.
    ///
    /// # Errors
    /// Wrong shapes, values that are not finite, a layer that has factors already or a tied weight.
    pub fn attach(&mut self, factors: Factors) -> Result<(), AdapterError> {
        let refuse = |reason| AdapterError::NoFactors {
            layer: self.name.clone(),
            reason,
        };
        if self.tied {
            return Err(refuse("its weight is another module's own"));
        }
        if self.lora.is_some() {
            return Err(refuse("it has factors already"));
        }
        if !factors.scale.is_finite() {
            return Err(AdapterError::Scale {
                layer: self.name.clone(),
                scale: factors.scale,
            });
        }
        let rank = factors.a.size().first().copied().unwrap_or(0).max(1);
        self.check("A", &factors.a, [rank, self.fan_in()])?;
        self.check("B", &factors.b, [self.fan_out(), rank])?;
        tch::no_grad(|| self.adopt(factors)).map_err(|source| AdapterError::Torch {
            layer: self.name.clone(),
            source,
        })
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn kind(&self) -> ModuleKind {
        self.kind
    }

    /// W as the layer computes with it, `[fan_out, fan_in]`: less s B A where the init scheme compensated.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// The full name of the bias, whether there is one or not.
    #[must_use]
    pub fn bias_name(&self) -> &str {
        &self.bias_name
    }

    #[must_use]
    pub fn fan_in(&self) -> i64 {
        self.weight.size()[1]
    }

    #[must_use]
    pub fn fan_out(&self) -> i64 {
        self.weight.size()[0]
    }

    #[must_use]
    pub fn is_tied(&self) -> bool {
        self.tied
    }

    /// Whether files have the weight as `[fan_in, fan_out]`.
    #[must_use]
    pub fn is_stored_transposed(&self) -> bool {
        self.stored_transposed
    }

    /// Whether the layer has LoRA factors.
    #[must_use]
    pub fn is_wrapped(&self) -> bool {
        self.lora.is_some()
    }

    /// A `[rank, fan_in]`, B `[fan_out, rank]` and s, where the layer has them.
    #[must_use]
    pub fn factors(&self) -> Option<(&Tensor, &Tensor, f64)> {
        self.lora
            .as_ref()
            .map(|lora| (&lora.a, &lora.b, lora.scale))
    }

    /// A and B that were taken off W at the start, where the init scheme compensated.
    #[must_use]
    pub fn compensated(&self) -> Option<(&Tensor, &Tensor)> {
        self.lora
            .as_ref()?
            .compensated
            .as_ref()
            .map(|(a, b)| (a, b))
    }

    #[must_use]
    pub fn info(&self, index: usize) -> LayerInfo {
        LayerInfo {
            name: self.name.clone(),
            index,
            fan_in: self.fan_in(),
            fan_out: self.fan_out(),
            kind: self.kind,
        }
    }

    /// W + s B A, `[fan_out, fan_in]`: the layer as one plain matrix, detached.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn merged(&self) -> Result<Tensor, TchError> {
        let weight = self.weight.f_detach()?;
        let Some(lora) = &self.lora else {
            return Ok(weight);
        };
        let b = lora.b.f_detach()?.f_mul_scalar(lora.scale)?;
        weight.f_addmm(&b.f_contiguous()?, &lora.a.f_detach()?)
    }

    /// Makes W + s B A the layer's own weight; the factors are gone.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn merge(&mut self) -> Result<(), TchError> {
        if self.lora.is_some() {
            let merged = tch::no_grad(|| self.merged())?;
            tch::no_grad(|| self.weight.f_copy_(&merged))?;
            self.lora = None;
        }
        Ok(())
    }

    /// The layer's own parameters, frozen ones too; `index` is the pair's number.
    #[must_use]
    pub fn parameters(&self, index: usize) -> Vec<Parameter> {
        let head = self.kind == ModuleKind::Head;
        let plain = |name: String, role, tensor: &Tensor| Parameter {
            name,
            role: if head { Role::Head } else { role },
            pair: None,
            scale: 1.0,
            tensor: tensor.shallow_clone(),
            decay: true,
        };
        let mut list = Vec::new();
        if !self.tied {
            list.push(plain(
                format!("{}.weight", self.name),
                Role::Base,
                &self.weight,
            ));
        }
        if let Some(bias) = &self.bias {
            list.push(plain(self.bias_name.clone(), Role::Bias, bias));
        }
        if let Some(lora) = &self.lora {
            for (factor, role, tensor) in
                [("lora_A", Role::A, &lora.a), ("lora_B", Role::B, &lora.b)]
            {
                list.push(Parameter {
                    name: format!("{}.{factor}.weight", self.name),
                    role,
                    pair: Some(index),
                    scale: lora.scale,
                    tensor: tensor.shallow_clone(),
                    decay: true,
                });
            }
        }
        list
    }

    /// Lets the plain weights learn or not, and the factors as their scheme wants.
    pub(crate) fn train(&self, weights: bool) {
        if !self.tied {
            let _ = self.weight.set_requires_grad(weights);
        }
        if let Some(bias) = &self.bias {
            let _ = bias.set_requires_grad(weights);
        }
        if let Some(lora) = &self.lora {
            let _ = lora.a.set_requires_grad(lora.train_a);
            let _ = lora.b.set_requires_grad(lora.train_b);
        }
    }

    fn check(
        &self,
        factor: &'static str,
        found: &Tensor,
        expected: [i64; 2],
    ) -> Result<(), AdapterError> {
        if found.size() != expected {
            return Err(AdapterError::Shape {
                layer: self.name.clone(),
                factor,
                found: found.size(),
                expected: expected.to_vec(),
            });
        }
        let finite = found
            .f_isfinite()
            .and_then(|finite| finite.f_all())
            .and_then(|all| all.f_int64_value(&[]))
            .map_err(|source| AdapterError::Torch {
                layer: self.name.clone(),
                source,
            })?;
        if finite == 0 {
            return Err(AdapterError::NotFinite {
                layer: self.name.clone(),
                factor,
            });
        }
        Ok(())
    }

    fn adopt(&mut self, factors: Factors) -> Result<(), TchError> {
        let Factors {
            a,
            b,
            scale,
            dropout,
            compensate,
            train_a,
            train_b,
        } = factors;
        let device = self.weight.device();
        let own = |tensor: &Tensor| -> Result<Tensor, TchError> {
            let mut copy = Tensor::f_empty(tensor.size(), (Kind::Float, device))?;
            copy.f_copy_(tensor)?;
            Ok(copy)
        };
        let (a, b) = (own(&a)?, own(&b)?);
        let mut compensated = None;
        if compensate {
            let update = b.f_mul_scalar(scale)?.f_matmul(&a)?;
            let _ = self.weight.f_sub_(&update)?;
            compensated = Some((own(&a)?, own(&b)?));
        }
        let _ = a.f_set_requires_grad(train_a)?;
        let _ = b.f_set_requires_grad(train_b)?;
        let dropout = Dropout::new(&format!("{}.lora", self.name), dropout);
        self.lora = Some(Lora {
            a,
            b,
            scale,
            dropout,
            train_a,
            train_b,
            compensated,
        });
        Ok(())
    }
}
