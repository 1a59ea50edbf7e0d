//! `lorahost plugin list` and `lorahost plugin inspect`: what files say of themselves; no plugin code is run.

use std::path::{Path, PathBuf};

use lorahost_plugin_api::protocol::{ComponentManifest, Parameter};
use serde_json::{Value, json};

use super::exit::Exit;
use super::failure::Failure;
use super::output::{aligned, print};
use crate::plugins::{PluginFile, search_folders, survey};
use crate::printable::printable;

/// Lists the plugin files of the searched folders, unusable ones and those that clash with another included.
pub fn list(as_json: bool) -> Result<Exit, Failure> {
    let mut taken: Vec<(String, PathBuf, String)> = Vec::new();
    let (mut rows, mut problems, mut values) =
        (vec![HEADER.map(str::to_owned)], Vec::new(), Vec::new());
    for (path, read) in survey(&search_folders()) {
        let file = match read {
            Ok(file) => file,
            Err(error) => {
                values.push(json!({"file": path, "status": "broken", "error": error.to_string()}));
                problems.push(format!("broken: {}\n", printable(&error.to_string())));
                continue;
            }
        };
        let mut status = "ok";
        for component in &file.manifest.components {
            let name = format!("{}/{}", component.kind, component.name);
            let other = taken.iter().find(|(known, ..)| *known == name);
            let clash = other.filter(|(.., sha256)| *sha256 != file.sha256);
            if let Some((_, first, _)) = clash {
                status = "duplicate";
                problems.push(format!(
                    "duplicate: {name} is in {} and in {}\n",
                    first.display(),
                    path.display()
                ));
            }
            rows.push(row(component, &file));
            taken.push((name, path.clone(), file.sha256.clone()));
        }
        values.push(described(&file, status));
    }
    if as_json {
        print(&format!("{:#}\n", Value::Array(values)))?;
    } else if rows.len() == 1 && problems.is_empty() {
        print("no plugins; scripts/build-plugins makes those of this repository\n")?;
    } else {
        print(&(aligned(&rows) + &problems.concat()))?;
    }
    Ok(Exit::Ok)
}

const HEADER: [&str; 7] = ["kind", "name", "data", "version", "ABI", "file", "sha256"];

fn row(component: &ComponentManifest, file: &PluginFile) -> [String; 7] {
    [
        component.kind.clone(),
        component.name.clone(),
        component.data.clone().unwrap_or_default(),
        file.manifest.version.clone(),
        file.manifest.abi.to_string(),
        printable(&file.path.display().to_string()),
        file.sha256[..12].to_owned(),
    ]
}

/// Shows the components of one file and their parameters.
pub fn inspect(path: &Path, as_json: bool) -> Result<Exit, Failure> {
    let file = PluginFile::read(path)?;
    if as_json {
        print(&format!("{:#}\n", described(&file, "ok")))?;
        return Ok(Exit::Ok);
    }
    let manifest = &file.manifest;
    let mut text = format!(
        "{} {} (ABI {}, {})\nfile    {}\nsha256  {}\n",
        manifest.package,
        manifest.version,
        manifest.abi,
        manifest.licence,
        file.path.display(),
        file.sha256
    );
    for component in &manifest.components {
        text.push('\n');
        text.push_str(&component_text(component));
    }
    print(&text)?;
    Ok(Exit::Ok)
}

fn described(file: &PluginFile, status: &str) -> Value {
    json!({
        "file": file.path,
        "sha256": file.sha256,
        "status": status,
        "manifest": file.manifest,
    })
}

fn component_text(component: &ComponentManifest) -> String {
    let mut text = format!(
        "{} {}: {}\n",
        component.kind, component.name, component.summary
    );
    if let Some(data) = &component.data {
        text.extend(["  learns from ", data.as_str(), "\n"]);
    }
    if !component.requires.is_empty() {
        text.push_str("  requires ");
        text.push_str(&component.requires.join(", "));
        text.push('\n');
    }
    let parameters = component.parameters.iter().map(|parameter| {
        format!(
            "  {} = {}{}\n      {}\n",
            parameter.name,
            parameter.default,
            bounds(parameter),
            parameter.doc.replace('\n', "\n      ")
        )
    });
    text.extend(parameters);
    text
}

/// `  (0 to 1)`, `  (absolute, fan_in or rank)`, or nothing.
fn bounds(parameter: &Parameter) -> String {
    match (parameter.min, parameter.max) {
        (Some(min), Some(max)) => format!("  ({min} to {max})"),
        (Some(min), None) => format!("  ({min} or more)"),
        (None, Some(max)) => format!("  ({max} or less)"),
        (None, None) if !parameter.choices.is_empty() => {
            format!("  ({})", parameter.choices.join(", "))
        }
        (None, None) => String::new(),
    }
}
