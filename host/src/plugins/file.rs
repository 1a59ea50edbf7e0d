//! A plugin file before any of its code runs: its bytes, hash and manifest.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use lorahost_plugin_api::protocol::{ABI, MANIFEST_SECTION, Manifest};
use object::{Object, ObjectSection};
use serde_json::Value;

use super::PluginError;
use crate::digest::sha256;

/// Largest file that is read: far above any plugin, far below what would hurt.
const MAX_BYTES: u64 = 256 << 20;

/// A plugin file that was read and hashed, not run.
#[derive(Debug)]
pub struct PluginFile {
    pub path: PathBuf,
    /// In hexadecimal.
    pub sha256: String,
    pub manifest: Manifest,
    /// The descriptor that was hashed: what is opened later, whatever the path then names.
    pub(super) file: File,
}

impl PluginFile {
    /// Reads, hashes and checks a file: ELF class and machine, manifest, ABI.
    ///
    /// # Errors
    /// When it cannot be read, is no plugin, or is one of another ABI.
    pub fn read(path: &Path) -> Result<Self, PluginError> {
        let unreadable = |reason: String| PluginError::Read {
            path: path.to_owned(),
            reason,
        };
        let mut file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
        let metadata = file
            .metadata()
            .map_err(|error| unreadable(error.to_string()))?;
        if !metadata.is_file() {
            return Err(unreadable("it is not a regular file".to_owned()));
        }
        if metadata.len() > MAX_BYTES {
            return Err(unreadable(format!(
                "{} bytes are more than any plugin has",
                metadata.len()
            )));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)
            .map_err(|error| unreadable(error.to_string()))?;
        let manifest = manifest(path, &bytes)?;
        Ok(Self {
            path: path.to_owned(),
            sha256: sha256(&bytes),
            manifest,
            file,
        })
    }

    /// Names of the libraries that the loader brings in for it.
    ///
    /// # Errors
    /// When the file cannot be read again, or has no such list.
    pub fn libraries(&self) -> Result<Vec<String>, PluginError> {
        let unreadable = |reason: String| PluginError::Read {
            path: self.path.clone(),
            reason,
        };
        let bytes = std::fs::read(&self.path).map_err(|error| unreadable(error.to_string()))?;
        let object = object::File::parse(&*bytes);
        let named = object.and_then(|object| {
            let names = object.import_libraries()?;
            names
                .map(|library| Ok(String::from_utf8_lossy(library?.name()).into_owned()))
                .collect()
        });
        named.map_err(|error: object::Error| unreadable(error.to_string()))
    }
}

fn manifest(path: &Path, bytes: &[u8]) -> Result<Manifest, PluginError> {
    let foreign = |reason: String| PluginError::NotAPlugin {
        path: path.to_owned(),
        reason,
    };
    let object = object::File::parse(bytes)
        .map_err(|_| foreign("it is not a shared library of this system".to_owned()))?;
    if object.kind() != object::ObjectKind::Dynamic {
        return Err(foreign("it is not a shared library".to_owned()));
    }
    if object.architecture() != host_architecture() {
        return Err(foreign(format!(
            "it was built for {:?}, this machine is {}",
            object.architecture(),
            std::env::consts::ARCH
        )));
    }
    let section = object
        .section_by_name(MANIFEST_SECTION)
        .or_else(|| object.section_by_name("__lorahost"))
        .ok_or_else(|| {
            foreign(format!(
                "it has no section {MANIFEST_SECTION}; is export_plugin! in the crate?"
            ))
        })?;
    let json = section
        .data()
        .map_err(|error| foreign(format!("its manifest cannot be read: {error}")))?;
    let value: Value = serde_json::from_slice(json)
        .map_err(|error| foreign(format!("its manifest is not JSON: {error}")))?;
    if let Some(odd) = control_character(&value) {
        return Err(foreign(format!(
            "its manifest holds the control character {odd:?}"
        )));
    }
    // The ABI comes first: a manifest of another one may look different in every other way.
    let abi = value
        .get("abi")
        .and_then(Value::as_u64)
        .ok_or_else(|| foreign("its manifest names no ABI".to_owned()))?;
    if abi != u64::from(ABI) {
        return Err(PluginError::Abi {
            path: path.to_owned(),
            found: abi,
            expected: ABI,
        });
    }
    let manifest: Manifest = serde_json::from_value(value)
        .map_err(|error| foreign(format!("its manifest does not fit: {error}")))?;
    if manifest.components.is_empty() {
        return Err(foreign("its manifest lists no component".to_owned()));
    }
    let plain = |text: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter))
    };
    if let Some(odd) = manifest
        .components
        .iter()
        .find(|component| !plain(&component.kind) || !plain(&component.name))
    {
        return Err(foreign(format!(
            "the name {:?} of its component is not made of letters, digits, - and _",
            format!("{}/{}", odd.kind, odd.name)
        )));
    }
    Ok(manifest)
}

