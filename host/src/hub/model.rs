//! Which files of a repository make a model: config, tokenizer, and weights as safetensors.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde::Deserialize;

use super::client::{Size, Snapshot};
use super::error::HubError;
use super::id::HubId;
use crate::model::{COMPANIONS, CONFIG, INDEX, WEIGHTS};

/// Weights in formats that are not read, or not without running code.
const OTHER_WEIGHTS: [&str; 7] = ["bin", "pt", "pth", "ckpt", "h5", "msgpack", "gguf"];

/// Brings a model's files into the folder of the snapshot: `config.json`, the tokenizer's, and, if asked for, the
/// weights: `model.safetensors`, or the files that its index names.
///
/// # Errors
/// When the repository holds no such model, or a file cannot be had.
pub fn fetch(snapshot: &Snapshot<'_>, id: &HubId, with_weights: bool) -> Result<(), HubError> {
    if !with_weights {
        need(snapshot, id, CONFIG, CONFIG)?;
        return fetch_small(snapshot);
    }
    let weights = fetch_all_but_weights(snapshot, id)?;
    snapshot.fetch(&weights, Size::Bulk)
}

/// Brings all files of a model here but those with weights, and gives the names of these.
///
/// # Errors
/// As [`fetch`].
pub fn fetch_all_but_weights(snapshot: &Snapshot<'_>, id: &HubId) -> Result<Vec<String>, HubError> {
    need(snapshot, id, CONFIG, CONFIG)?;
    // Told before anything is fetched.
    check_weights(snapshot, id)?;
    fetch_small(snapshot)?;
    if snapshot.has(WEIGHTS) {
        return Ok(vec![WEIGHTS.to_owned()]);
    }
    snapshot.fetch(&[INDEX.to_owned()], Size::Text)?;
    shards(snapshot, id)
}

/// The names of the small files of a model that the snapshot has: `config.json` and the tokenizer's.
pub fn small_files(snapshot: &Snapshot<'_>) -> Vec<String> {
    let companions = COMPANIONS.iter().copied().filter(|name| snapshot.has(name));
    [CONFIG]
        .into_iter()
        .chain(companions)
        .map(str::to_owned)
        .collect()
}

fn fetch_small(snapshot: &Snapshot<'_>) -> Result<(), HubError> {
    snapshot.fetch(&small_files(snapshot), Size::Text)
}

fn check_weights(snapshot: &Snapshot<'_>, id: &HubId) -> Result<(), HubError> {
    if snapshot.has(WEIGHTS) || snapshot.has(INDEX) {
        return Ok(());
    }
    let others = snapshot.files.iter().filter(|name| {
        let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
        OTHER_WEIGHTS.contains(&extension) && !name.contains('/') && *name != "training_args.bin"
    });
    let found: Vec<String> = others.cloned().collect();
    if found.is_empty() {
        return need(snapshot, id, WEIGHTS, "model.safetensors or index of one");
    }
    Err(HubError::OtherWeights {
        id: id.repo.clone(),
        found,
    })
}

fn need(
    snapshot: &Snapshot<'_>,
    id: &HubId,
    name: &str,
    missing: &'static str,
) -> Result<(), HubError> {
    if snapshot.has(name) {
        return Ok(());
    }
    Err(if snapshot.is_complete {
        HubError::NotAModel {
            id: id.repo.clone(),
            missing,
        }
    } else {
        snapshot.absent(vec![name.to_owned()])
    })
}

/// The files of sharded weights.
fn shards(snapshot: &Snapshot<'_>, id: &HubId) -> Result<Vec<String>, HubError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let path = snapshot.folder().join(INDEX);
    let bytes = fs::read(&path).map_err(HubError::file("read", &path))?;
    let index: Index = serde_json::from_slice(&bytes).map_err(|error| HubError::Index {
        origin: path.display().to_string(),
        reason: error.to_string(),
    })?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    // A snapshot that is known in part may lack a shard, which fetching says; names outside a listing are made up.
    match names
        .iter()
        .find(|name| snapshot.is_complete && !snapshot.has(name))
    {
        Some(name) => Err(HubError::NoFile {
            kind: id.kind,
            id: id.repo.clone(),
            file: name.clone(),
            commit: snapshot.commit.clone(),
        }),
        None => Ok(names.into_iter().collect()),
    }
}
