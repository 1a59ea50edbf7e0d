//! A model of the hub without its weights: what its settings and the headers of its weight files say.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;

use super::client::{Hub, Snapshot};
use super::error::HubError;
use super::id::{HubId, RepoKind};
use super::model;
use super::settings::Settings;
use crate::atomic::folder_of;
use crate::model::INDEX;

/// Where a model can be looked at, but not opened.
#[derive(Debug)]
pub struct ModelOutline {
    /// A folder, or `builtin:NAME`.
    pub path: String,
    /// Goes with it: weight files that have their header and their size, and no more on the disk.
    _folder: Option<TempDir>,
}

/// The model that `text` names. Of one on the hub whose weights are not here yet, no more than the headers of the weight
/// files comes.
///
/// # Errors
/// When it is an id and the model cannot be had.
pub fn outline_model(text: &str) -> Result<ModelOutline, HubError> {
    let Some(id) = HubId::find(RepoKind::Model, text)? else {
        return Ok(ModelOutline {
            path: text.to_owned(),
            _folder: None,
        });
    };
    let hub = Hub::new(Settings::from_environment()?)?;
    let snapshot = hub.snapshot(&id, id.revision())?;
    let weights = model::fetch_all_but_weights(&snapshot, &id)?;
    if snapshot.are_here(&weights) {
        return Ok(ModelOutline {
            path: snapshot.folder().display().to_string(),
            _folder: None,
        });
    }
    let folder = without_weights(&snapshot, &weights)?;
    Ok(ModelOutline {
        path: folder.path().display().to_string(),
        _folder: Some(folder),
    })
}

fn without_weights(snapshot: &Snapshot<'_>, weights: &[String]) -> Result<TempDir, HubError> {
    let folder = tempfile::Builder::new()
        .prefix("lorahost-outline-")
        .tempdir()
        .map_err(HubError::file("make a folder in", std::env::temp_dir()))?;
    let mut small = model::small_files(snapshot);
    small.push(INDEX.to_owned());
    for name in small {
        let (file, link) = (snapshot.folder().join(&name), folder.path().join(&name));
        if file.exists() {
            symlink(std::path::absolute(&file).unwrap_or(file), &link)
                .map_err(HubError::file("link", link))?;
        }
    }
    for name in weights {
        let (header, size) = snapshot.header(name)?;
        let path = folder.path().join(name);
        write_sparse(&path, &header, size).map_err(HubError::file("write", path))?;
    }
    Ok(folder)
}

/// A file of `size` bytes that begins with `header`; what follows takes no room on the disk.
fn write_sparse(path: &Path, header: &[u8], size: u64) -> io::Result<()> {
    fs::create_dir_all(folder_of(path))?;
    let mut file = File::create(path)?;
    file.write_all(header)?;
    file.set_len(size)
}
