//! Layers of settings, one upon the other, and the grid that they span.

use serde_json::Value as Json;

use super::error::SpecError;
use super::grid::{Dimension, Grid};
use super::kind::Kind;
use super::layer::{Layer, Setting};
use super::schema::{Fallback, KEYS};
use super::select::{Catalogue, select};

/// Layers of which later ones go before earlier ones; the first are the defaults.
pub(crate) struct Settings<'a> {
    layers: Vec<&'a Layer>,
}

impl<'a> Settings<'a> {
    pub fn new(layers: Vec<&'a Layer>) -> Self {
        Self { layers }
    }

    pub fn values(&self, key: &str) -> Vec<Json> {
        self.setting(key)
            .map(|setting| setting.values.clone())
            .unwrap_or_default()
    }

    /// Every key that has a value, except for those of `run`, and what the user should know of them.
    ///
    /// # Errors
    /// A model without data or data without a model; a component or parameter that does not fit.
    pub fn grid(
        &self,
        catalogue: &dyn Catalogue,
        limit: usize,
    ) -> Result<(Grid, Vec<String>), SpecError> {
        self.refuse_beside_an_adapter()?;
        let methods = self.values("method");
        let has_lora = methods.contains(&Json::from("lora"));
        let mut notices = Vec::new();
        let mut dimensions = Vec::new();
        for key in KEYS
            .iter()
            .filter(|key| key.is_axis() && key.name != "method")
        {
            if key.kind == Kind::Component {
                let asked_for = self.layers[1..]
                    .iter()
                    .any(|layer| layer.wanted(key.name).is_some());
                if key.is_lora_only() && !has_lora && !asked_for {
                    continue;
                }
                let selected = select(key.name, &self.layers, catalogue, limit)?;
                notices.extend(selected.notices);
                dimensions.push(Dimension::of_components(key, &selected.selections));
            } else if let Some(setting) = self.setting(key.name) {
                dimensions.push(Dimension::new(key, setting.values.clone()));
            }
        }
        self.add_builtin(&mut dimensions)?;
        // Seeds vary faster than what tells cells apart, and the learning rate fastest.
        dimensions.sort_by_key(|dimension| match dimension.key.name {
            "train.lr" => 2,
            name if name.starts_with("seed") => 1,
            _ => 0,
        });
        let given = &self.layers[1..];
        let grid = Grid {
            methods,
            dimensions,
            says_dropout: given
                .iter()
                .any(|layer| layer.get("lora.dropout").is_some()),
        };
        Ok((grid, notices))
    }

    fn setting(&self, key: &str) -> Option<&'a Setting> {
        self.layers.iter().rev().find_map(|layer| layer.get(key))
    }

    /// What an adapter brings is not to be given.
    fn refuse_beside_an_adapter(&self) -> Result<(), SpecError> {
        if self.setting("model.adapter").is_none() {
            return Ok(());
        }
        let mut given = self.layers[1..].iter().flat_map(|layer| layer.origins());
        let own = given.find(|(key, ..)| {
            matches!(
                key.name,
                "lora.rank" | "lora.targets" | "lora.init_scale_a" | "init" | "alpha"
            )
        });
        match own {
            Some((_, key, origin)) => Err(SpecError::OfTheAdapter {
                key,
                origin: origin.clone(),
            }),
            None => Ok(()),
        }
    }

    /// The built-in example where neither model nor data is named.
    fn add_builtin(&self, dimensions: &mut Vec<Dimension>) -> Result<(), SpecError> {
        let model = self.setting("model.path").is_some();
        let data = ["data.path", "data.train_file"]
            .into_iter()
            .find(|key| self.setting(key).is_some());
        match (model, data) {
            (true, Some(_)) => Ok(()),
            (true, None) => Err(SpecError::HalfOfAPair {
                named: "`model.path`",
                missing: "`data.path` or `data.train_file`",
                flag: "--data FOLDER or --train-file FILE",
            }),
            (false, Some(named)) => Err(SpecError::HalfOfAPair {
                named: if named == "data.path" {
                    "`data.path`"
                } else {
                    "`data.train_file`"
                },
                missing: "`model.path`",
                flag: "--model FOLDER",
            }),
            (false, None) => {
                dimensions.extend(KEYS.iter().filter_map(|key| match key.default {
                    Fallback::Builtin(path) => Some(Dimension::new(key, vec![Json::from(path)])),
                    _ => None,
                }));
                Ok(())
            }
        }
    }
}
