//! `lorahost.json`: where what lies beside it comes from.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ExportError, Request};
use crate::atomic;
use crate::digest::sha256_of_file;
use crate::model::KeptHead;
use crate::record::RunResult;
use crate::spec::{Selection, portable};
use crate::trained::KeptRun;

/// Beside the files of an export.
pub const PROVENANCE_FILE: &str = "lorahost.json";

const FORMAT: &str = "lorahost-export/1";

/// The content of [`PROVENANCE_FILE`]. It stands there and not in `adapter_config.json`, which other programs read.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Provenance {
    format: String,
    /// `adapter`, `merged` or `full`.
    form: String,
    /// `float32`, `bfloat16` or `float16`.
    dtype: String,
    /// The run's identity, and its cell in the sweep that it was made for.
    run: String,
    cell: String,
    /// The run's resolved spec; plugin files by their hash, not by their place.
    spec: Value,
    /// What the run measured, and on what machine.
    result: RunResult,
    head: Option<KeptHead>,
    /// sha256 of the files beside this one.
    files: BTreeMap<String, String>,
}

impl Provenance {
    pub fn of(run: &KeptRun, request: &Request<'_>, head: Option<&KeptHead>) -> Self {
        let record = &run.record;
        let mut result = record.result.clone();
        for plugin in &mut result.provenance.plugins {
            let name = plugin.file.file_name();
            plugin.file = name.map(Into::into).unwrap_or_default();
        }
        Self {
            format: FORMAT.to_owned(),
            form: request.form.name().to_owned(),
            dtype: request.precision.name().to_owned(),
            run: record.spec.id.clone(),
            cell: record.spec.cell.clone(),
            spec: portable(&record.spec.spec),
            result,
            head: head.cloned(),
            files: BTreeMap::new(),
        }
    }

    /// Adds the hashes of what lies in `inside` and writes itself there.
    pub fn write(mut self, inside: &Path) -> io::Result<()> {
        for entry in fs::read_dir(inside)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            self.files.insert(name, sha256_of_file(&entry.path())?);
        }
        let json = serde_json::to_string_pretty(&self)?;
        atomic::write(&inside.join(PROVENANCE_FILE), |file| {
            io::Write::write_all(file, format!("{json}\n").as_bytes())
        })
    }
}

/// What an export says of how it was made, as far as evaluating it needs it.
#[derive(Debug, Clone)]
pub struct Exported {
    /// The task head, without the place of its file.
    pub head: Selection,
    /// Names of the outputs; empty where they have none, or the files beside say it.
    pub labels: Vec<String>,
    /// Of what the task head draws.
    pub seed: u64,
}

impl Exported {
    /// Reads [`PROVENANCE_FILE`] of `folder`; none where there is none of an export.
    ///
    /// # Errors
    /// A file that cannot be read, or is not what an export writes.
    pub fn read(folder: &Path) -> Result<Option<Self>, ExportError> {
        let path = folder.join(PROVENANCE_FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(ExportError::Provenance {
                    path,
                    reason: source.to_string(),
                });
            }
        };
        let wrong = |reason: String| ExportError::Provenance {
            path: path.clone(),
            reason,
        };
        let value: Value =
            serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        match value["format"].as_str() {
            Some(FORMAT) => {}
            Some(newer) if newer.starts_with("lorahost-export/") => {
                return Err(wrong(format!(
                    "its format is {newer}, this lorahost reads {FORMAT}"
                )));
            }
            // An output folder has a file of this name too.
            _ => return Ok(None),
        }
        let spec = &value["spec"];
        let read = |what: &str, value: &Value| {
            let text = value.as_str().map(str::to_owned);
            text.ok_or_else(|| wrong(format!("it has no {what}")))
        };
        let parameters = spec["head"]["parameters"].as_object().cloned();
        let labels = value["head"]["labels"].as_array();
        let labels = labels.into_iter().flatten().filter_map(Value::as_str);
        Ok(Some(Self {
            head: Selection {
                name: read("task head", &spec["head"]["name"])?,
                parameters: parameters.unwrap_or_default(),
                sha256: read("hash of its task head", &spec["head"]["sha256"])?,
                file: PathBuf::new(),
            },
            labels: labels.map(str::to_owned).collect(),
            seed: spec["seeds"]["head"].as_u64().unwrap_or(0),
        }))
    }
}
