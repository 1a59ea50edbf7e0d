//! Components as plugins would bring them, and short ways to a plan.

use std::path::Path;

use clap::Parser;
use lorahost::cli::args::Cli;
use lorahost::spec::{ComponentEntry, Layer, Plan, RawSpec, SpecError};
use lorahost_plugin_api::protocol::ComponentManifest;
use serde_json::json;

/// The components of the standard plugins, none of them named by `--plugin`.
pub fn standard() -> Vec<ComponentEntry> {
    vec![
        entry("init", "uniform", &json!([])),
        entry(
            "init",
            "gaussian",
            &json!([
                { "name": "std_a", "type": "float", "default": 1, "min": 0.0 },
                { "name": "std_b", "type": "float", "default": 0.0, "min": 0.0, "max": 10.0 },
                { "name": "unit", "type": "choice", "default": "fan_in", "choices": ["absolute", "fan_in", "rank"] },
                { "name": "compensate", "type": "bool", "default": false },
            ]),
        ),
        entry(
            "alpha",
            "constant",
            &json!([{ "name": "alpha", "type": "float", "default": 32.0, "min": 0.0 }]),
        ),
        entry(
            "alpha",
            "proportional",
            &json!([{ "name": "k", "type": "float", "default": 2.0, "min": 0.0 }]),
        ),
        entry(
            "optimizer",
            "adamw",
            &json!([
                { "name": "beta1", "type": "float", "default": 0.9, "min": 0.0, "max": 1.0 },
                { "name": "weight_decay", "type": "float", "default": 0.01, "min": 0.0 },
            ]),
        ),
        entry(
            "optimizer",
            "sgd",
            &json!([{ "name": "momentum", "type": "float", "default": 0.0 }]),
        ),
        entry("head", "sequence-classification", &json!([])),
        entry(
            "head",
            "masked-lm",
            &json!([{ "name": "every", "type": "int", "default": 7, "min": 2, "max": 100 }]),
        ),
    ]
}

/// A component in a file of its own.
pub fn entry(kind: &str, name: &str, parameters: &serde_json::Value) -> ComponentEntry {
    let manifest = json!({ "kind": kind, "name": name, "parameters": parameters });
    let manifest: ComponentManifest = serde_json::from_value(manifest).expect("a manifest");
    ComponentEntry {
        manifest,
        sha256: format!("{:0>64}", format!("{kind}{name}").len()),
        file: format!("plugins/{name}_{kind}.so").into(),
        explicit: false,
    }
}

/// The standard components with one marked as named by `--plugin`.
pub fn with_explicit(names: &[&str]) -> Vec<ComponentEntry> {
    let mut entries = standard();
    for entry in &mut entries {
        entry.explicit = names.contains(&entry.manifest.name.as_str());
    }
    entries
}

/// The plan of a command line, words separated by white space.
pub fn plan(command_line: &str) -> Result<Plan, SpecError> {
    plan_with(command_line, &standard())
}

pub fn plan_with(command_line: &str, entries: &Vec<ComponentEntry>) -> Result<Plan, SpecError> {
    let words = std::iter::once("lorahost").chain(command_line.split_whitespace());
    let cli = Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
    cli.study().experiment.raw_spec()?.plan(entries)
}

/// The plan of an experiment file's text.
pub fn plan_file(toml: &str) -> Result<Plan, SpecError> {
    plan_file_under(toml, Layer::default())
}

pub fn plan_file_under(toml: &str, command_line: Layer) -> Result<Plan, SpecError> {
    let file = Layer::from_toml(toml, Path::new("e.toml"))?;
    RawSpec::new(Some(file), command_line).plan(&standard())
}