/// The first character of a text in `value` that a terminal would obey, but for line ends.
fn control_character(value: &Value) -> Option<char> {
    let of = |text: &str| text.chars().find(|&c| c.is_control() && c != '\n');
    match value {
        Value::String(text) => of(text),
        Value::Array(list) => list.iter().find_map(control_character),
        Value::Object(map) => map
            .iter()
            .find_map(|(key, value)| of(key).or_else(|| control_character(value))),
        _ => None,
    }
}

fn host_architecture() -> object::Architecture {
    match std::env::consts::ARCH {
        "x86_64" => object::Architecture::X86_64,
        "aarch64" => object::Architecture::Aarch64,
        _ => object::Architecture::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use lorahost_plugin_api::protocol::{ComponentManifest, Parameter, ParameterKind};
    use proptest::option;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parameter() -> impl Strategy<Value = Parameter> {
        let kinds = [
            ParameterKind::Float,
            ParameterKind::Int,
            ParameterKind::Bool,
            ParameterKind::String,
            ParameterKind::Choice,
        ];
        let default = prop_oneof![
            prop::num::f64::NORMAL.prop_map(|number| json!(number)),
            any::<i64>().prop_map(|number| json!(number)),
            ".{0,8}".prop_map(|text| json!(text)),
        ];
        let bounds = || option::of(prop::num::f64::NORMAL | prop::num::f64::ZERO);
        let choices = prop::collection::vec(".{0,4}", 0..3);
        let fields = (".{0,8}", prop::sample::select(kinds.to_vec()), default);
        (fields, bounds(), bounds(), choices, ".{0,8}").prop_map(
            |((name, kind, default), min, max, choices, doc)| Parameter {
                name,
                kind,
                default,
                min,
                max,
                choices,
                doc,
            },
        )
    }

    fn component() -> impl Strategy<Value = ComponentManifest> {
        let parameters = prop::collection::vec(parameter(), 0..4);
        let requires = prop::collection::vec("[a-z./1]{1,12}", 0..3);
        (
            ".{0,8}",
            ".{0,8}",
            ".{0,20}",
            requires,
            parameters,
            option::of("[a-z]{1,8}"),
        )
            .prop_map(|(kind, name, summary, requires, parameters, data)| {
                ComponentManifest {
                    kind,
                    name,
                    summary,
                    requires,
                    parameters,
                    data,
                }
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_manifest_survives_json(
            components in prop::collection::vec(component(), 0..3),
            package in ".{0,8}",
        ) {
            let manifest = Manifest {
                abi: ABI,
                package,
                version: "0.1.0".to_owned(),
                licence: "MIT".to_owned(),
                components,
            };
            let json = serde_json::to_string(&manifest).unwrap();
            prop_assert_eq!(serde_json::from_str::<Manifest>(&json).unwrap(), manifest);
        }
    }
}
