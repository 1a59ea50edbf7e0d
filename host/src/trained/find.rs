//! From a path to a model, and to what was learnt on it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tch::Device;

use super::TrainedError;
use crate::adapter::peft::{PeftFolder, TASKS, is_peft_folder};
use crate::hub::{locate_model, resolve_model, resolve_recorded_model};
use crate::model::{KeptHead, Model, ModelFiles, Options, shown};
use crate::record::{RunRecord, RunState, is_run, state};
use crate::spec::{ModelSpec, Save, Seeds, Weights};
use crate::train::{ADAPTER_FILE, MODEL_FOLDER};

/// What a path names.
#[derive(Debug)]
pub enum Trained {
    /// A model as it is: its folder, or `builtin:NAME`.
    Model { path: String },
    /// A run that is done and kept its weights.
    Run(Box<KeptRun>),
    /// A PEFT adapter with the model that it is for.
    Adapter(Box<AdapterOnBase>),
}

#[derive(Debug)]
pub struct KeptRun {
    /// The run's own folder, absolute.
    pub folder: PathBuf,
    pub record: RunRecord,
    pub kept: Kept,
}

/// What a run kept.
#[derive(Debug)]
pub enum Kept {
    Adapter {
        file: PathBuf,
        /// Where the model lies that it was trained on.
        base: String,
    },
    Full {
        folder: PathBuf,
    },
}

#[derive(Debug)]
pub struct AdapterOnBase {
    pub folder: PathBuf,
    pub peft: PeftFolder,
    /// As it is named: a path, an id on the hub, `builtin:NAME`.
    pub base: String,
    /// The base's commit, where it is on the hub.
    pub revision: Option<String>,
    /// Where it lies.
    base_path: String,
}

impl Trained {
    /// Finds what `path` names: the folder of a run, that of a PEFT adapter, or else a model as `--model` takes it.
    /// `base` names the model that an adapter is for, where its own configuration is not to say it.
    ///
    /// # Errors
    /// What is absent, not done, kept no weights or is malformed.
    pub fn find(path: &str, base: Option<&str>) -> Result<Self, TrainedError> {
        let folder = Path::new(path);
        if is_run(folder) {
            refuse_base(path, base)?;
            return KeptRun::open(folder).map(|run| Self::Run(Box::new(run)));
        }
        if is_peft_folder(folder) {
            let adapter = AdapterOnBase::open(folder, base)?;
            return Ok(Self::Adapter(Box::new(adapter)));
        }
        refuse_base(path, base)?;
        let path = resolve_model(path)?;
        Ok(Self::Model { path })
    }

    /// Where the model lies: of an adapter, that which it is for.
    #[must_use]
    pub fn model_path(&self) -> String {
        match self {
            Self::Model { path } => path.clone(),
            Self::Run(run) => match &run.kept {
                Kept::Adapter { base, .. } => base.clone(),
                Kept::Full { folder } => folder.display().to_string(),
            },
            Self::Adapter(adapter) => adapter.base_path.clone(),
        }
    }

    /// Opens the model, without a head and without what an adapter adds to it.
    ///
    /// # Errors
    /// Files that are absent, malformed or do not fit each other.
    pub fn open(&self, device: Device) -> Result<Model, TrainedError> {
        let path = self.model_path();
        let plain = options(Weights::Pretrained, Seeds::default(), device);
        match self {
            Self::Model { .. } => Ok(Model::open(&path, plain)?),
            Self::Run(run) => {
                let spec = &run.record.spec.spec;
                let options = match run.kept {
                    Kept::Adapter { .. } => options(spec.model.weights, spec.seeds, device),
                    Kept::Full { .. } => plain,
                };
                Model::open(&path, options).map_err(|source| TrainedError::Base {
                    folder: run.folder.clone(),
                    model: spec.model.path.clone(),
                    source: Box::new(source),
                })
            }
            Self::Adapter(adapter) => {
                Model::open(&path, plain).map_err(|error| adapter.without_base(&error.to_string()))
            }
        }
    }

    /// Puts on `model`, which [`Trained::open`] gave and which has its head by now, what an adapter adds. Returns the
    /// full names of the parameters that are the adapter's own.
    ///
    /// # Errors
    /// An adapter that does not fit the model.
    pub fn complete(&self, model: &mut Model) -> Result<BTreeSet<String>, TrainedError> {
        Ok(match self {
            Self::Run(run) => match &run.kept {
                Kept::Adapter { file, .. } => model.load_adapter(file)?.into_iter().collect(),
                Kept::Full { .. } => BTreeSet::new(),
            },
            Self::Adapter(adapter) => model.load_peft(&adapter.peft, 0.0)?,
            Self::Model { .. } => BTreeSet::new(),
        })
    }
}

