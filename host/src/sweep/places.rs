//! Where the models and data sets of a plan lie on this machine; what is on the hub is fetched first.

use std::collections::BTreeMap;

use super::prepare::PrepareError;
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

    /// The spec with the files of a data set of the hub in place of its id. Files that the spec names itself stay.
    pub fn data(&self, spec: &DataSpec) -> Result<DataSpec, PrepareError> {
        let id = spec.path.as_deref().unwrap_or_default();
        let Some(files) = self.data.get(id) else {
            return Ok(spec.clone());
        };
        let one = |split: &'static str, files: &[_]| match files {
            [] => Ok(None),
            [file] => Ok(Some(file).cloned()),
            _ => Err(PrepareError::SeveralFiles {
                id: id.to_owned(),
                split,
                count: files.len(),
            }),
        };
        let mut located = spec.clone();
        located.path = None;
        for (file, split, files) in [
            (&mut located.train_file, "train", &files.train),
            (
                &mut located.validation_file,
                "validation",
                &files.validation,
            ),
            (&mut located.test_file, "test", &files.test),
        ] {
            if file.is_none() {
                *file = one(split, files)?;
            }
        }
        Ok(located)
    }

    /// The commits of what is from the hub.
    pub fn revisions(&self, spec: &RunSpec) -> Revisions {
        let model = self.models.get(&spec.model.path);
        let data = spec.data.path.as_ref().and_then(|path| self.data.get(path));
        Revisions {
            model: model.and_then(|place| place.revision.clone()),
            data: data.map(|files| files.revision.clone()),
        }
    }
}
