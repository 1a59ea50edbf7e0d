//! From what a user names to files on this machine.

use super::client::Hub;
use super::data::{self, DataFiles};
use super::error::HubError;
use super::id::{HubId, RepoKind};
use super::model;
use super::settings::Settings;

/// A model on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelPlace {
    /// A folder, or `builtin:NAME`.
    pub path: String,
    /// The commit, where it is from the hub.
    pub revision: Option<String>,
}

/// The folder of the model that `text` names, with its weights, fetched if need be; a path or `builtin:NAME` as it is.
///
/// # Errors
/// When it is an id and the model cannot be had.
pub fn resolve_model(text: &str) -> Result<String, HubError> {
    locate_model(text, true).map(|place| place.path)
}

/// The folder of a model as a record names it: one that has a commit is from the hub, and found as it was then.
///
/// # Errors
/// As [`resolve_model`].
pub fn resolve_recorded_model(text: &str, commit: Option<&str>) -> Result<String, HubError> {
    match (commit, HubId::find(RepoKind::Model, text)) {
        (Some(commit), Ok(Some(id))) => resolve_model(&format!("{}@{commit}", id.repo)),
        _ => Ok(text.to_owned()),
    }
}

/// As [`resolve_model`], with the commit; the weights are left out where they are drawn at random.
///
/// # Errors
/// As [`resolve_model`].
pub fn locate_model(text: &str, with_weights: bool) -> Result<ModelPlace, HubError> {
    let Some(id) = HubId::find(RepoKind::Model, text)? else {
        return Ok(ModelPlace {
            path: text.to_owned(),
            revision: None,
        });
    };
    let hub = Hub::new(Settings::from_environment()?)?;
    let snapshot = hub.snapshot(&id, id.revision())?;
    model::fetch(&snapshot, &id, with_weights)?;
    Ok(ModelPlace {
        path: snapshot.folder().display().to_string(),
        revision: Some(snapshot.commit),
    })
}

/// The files of the data set that `text` names, fetched if need be; `None` for a path or `builtin:NAME`.
///
/// # Errors
/// When it is an id and the data set cannot be had.
pub fn resolve_data(text: &str) -> Result<Option<DataFiles>, HubError> {
    let Some(id) = HubId::find(RepoKind::Data, text)? else {
        return Ok(None);
    };
    let hub = Hub::new(Settings::from_environment()?)?;
    data::fetch(&hub, &id).map(Some)
}