impl KeptRun {
    /// Opens the folder of a run.
    ///
    /// # Errors
    /// A run that is not done or kept no weights.
    pub fn open(folder: &Path) -> Result<Self, TrainedError> {
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let record = match state(&folder)? {
            RunState::Done(record) => *record,
            RunState::Unfinished(why) => return Err(TrainedError::Unfinished { folder, why }),
            RunState::Absent => {
                let why = "its folder is empty".to_owned();
                return Err(TrainedError::Unfinished { folder, why });
            }
        };
        let kept = match record.spec.spec.train.save {
            Save::None => return Err(TrainedError::NothingSaved { folder }),
            Save::Full => Kept::Full {
                folder: existing(&folder, MODEL_FOLDER)?,
            },
            Save::Adapter => {
                let file = existing(&folder, ADAPTER_FILE)?;
                let (spec, revisions) =
                    (&record.spec.spec.model, &record.result.provenance.revisions);
                let base = resolve_recorded_model(&spec.path, revisions.model.as_deref())?;
                check_base(&folder, spec, &base, revisions.model_sha256.as_deref())?;
                Kept::Adapter { file, base }
            }
        };
        Ok(Self {
            folder,
            record,
            kept,
        })
    }

    /// The head that was trained, where the run kept an adapter that says so.
    ///
    /// # Errors
    /// An unreadable or malformed file.
    pub fn head(&self) -> Result<Option<KeptHead>, TrainedError> {
        match &self.kept {
            Kept::Adapter { file, .. } => Ok(Model::kept_head(file)?),
            Kept::Full { .. } => Ok(None),
        }
    }
}

impl AdapterOnBase {
    fn open(folder: &Path, base: Option<&str>) -> Result<Self, TrainedError> {
        let peft = PeftFolder::open(folder)?;
        // Where the user names the model, the adapter's own commit is of another place.
        let revision = peft.config.revision.clone().filter(|_| base.is_none());
        let own = peft.config.base.clone().filter(|own| !own.is_empty());
        let base = base.map(str::to_owned).or(own);
        let mut adapter = Self {
            folder: folder.to_owned(),
            peft,
            base: base.ok_or_else(|| TrainedError::NoBase {
                folder: folder.to_owned(),
            })?,
            revision,
            base_path: String::new(),
        };
        let found = match adapter.revision.clone() {
            Some(commit) => resolve_recorded_model(&adapter.base, Some(&commit))
                .map(|path| (path, Some(commit))),
            None => locate_model(&adapter.base, true).map(|place| (place.path, place.revision)),
        };
        (adapter.base_path, adapter.revision) =
            found.map_err(|error| adapter.without_base(&error.to_string()))?;
        Ok(adapter)
    }

    /// The head that the adapter is for, by its task: on `model`, which is its base. None where the task is of no head
    /// that the model has.
    ///
    /// # Errors
    /// A configuration of the model that the head does not fit.
    pub fn head(&self, model: &Model) -> Result<Option<KeptHead>, TrainedError> {
        let task = self.peft.config.task.as_deref();
        let known = TASKS.iter().find(|(name, _)| Some(*name) == task);
        let layout = known.and_then(|(_, layout)| model.architecture().layout(layout).ok());
        let Some(layout) = layout else {
            return Ok(None);
        };
        let described = (layout.describe)(model.config(), 1)?;
        let last = described.layers.last().map(|layer| layer.name.as_str());
        let outputs = last.and_then(|last| self.peft.rows_of(last));
        let names = model.config().present("id2label");
        let named = names
            .and_then(|names| names.as_object())
            .map(|names| names.len() as i64);
        Ok(Some(KeptHead {
            layout: layout.name.to_owned(),
            outputs: if described.has_labels() {
                // transformers has two labels where nothing is said.
                outputs.or(named).unwrap_or(2)
            } else {
                model.vocabulary()
            },
            labels: Vec::new(),
        }))
    }

    fn without_base(&self, reason: &str) -> TrainedError {
        TrainedError::AdapterBase {
            folder: self.folder.clone(),
            model: shown(&self.base),
            reason: reason.to_owned(),
        }
    }
}

/// Refuses a model that is not the one that the run `folder` was trained on: an adapter fits any of its shape.
fn check_base(
    folder: &Path,
    spec: &ModelSpec,
    path: &str,
    recorded: Option<&str>,
) -> Result<(), TrainedError> {
    let Some(expected) = recorded else {
        tracing::warn!(
            "the record of {} is an older program's and does not say which weights it was trained on: those of {} are \
             taken",
            folder.display(),
            spec.path
        );
        return Ok(());
    };
    let base = |source| TrainedError::Base {
        folder: folder.to_owned(),
        model: spec.path.clone(),
        source: Box::new(source),
    };
    let files = ModelFiles::find(path).map_err(base)?;
    let pretrained = spec.weights == Weights::Pretrained;
    let found = files.sha256(pretrained).map_err(base)?;
    if found == expected {
        return Ok(());
    }
    Err(TrainedError::OtherBase {
        folder: folder.to_owned(),
        model: spec.path.clone(),
        expected: expected.into(),
        found: found.into(),
    })
}

fn refuse_base(path: &str, base: Option<&str>) -> Result<(), TrainedError> {
    match base {
        None => Ok(()),
        Some(_) => Err(TrainedError::NoUseForBase {
            path: path.to_owned(),
        }),
    }
}

fn options(weights: Weights, seeds: Seeds, device: Device) -> Options {
    Options {
        weights,
        dropout: None,
        device,
        seeds,
    }
}

/// What a run should have kept.
fn existing(folder: &Path, name: &str) -> Result<PathBuf, TrainedError> {
    let path = folder.join(name);
    if path.exists() {
        Ok(path)
    } else {
        Err(TrainedError::NothingSaved {
            folder: folder.to_owned(),
        })
    }
}
