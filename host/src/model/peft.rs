//! Between a model and PEFT's files: names of modules, heads, factors that were taken off W.

use std::collections::{BTreeMap, BTreeSet};

use tch::{TchError, Tensor};

use super::load_adapter::copy_parameters;
use super::save::as_stored;
use super::{HeadLayer, Model, ModelError, Part, listed, shown};
use crate::adapter::peft::{PeftContent, PeftFolder, PeftLayer};
use crate::adapter::{Factors, Linear, ModuleKind};

/// Modules that PEFT saves whole with a head for classes, whatever the configuration says: a head layer that lies in
/// one cannot be saved by itself.
const CLASSIFIERS: &[&str] = &["classifier", "score"];

impl Model {
    /// Puts an adapter in PEFT's files on this model, which has its head and no factors yet: the factors, and in place
    /// of their own weights the modules that were trained whole. `dropout` is that of the LoRA path. Returns the full
    /// names of the parameters that the adapter replaces.
    ///
    /// # Errors
    /// Whatever would load to no effect or only in part, all of it at once: factors and parameters that fit nothing in
    /// the model or have another shape, layers that the configuration names and the file lacks.
    pub fn load_peft(
        &mut self,
        folder: &PeftFolder,
        dropout: f64,
    ) -> Result<BTreeSet<String>, ModelError> {
        let mut content = folder.content()?;
        let architecture = self.architecture();
        for layer in &mut content.layers {
            layer.module = architecture.canonical(&layer.module);
        }
        let saved = content.saved.drain(..);
        let mut saved: BTreeMap<String, Tensor> = saved
            .map(|(name, tensor)| (architecture.canonical(&name), tensor))
            .collect();
        let mut problems = self.misfits(folder, &content.layers);
        problems.extend(self.rename_tied(&mut saved)?);
        problems.extend(self.unsaved(folder, &saved));
        if !problems.is_empty() {
            return Err(folder.misfit(problems).into());
        }
        for PeftLayer {
            module,
            a,
            b,
            scale,
        } in content.layers
        {
            let factors = Factors {
                dropout,
                ..Factors::new(a, b, scale)
            };
            let index = self.linears().iter().position(|l| l.name() == module);
            if let Some(index) = index {
                self.attach(index, factors)?;
            }
        }
        let replaced = saved.keys().cloned().collect();
        copy_parameters(self, &mut saved, &|problem| {
            folder.misfit(vec![problem]).into()
        })?;
        Ok(replaced)
    }

    /// Whether what an adapter holds of the encoder fits this model, which needs neither head nor values for it.
    ///
    /// # Errors
    /// As [`Model::load_peft`], of the encoder's layers.
    pub fn check_peft(&self, folder: &PeftFolder) -> Result<(), ModelError> {
        let architecture = self.architecture();
        let heads = architecture.layouts.iter();
        let heads = heads.filter_map(|layout| (layout.describe)(self.config(), 1).ok());
        let of_heads: BTreeSet<String> = heads
            .flat_map(|head| head.layers)
            .map(|layer| layer.name)
            .collect();
        let mut layers = folder.content()?.layers;
        for layer in &mut layers {
            layer.module = architecture.canonical(&layer.module);
        }
        layers.retain(|layer| !of_heads.contains(&layer.module));
        match self.misfits(folder, &layers) {
            problems if problems.is_empty() => Ok(()),
            problems => Err(folder.misfit(problems).into()),
        }
    }

