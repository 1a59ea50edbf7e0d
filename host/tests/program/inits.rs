//! Init schemes of plugin files against NumPy and PEFT: `scripts/references/inits.py` made the numbers.

use std::error::Error;
use std::rc::Rc;

use lorahost::plugins::{
    Component, InitAccess, InitScheme, LayerFactors, Library, Measure, PluginFile, TensorCache,
};
use lorahost::spec::Selection;
use lorahost_plugin_api::protocol::{Factor, Layer};
use lorahost_plugin_api::sdk;
use serde_json::Value;
use tch::{Kind, Tensor};

use crate::sandbox::{plugin, workspace};

/// float32 against float64, relative to the largest value.
const TOLERANCE: f64 = 2e-5;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

#[test]
fn factors_are_those_of_numpy_and_peft() -> Outcome {
    let path = workspace().join("host/tests/data/inits.json");
    let reference: Value = serde_json::from_slice(&std::fs::read(path)?)?;
    let cases = reference["cases"].as_array().ok_or("cases")?;
    assert_eq!(cases.len(), 18);
    for case in cases {
        let name = case["scheme"].as_str().ok_or("scheme")?;
        let given = &reference["layers"][case["layer"].as_str().ok_or("layer")?];
        let [fan_out, fan_in]: [i64; 2] = serde_json::from_value(given["shape"].clone())?;
        let matrix = |value: &Value, rows, columns| -> Outcome<Tensor> {
            let values: Vec<f64> = serde_json::from_value(value.clone())?;
            Ok(Tensor::from_slice(&values).reshape([rows, columns]))
        };
        let single =
            |value| Ok::<_, Box<dyn Error>>(matrix(value, fan_out, fan_in)?.to_kind(Kind::Float));
        let measured = Measured {
            gradient: single(&given["gradient"])?,
            covariance: matrix(&given["covariance"], fan_in, fan_in)?.to_kind(Kind::Float),
        };
        let rank = reference["rank"].as_i64().ok_or("rank")?;
        let layer = Layer {
            name: "layer".to_owned(),
            index: 0,
            fan_in: fan_in as usize,
            fan_out: fan_out as usize,
            rank: rank as usize,
            scale: reference["scale"].as_f64().ok_or("scale")?,
            role: "mlp".to_owned(),
        };
        let found = factors(
            name,
            &case["options"],
            &layer,
            &single(&given["weight"])?,
            measured,
        )?;
        for (which, found, expected) in [
            ("A", &found.a, matrix(&case["a"], rank, fan_in)?),
            ("B", &found.b, matrix(&case["b"], fan_out, rank)?),
        ] {
            let off = (found.to_kind(Kind::Double) - &expected).abs().max();
            let (off, size) = (
                off.double_value(&[]),
                expected.abs().max().double_value(&[]),
            );
            assert!(
                off <= TOLERANCE * size.max(1.0),
                "{case}: {which} is off by {off} of {size}"
            );
        }
        let compensates = ["pissa", "milora", "olora", "corda", "lora-ga"].contains(&name);
        assert_eq!(found.compensate, compensates, "{name}");
        assert_eq!(
            found.frozen,
            (name == "mica").then_some(Factor::B),
            "{name}"
        );
    }
    Ok(())
}

/// The factors of a plugin's scheme, with an empty cache and again with a full one.
fn factors(
    name: &str,
    options: &Value,
    layer: &Layer,
    weight: &Tensor,
    measured: Measured,
) -> Outcome<LayerFactors> {
    let file = PluginFile::read(&plugin(&format!("{}_init", name.replace('-', "_"))))?;
    let manifest = &file.manifest.components[0];
    let defaults = manifest.parameters.iter();
    let mut parameters: serde_json::Map<_, _> = defaults
        .map(|parameter| (parameter.name.clone(), parameter.default.clone()))
        .collect();
    parameters.extend(options.as_object().cloned().ok_or("options")?);
    let selection = Selection {
        name: name.to_owned(),
        parameters,
        sha256: file.sha256,
        file: file.path,
    };
    let folder = tempfile::tempdir()?;
    let access = InitAccess {
        measure: Rc::new(measured),
        cache: Rc::new(TensorCache::new(folder.path(), &selection)),
    };
    let library = Library::of(&selection)?;
    let component = Component::create(library, "init", name, &selection.parameters)?;
    let scheme = InitScheme::new(component, 1, access);
    let first = scheme.init(layer, weight)?;
    let second = scheme.init(layer, weight)?;
    assert_eq!(first.a, second.a, "{name}: what was kept is what was made");
    assert_eq!(first.b, second.b, "{name}: what was kept is what was made");
    assert_eq!(std::fs::read_dir(folder.path())?.count(), 1, "{name}");
    Ok(second)
}

struct Measured {
    gradient: Tensor,
    covariance: Tensor,
}

impl Measure for Measured {
    fn gradient(&self, _layer: &str, _batches: u64) -> sdk::Result<Tensor> {
        Ok(self.gradient.copy())
    }

    fn covariance(&self, _layer: &str, _batches: u64) -> sdk::Result<Tensor> {
        Ok(self.covariance.copy())
    }
}
