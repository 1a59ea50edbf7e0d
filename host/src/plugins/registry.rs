//! Which plugin files there are, and which component comes from which.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::component::check_requires;
use super::{PluginError, PluginFile};
use crate::spec::{Catalogue, ComponentEntry, Plan};

/// The plugin files of `--plugin` and of the searched folders, and their components.
#[derive(Debug, Default)]
pub struct Registry {
    entries: Vec<ComponentEntry>,
    /// Of files in searched folders that cannot be used.
    broken: Vec<PluginError>,
    notices: Vec<String>,
}

impl Registry {
    /// Reads the files named by the user and those in `folders`, in this order.
    ///
    /// A named file must be usable; one in a folder that is not is kept apart. The same content counts once. Where a
    /// named file and one in a folder have the same component, the named one is taken and a notice says so.
    ///
    /// # Errors
    /// When a named file is unusable, or two different files of the same standing have the same component.
    pub fn search(named: &[PathBuf], folders: &[PathBuf]) -> Result<Self, PluginError> {
        let mut registry = Self::default();
        let mut seen = HashSet::new();
        for path in named {
            registry.add(PluginFile::read(path)?, true, &mut seen)?;
        }
        for (_, read) in survey(folders) {
            match read {
                Ok(file) => registry.add(file, false, &mut seen)?,
                Err(error) => registry.broken.push(error),
            }
        }
        Ok(registry)
    }

    fn add(
        &mut self,
        file: PluginFile,
        explicit: bool,
        seen: &mut HashSet<String>,
    ) -> Result<(), PluginError> {
        if !seen.insert(file.sha256.clone()) {
            return Ok(());
        }
        for manifest in &file.manifest.components {
            let known = self.entries.iter().find(|entry| {
                entry.manifest.kind == manifest.kind && entry.manifest.name == manifest.name
            });
            match known {
                None => self.entries.push(ComponentEntry {
                    manifest: manifest.clone(),
                    sha256: file.sha256.clone(),
                    file: file.path.clone(),
                    explicit,
                }),
                Some(known) if known.explicit && !explicit => self.notices.push(format!(
                    "{} `{}` is taken from {} (--plugin), not from {}",
                    manifest.kind,
                    manifest.name,
                    known.file.display(),
                    file.path.display()
                )),
                Some(known) => {
                    return Err(PluginError::Duplicate {
                        kind: manifest.kind.clone(),
                        name: manifest.name.clone(),
                        first: known.file.clone(),
                        second: file.path,
                    });
                }
            }
        }
        Ok(())
    }

    /// Whether this host has what the components of a plan's runs cannot do without.
    ///
    /// # Errors
    /// [`PluginError::Requires`] of the first component of which something is missing.
    pub fn check_requires(&self, plan: &Plan) -> Result<(), PluginError> {
        let selections = plan.runs.iter().flat_map(|run| run.spec.selections());
        let mut seen = HashSet::new();
        for (kind, selection) in selections {
            if !seen.insert((kind, &selection.name)) {
                continue;
            }
            let mut entries = self.components(kind).into_iter();
            if let Some(entry) = entries.find(|entry| entry.manifest.name == selection.name) {
                check_requires(&entry.manifest, &entry.file)?;
            }
        }
        Ok(())
    }

    /// Why files in the searched folders were left out.
    #[must_use]
    pub fn broken(&self) -> &[PluginError] {
        &self.broken
    }

    /// What a user might not expect, one sentence each.
    #[must_use]
    pub fn notices(&self) -> &[String] {
        &self.notices
    }
}

impl Catalogue for Registry {
    fn components(&self, kind: &str) -> Vec<&ComponentEntry> {
        self.entries.components(kind)
    }
}

/// Where plugins are looked for: `LORAHOST_PLUGIN_PATH`, then `plugins` in the working folder, then beside the binary,
/// then what `lorahost plugin install` installed.
#[must_use]
pub fn search_folders() -> Vec<PathBuf> {
    let listed = std::env::var_os("LORAHOST_PLUGIN_PATH");
    let mut folders: Vec<PathBuf> = listed.iter().flat_map(std::env::split_paths).collect();
    folders.push(PathBuf::from("plugins"));
    if let Ok(binary) = std::env::current_exe()
        && let Some(folder) = binary.parent()
    {
        folders.push(folder.join("plugins"));
    }
    folders.extend(installed_folder());
    folders
}

/// Where installed plugins lie: `lorahost/plugins` in the user's data folder; none where the user has no home.
#[must_use]
pub fn installed_folder() -> Option<PathBuf> {
    let set = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
    let data = set
        .filter(|folder| folder.is_absolute())
        .or_else(|| Some(std::env::home_dir()?.join(".local/share")))?;
    Some(data.join("lorahost/plugins"))
}

/// Every shared library of these folders, read or refused.
pub fn survey(
    folders: &[PathBuf],
) -> impl Iterator<Item = (PathBuf, Result<PluginFile, PluginError>)> {
    let paths = folders.iter().flat_map(|folder| libraries(folder));
    paths.map(|path| {
        let read = PluginFile::read(&path);
        (path, read)
    })
}

/// Shared libraries of a folder by name; a folder that is not there has none.
fn libraries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == std::env::consts::DLL_EXTENSION)
        })
        .collect();
    paths.sort();
    paths
}