    /// What PEFT's files hold of this model: the encoder's factors, those that were taken off W as well; the whole head,
    /// with its own factors merged, unless it has no weights of its own; and those modules of the encoder whose
    /// parameters are in `replaced`.
    ///
    /// Where the init scheme compensated, W here is W0 - s B0 A0, and W + s B A = W0 + s [B, -B0] [A; A0]: plain LoRA of
    /// twice the rank on the weights that everybody has (arXiv 2404.02948).
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn peft_content(&self, replaced: &BTreeSet<String>) -> Result<PeftContent, ModelError> {
        let mut content = PeftContent::default();
        for linear in self.linears() {
            if linear.kind() != ModuleKind::Head
                && let Some(layer) = plain_layer(linear)?
            {
                content.layers.push(layer);
            }
        }
        for part in self.parts() {
            let own = part.parameters(0);
            let of_encoder = own
                .iter()
                .any(|parameter| !Self::is_factor(parameter) && replaced.contains(&parameter.name));
            let head_layer = self.head_layer_of(&part);
            if let Some(layer) = head_layer {
                // A tied layer without a bias is the encoder's table, which is as it was.
                if layer.tied && !layer.bias {
                    continue;
                }
                content.saved.extend(whole(&part)?);
                content.modules_to_save.push(module_of(layer));
            } else if of_encoder {
                let parameters = whole(&part)?;
                let module = parameters
                    .first()
                    .and_then(|(name, _)| name.rsplit_once('.'));
                content
                    .modules_to_save
                    .extend(module.map(|(module, _)| module.to_owned()));
                content.saved.extend(parameters);
            }
        }
        content.modules_to_save.dedup();
        Ok(content)
    }

    /// Whether files have the weight of some layer with factors as `[fan_in, fan_out]`.
    #[must_use]
    pub fn has_transposed_factors(&self) -> bool {
        let wrapped = |linear: &&Linear| linear.is_wrapped() && linear.is_stored_transposed();
        self.linears().iter().any(wrapped)
    }

    fn head_layer_of(&self, part: &Part<'_>) -> Option<&HeadLayer> {
        let layers = &self.head_description()?.layers;
        let name = match part {
            Part::Linear(linear) => linear.name(),
            Part::Norm(norm) => norm.name(),
            _ => return None,
        };
        layers.iter().find(|layer| layer.name == name)
    }

