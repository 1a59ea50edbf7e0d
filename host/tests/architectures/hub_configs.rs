//! The `config.json` of well-known models: `scripts/references/configs.py` has them, and what transformers makes of each.

use std::collections::BTreeMap;
use std::fs;

use lorahost::model::{Model, Part};
use lorahost::spec::Weights;
use serde::Deserialize;
use serde_json::Value;

use crate::folder::{Outcome, options};

#[derive(Deserialize)]
struct Known {
    /// As the hub has it.
    published: Value,
    /// With every key that transformers writes.
    full: Value,
    /// Of the model without a head.
    parameters: usize,
}

#[test]
fn every_setting_of_well_known_models_is_known() -> Outcome {
    let known: BTreeMap<String, Known> =
        serde_json::from_str(include_str!("../data/hub_configs.json"))?;
    assert!(known.len() > 9);
    for (name, known) in &known {
        for (form, config) in [("published", &known.published), ("full", &known.full)] {
            let folder = tempfile::tempdir()?;
            fs::write(folder.path().join("config.json"), config.to_string())?;
            let path = folder.path().to_str().unwrap_or_default();
            let model = Model::outline(path, options(Weights::Random))
                .and_then(|model| model.refuse_unknown_settings().map(|()| model))
                .map_err(|error| format!("{name}, {form}: {error}"))?;
            let parts = model.parts();
            let sizes = parts.iter().flat_map(|part: &Part| part.parameters(0));
            let parameters: usize = sizes.map(|parameter| parameter.tensor.numel()).sum();
            assert_eq!(parameters, known.parameters, "{name}, {form}");
        }
    }
    Ok(())
}
