//! Where and with what a run was made: beside its identity, never part of it.

use std::{
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use crate::{
    machine, plugins,
    spec::{RunSpec, Selection},
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Version of this program.
    pub host: String,
    /// Absent if the run ended before libtorch was asked.
    pub libtorch: Option<String>,
    /// `cpu`, or the GPU by its index: `cuda:0`.
    pub device: String,
    pub threads: usize,
    /// Model name of the CPU, where the system tells.
    pub cpu: Option<String>,
    /// Seconds since 1970 when the record was made.
    pub recorded_at: u64,
    pub plugins: Vec<PluginFile>,
    #[serde(flatten)]
    pub revisions: Revisions,
}

/// Which model and data a run took: the commits of what is from the hub, and the hash of the model's files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revisions {
    #[serde(
        rename = "model_revision",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub model: Option<String>,
    #[serde(
        rename = "data_revision",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub data: Option<String>,
    /// The sha256 of `config.json` and, unless they are drawn, the weights; absent in records of older programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_sha256: Option<String>,
}

/// A plugin file that the run used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PluginFile {
    pub kind: String,
    pub name: String,
    /// Of the plugin's crate; absent where the file has gone, or is another one by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    pub file: PathBuf,
    pub sha256: String,
}

/// What only the executor knows of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    pub device: String,
    pub libtorch: Option<String>,
}

impl Provenance {
    /// What this process knows of itself, of its machine and of the plugins of `spec`.
    #[must_use]
    pub fn collect(spec: &RunSpec, platform: Platform, threads: usize) -> Self {
        let plugins = [
            ("init", spec.init.as_ref()),
            ("alpha", spec.alpha.as_ref()),
            ("optimizer", Some(&spec.optimizer)),
            ("head", Some(&spec.head)),
        ];
        let plugins = plugins.into_iter().filter_map(|(kind, selection)| {
            selection.map(|selection| PluginFile {
                kind: kind.to_owned(),
                name: selection.name.clone(),
                version: version(selection),
                file: selection.file.clone(),
                sha256: selection.sha256.clone(),
            })
        });
        Self {
            host: env!("CARGO_PKG_VERSION").to_owned(),
            libtorch: platform.libtorch,
            device: platform.device,
            threads,
            cpu: machine::cpu_model(),
            recorded_at: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |t| t.as_secs()),
            plugins: plugins.collect(),
            revisions: Revisions::default(),
        }
    }

    /// What the last bits of a run's numbers depend on beside its identity, in words.
    #[must_use]
    pub fn machine(&self) -> String {
        format!(
            "{}, {}, {} threads, libtorch {}",
            self.cpu.as_deref().unwrap_or("an unknown CPU"),
            self.device,
            self.threads,
            self.libtorch.as_deref().unwrap_or("unknown"),
        )
    }

    /// The same of a run that took these from the hub.
    #[must_use]
    pub fn with_revisions(mut self, revisions: &Revisions) -> Self {
        self.revisions = revisions.clone();
        self
    }
}

/// What the manifest of the selected file says.
fn version(selection: &Selection) -> Option<String> {
    let file = plugins::PluginFile::read(&selection.file).ok()?;
    (file.sha256 == selection.sha256).then_some(file.manifest.version)
}
