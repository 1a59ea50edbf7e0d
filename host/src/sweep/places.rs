//! Where the models and data sets of a plan lie on this machine; what is on the hub is fetched first.

use std::collections::BTreeMap;

use crate::hub::{DataFiles, HubError, ModelPlace, locate_model, resolve_data};
use crate::record::Revisions;
use crate::spec::{DataSpec, Plan, RunSpec, Weights};

/// The places of all models and data sets of a plan, by the words that name them there.
#[derive(Debug)]
pub(super) struct Places {
    models: BTreeMap<String, ModelPlace>,
    /// Those on the hub.
    data: BTreeMap<String, DataFiles>,
}

impl Places {
    /// Finds them all, each once.
    pub fn find(plan: &Plan) -> Result<Self, HubError> {
        let mut models: BTreeMap<&str, bool> = BTreeMap::new();
        let mut data: BTreeMap<&str, Option<DataFiles>> = BTreeMap::new();
        for RunSpec { model, .. } in plan.runs.iter().map(|run| &run.spec) {
            *models.entry(&model.path).or_default() |= model.weights == Weights::Pretrained;
        }
        let models = models
            .into_iter()
            .map(|(path, weights)| Ok((path.to_owned(), locate_model(path, weights)?)))
            .collect::<Result<_, HubError>>()?;
        for path in plan
            .runs
            .iter()
            .filter_map(|run| run.spec.data.path.as_deref())
        {
            if !data.contains_key(path) {
                data.insert(path, resolve_data(path)?);
            }
        }
        let data = data.into_iter();
        Ok(Self {
            models,
            data: data
                .filter_map(|(path, files)| Some((path.to_owned(), files?)))
                .collect(),
        })
    }

    /// The model's folder, or `builtin:NAME`.
    pub fn model<'a>(&'a self, path: &'a str) -> &'a str {
        self.models.get(path).map_or(path, |place| &place.path)
    }

    /// The spec with the folder of a data set of the hub in place of its id.
    pub fn data(&self, spec: &DataSpec) -> DataSpec {
        let mut located = spec.clone();
        if let Some(files) = spec.path.as_ref().and_then(|path| self.data.get(path)) {
            located.path = Some(files.folder.display().to_string());
        }
        located
    }

    /// The commits of what is from the hub.
    pub fn revisions(&self, spec: &RunSpec) -> Revisions {
        let model = self.models.get(&spec.model.path);
        let data = spec.data.path.as_ref().and_then(|path| self.data.get(path));
        Revisions {
            model: model.and_then(|place| place.revision.clone()),
            data: data.map(|files| files.revision.clone()),
            model_sha256: None,
        }
    }
}