    /// Factors that fit no layer, or not its shape, and layers that lack theirs.
    fn misfits(&self, folder: &PeftFolder, layers: &[PeftLayer]) -> Vec<String> {
        let linears = self.linears();
        let named = |name: &str| linears.iter().find(|linear| linear.name() == name);
        let (mut unfit, mut tied, mut misshaped) = (Vec::new(), Vec::new(), Vec::new());
        for layer in layers {
            let module = shown(&layer.module);
            match named(&layer.module) {
                None => unfit.push(module),
                Some(linear) if linear.is_tied() => tied.push(module),
                Some(linear) => {
                    let found = (layer.b.size()[0], layer.a.size()[1]);
                    let expected = (linear.fan_out(), linear.fan_in());
                    if found != expected {
                        misshaped.push(format!(
                            "`{module}` (the factors are of a {} x {} layer, the model's is {} x {})",
                            found.0, found.1, expected.0, expected.1
                        ));
                    }
                }
            }
        }
        let config = &folder.config;
        let prefix = self.architecture().prefix;
        // Norms and tables too: a file of linear layers' factors has none for them.
        let modules = self.parts().into_iter().filter_map(|part| match part {
            Part::Linear(linear) => (!linear.is_tied()).then(|| linear.name().to_owned()),
            other => {
                let parameter = other.parameters(0).into_iter().next()?.name;
                Some(parameter.rsplit_once('.')?.0.to_owned())
            }
        });
        let lacking = modules.filter(|name| {
            let bare = name.strip_prefix(prefix).unwrap_or(name);
            let has = layers.iter().any(|layer| layer.module == *name);
            !has && (config.targets(name) || config.targets(bare))
        });
        let lacking: Vec<String> = lacking.collect();
        let kinds = [
            ("that fit no linear layer of the model", unfit),
            ("on layers whose weight is another module's own", tied),
            ("of another shape", misshaped),
            ("named by `target_modules` and without factors", lacking),
        ];
        kinds
            .iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(what, names)| listed(what, names))
            .collect()
    }

    /// Gives the bias of a tied layer the name that the model has for it, and takes out its weight, which must be the
    /// table's.
    fn rename_tied(&self, saved: &mut BTreeMap<String, Tensor>) -> Result<Vec<String>, ModelError> {
        let mut untied = Vec::new();
        for linear in self.linears().into_iter().filter(|linear| linear.is_tied()) {
            if let Some(weight) = saved.remove(&format!("{}.weight", linear.name()))
                && (weight.size() != linear.weight().size()
                    || !tch::no_grad(|| weight.f_equal(linear.weight()))?)
            {
                untied.push(linear.name().to_owned());
            }
            if let Some(bias) = saved.remove(&format!("{}.bias", linear.name())) {
                saved.insert(linear.bias_name().to_owned(), bias);
            }
        }
        let what = "saved with a weight of its own, which the model shares with its table of words";
        Ok(if untied.is_empty() {
            Vec::new()
        } else {
            vec![listed(what, &untied)]
        })
    }

    /// Parameters that are nobody's, or of another shape, and those of `modules_to_save` that the file lacks.
    fn unsaved(&self, folder: &PeftFolder, saved: &BTreeMap<String, Tensor>) -> Vec<String> {
        let mut known = BTreeMap::new();
        for part in self.parts() {
            for parameter in part.parameters(0) {
                if !Self::is_factor(&parameter) {
                    let mut shape = parameter.tensor.size();
                    if let Part::Linear(linear) = &part
                        && linear.is_stored_transposed()
                        && shape.len() == 2
                    {
                        shape.reverse();
                    }
                    known.insert(parameter.name, shape);
                }
            }
        }
        let unfit = saved.keys().filter(|name| !known.contains_key(*name));
        let unfit: Vec<String> = unfit.map(|name| shown(name)).collect();
        let misshaped = saved.iter().filter_map(|(name, tensor)| {
            let (found, expected) = (tensor.size(), known.get(name)?);
            (found != *expected)
                .then(|| format!("`{name}` ({found:?}, the model's is {expected:?})"))
        });
        let misshaped: Vec<String> = misshaped.collect();
        let lacking = known.keys().filter(|name| {
            let module = name.rsplit_once('.').map_or("", |(module, _)| module);
            !saved.contains_key(*name) && folder.config.saves(module)
        });
        let lacking: Vec<String> = lacking.map(|name| shown(name)).collect();
        let kinds = [
            ("that fit no parameter of the model", unfit),
            ("of another shape", misshaped),
            ("of `modules_to_save` that the file lacks", lacking),
        ];
        kinds
            .iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(what, names)| listed(what, names))
            .collect()
    }
}

/// The factors of a layer on the weights that its base has.
fn plain_layer(linear: &Linear) -> Result<Option<PeftLayer>, TchError> {
    let Some((a, b, scale)) = linear.factors() else {
        return Ok(None);
    };
    let (mut a, mut b) = (a.f_detach()?, b.f_detach()?);
    if let Some((a0, b0)) = linear.compensated() {
        a = Tensor::f_cat(&[&a, a0], 0)?;
        b = Tensor::f_cat(&[b, b0.f_neg()?], 1)?;
    }
    Ok(Some(PeftLayer {
        module: linear.name().to_owned(),
        a,
        b,
        scale,
    }))
}

/// All parameters of a module as files have them, factors merged; a bias under its module's own name.
fn whole(part: &Part<'_>) -> Result<Vec<(String, Tensor)>, TchError> {
    let Part::Linear(linear) = part else {
        let plain = part.parameters(0).into_iter();
        return plain
            .map(|parameter| Ok((parameter.name, parameter.tensor.f_detach()?)))
            .collect();
    };
    let name = format!("{}.weight", linear.name());
    let weight = as_stored(part, &name, &linear.merged()?)?;
    let bias = linear.bias().map(|bias| {
        let name = format!("{}.bias", linear.name());
        Ok((name, bias.f_detach()?))
    });
    std::iter::once(Ok((name, weight))).chain(bias).collect()
}

/// What `modules_to_save` calls a head layer.
fn module_of(layer: &HeadLayer) -> String {
    let first = layer.name.split('.').next().unwrap_or_default();
    if CLASSIFIERS.contains(&first) {
        first.to_owned()
    } else {
        layer.name.clone()
    }
}
