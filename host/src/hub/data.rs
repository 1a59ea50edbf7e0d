//! A data set's files: the configuration that is meant, and its splits.

use std::fs;
use std::path::PathBuf;

use super::card::Card;
use super::client::{Hub, Size, Snapshot};
use super::error::HubError;
use super::id::HubId;
use super::layout::{Config, by_card, by_name, missing_shards};
use super::view;
use crate::data::FORMATS;
use crate::nearest::nearest;

/// What a data set says of itself.
pub const CARD: &str = "README.md";
/// Where the hub puts its own conversion of data sets in other forms.
const CONVERTED: &str = "refs/convert/parquet";

/// A data set's files on this machine, in the order of its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFiles {
    pub train: Vec<PathBuf>,
    pub validation: Vec<PathBuf>,
    pub test: Vec<PathBuf>,
    /// Holds links to them under the usual names, `train.csv` or `train-00000-of-00002.parquet`; beside it lies the data
    /// set's `README.md`, if it has one.
    pub folder: PathBuf,
    /// The commit that they are of.
    pub revision: String,
}

/// Brings the files of a data set here: those that its card names, else those with the usual names, else those of the
/// hub's own conversion to Parquet.
///
/// # Errors
/// When the data set has several configurations and none is named, has no files that can be read, or one cannot be had.
pub fn fetch(hub: &Hub, id: &HubId) -> Result<DataFiles, HubError> {
    let snapshot = hub.snapshot(id, id.revision())?;
    let configs = own_configs(&snapshot)?;
    if !configs.is_empty() {
        return take(&snapshot, id, &configs);
    }
    let none = HubError::NoDataFiles {
        id: id.repo.clone(),
        formats: FORMATS.join(", "),
        has_script: snapshot.files.iter().any(|file| is_python(file)),
    };
    // The conversion is of the newest revision, so not of one that was asked for by name.
    if id.revision.is_some() {
        return Err(none);
    }
    let converted = match hub.snapshot(id, CONVERTED) {
        Ok(converted) => converted,
        Err(HubError::NoRevision { .. } | HubError::NotFound { .. }) => return Err(none),
        // A cache that holds nothing of either says what it lacks of the data set itself.
        Err(HubError::Offline { .. }) if !snapshot.is_complete => {
            return Err(snapshot.absent(vec!["the data files".to_owned()]));
        }
        Err(error) => return Err(error),
    };
    let configs = by_name(&converted.files);
    if configs.is_empty() {
        return Err(none);
    }
    take(&converted, id, &configs)
}

fn is_python(file: &str) -> bool {
    file.rsplit_once('.').is_some_and(|(_, end)| end == "py")
}

/// What the data set says of itself.
fn own_configs(snapshot: &Snapshot<'_>) -> Result<Vec<Config>, HubError> {
    if snapshot.has(CARD) {
        snapshot.fetch(&[CARD.to_owned()], Size::Text)?;
        let path = snapshot.folder().join(CARD);
        let text = fs::read(&path).map_err(HubError::file("read", &path))?;
        let card =
            Card::parse(&String::from_utf8_lossy(&text)).map_err(|reason| HubError::Card {
                origin: path.display().to_string(),
                reason,
            })?;
        let configs = by_card(&card, &snapshot.files);
        if !configs.is_empty() {
            return Ok(configs);
        }
    }
    Ok(by_name(&snapshot.files))
}

/// Brings the files of the configuration that is meant here.
fn take(snapshot: &Snapshot<'_>, id: &HubId, configs: &[Config]) -> Result<DataFiles, HubError> {
    let config = choose(id, configs)?;
    if let Some(pattern) = config.unmatched.first() {
        return Err(if snapshot.is_complete {
            HubError::Card {
                origin: snapshot.folder().join(CARD).display().to_string(),
                reason: format!(
                    "`{pattern}` of the configuration `{}` fits no file",
                    config.name
                ),
            }
        } else {
            snapshot.absent(config.unmatched.clone())
        });
    }
    let [train, validation, test] = ["train", "validation", "test"].map(|name| config.split(name));
    if train.is_empty() {
        return Err(HubError::NoTrainSplit {
            id: id.repo.clone(),
            splits: config.splits.keys().cloned().collect(),
        });
    }
    let all = [train.as_slice(), &validation, &test].concat();
    if !snapshot.is_complete {
        let missing = missing_shards(&all);
        if !missing.is_empty() {
            return Err(snapshot.absent(missing));
        }
    }
    if all.iter().any(|file| file.contains("/partial-")) {
        tracing::warn!("the hub has converted only the first part of `{}`", id.repo);
    }
    snapshot.fetch(&all, Size::Bulk)?;
    let folder = snapshot.folder();
    let here = |names: Vec<String>| names.iter().map(|name| folder.join(name)).collect();
    let mut files = DataFiles {
        train: here(train),
        validation: here(validation),
        test: here(test),
        folder: PathBuf::new(),
        revision: snapshot.commit.clone(),
    };
    let card = Some(folder.join(CARD)).filter(|card| card.is_file());
    files.folder = view::make(&files, &config.name, card.as_deref())?;
    Ok(files)
}

/// The configuration of the id, else the only one, else the default.
fn choose<'a>(id: &HubId, configs: &'a [Config]) -> Result<&'a Config, HubError> {
    let names = || configs.iter().map(|config| config.name.as_str());
    let known = || names().map(str::to_owned).collect();
    let Some(wanted) = &id.config else {
        let default = configs.iter().find(|config| config.is_default);
        return match configs {
            [only] => Ok(only),
            _ => default.ok_or_else(|| HubError::WhichConfig {
                id: id.repo.clone(),
                known: known(),
            }),
        };
    };
    let found = configs.iter().find(|config| config.name == *wanted);
    found.ok_or_else(|| HubError::NoConfig {
        id: id.repo.clone(),
        config: wanted.clone(),
        nearest: nearest(wanted, names()).map(str::to_owned),
        known: known(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::id::RepoKind;

    fn id(text: &str) -> HubId {
        HubId::parse(RepoKind::Data, text).unwrap()
    }

    fn config(name: &str) -> Config {
        Config {
            name: name.to_owned(),
            is_default: name == "default",
            ..Config::default()
        }
    }

    #[test]
    fn a_configuration_is_named_unless_one_stands_out() {
        let two = [config("raw-v1"), config("v1")];
        let error = choose(&id("org/set"), &two).unwrap_err().to_string();
        assert!(
            error.contains("org/set:CONFIG") && error.contains("raw-v1, v1"),
            "{error}"
        );
        assert_eq!(choose(&id("org/set:v1"), &two).unwrap().name, "v1");
        let error = choose(&id("org/set:raw-v2"), &two).unwrap_err().to_string();
        assert!(error.contains("did you mean `raw-v1`"), "{error}");
        assert_eq!(choose(&id("org/set"), &two[..1]).unwrap().name, "raw-v1");
        let with_default = [config("a"), config("default")];
        assert_eq!(
            choose(&id("org/set"), &with_default).unwrap().name,
            "default"
        );
    }
}
