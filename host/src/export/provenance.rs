//! `lorahost.json`: where what lies beside it comes from.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Request;
use crate::atomic;
use crate::digest::sha256_of_file;
use crate::model::KeptHead;
use crate::record::RunResult;
use crate::spec::portable;
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
        for entry in std::fs::read_dir(inside)? {
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
