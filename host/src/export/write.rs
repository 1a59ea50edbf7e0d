//! From a run to a folder for others.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tch::Device;

use super::provenance::Provenance;
use super::{ExportError, adapter, card};
use crate::atomic;
use crate::model::{KeptHead, Model, Precision, copy_model};
use crate::spec::{Method, Weights};
use crate::trained::{Kept, KeptRun, Trained, TrainedError};

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The folder of a run.
    pub run: &'a str,
    /// The folder to make.
    pub to: &'a Path,
    pub form: Form,
    pub precision: Precision,
    /// The program whose rules an adapter must keep.
    pub server: Option<Server>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The adapter alone, for PEFT.
    Adapter,
    /// The whole model, LoRA merged.
    Merged,
    /// The whole model of full fine-tuning.
    Full,
}

impl Form {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Adapter => "adapter",
            Self::Merged => "merged",
            Self::Full => "full",
        }
    }
}

/// A program that serves adapters by rules of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    Vllm,
}

/// What was written.
#[derive(Debug)]
pub struct Written {
    /// Names in the folder with their sizes in bytes.
    pub files: Vec<(String, u64)>,
    /// What a user may have to know, one sentence each.
    pub notices: Vec<String>,
}

/// Writes what a run learnt to a new folder, whole or not at all.
///
/// # Errors
/// A run that is not done, kept no weights or not those that are asked for; rules of the server that cannot be kept; a
/// folder that is there already or cannot be written.
pub fn export(request: &Request<'_>) -> Result<Written, ExportError> {
    let Request { run: path, to, .. } = *request;
    refuse_existing(to)?;
    let trained = Trained::find(path, None)?;
    let Trained::Run(run) = &trained else {
        return Err(ExportError::NotARun {
            path: path.to_owned(),
        });
    };
    refuse_other_forms(run, request.form)?;
    let failed = |folder: &Path| {
        let folder = folder.to_owned();
        move |source| ExportError::Write { folder, source }
    };
    let mut notices = Vec::new();
    // Whatever is wrong with the run shows before anything is written.
    let content = match &run.kept {
        Kept::Full { folder } => Content::Copied(folder.clone()),
        Kept::Adapter { .. } => open(&trained, run, request, &mut notices)?,
    };
    atomic::write_folder(
        to,
        |source| failed(to)(source),
        |inside| {
            content.write(inside, request.precision)?;
            let provenance = Provenance::of(run, request, content.head());
            let card = card::text(run, request);
            fs::write(inside.join("README.md"), card).map_err(failed(to))?;
            provenance.write(inside).map_err(failed(to))
        },
    )?;
    let files = sizes(to).map_err(failed(to))?;
    Ok(Written { files, notices })
}

/// What goes into the folder.
enum Content {
    Adapter(adapter::Files),
    Merged {
        model: Box<Model>,
        head: KeptHead,
    },
    /// The folder of a whole model.
    Copied(PathBuf),
}

impl Content {
    fn write(&self, inside: &Path, precision: Precision) -> Result<(), ExportError> {
        match self {
            Self::Adapter(files) => files.write(inside, precision)?,
            Self::Merged { model, head } => model.write_full(inside, &head.labels, precision)?,
            Self::Copied(folder) => copy_model(folder, inside, precision)?,
        }
        Ok(())
    }

    fn head(&self) -> Option<&KeptHead> {
        match self {
            Self::Adapter(files) => files.head.as_ref(),
            Self::Merged { head, .. } => Some(head),
            Self::Copied(_) => None,
        }
    }
}

/// Refuses a folder that is there: what is exported makes its own.
pub(crate) fn refuse_existing(folder: &Path) -> Result<(), ExportError> {
    if folder.exists() {
        return Err(ExportError::Exists {
            folder: folder.to_owned(),
        });
    }
    Ok(())
}

fn refuse_other_forms(run: &KeptRun, form: Form) -> Result<(), ExportError> {
    let spec = &run.record.spec.spec;
    let folder = run.folder.clone();
    match (form, spec.method, &run.kept) {
        (Form::Full, Method::Lora, _) => Err(ExportError::NotFullFineTuning { folder }),
        (Form::Adapter | Form::Merged, Method::Full, _) => {
            Err(ExportError::FullFineTuning { folder })
        }
        (Form::Adapter, _, Kept::Full { .. }) => Err(ExportError::KeptMerged { folder }),
        (Form::Adapter, ..) if spec.model.weights == Weights::Random => {
            Err(ExportError::RandomBase { folder })
        }
        _ => Ok(()),
    }
}

/// The model of a run that kept its adapter, with all that it learnt.
fn open(
    trained: &Trained,
    run: &KeptRun,
    request: &Request<'_>,
    notices: &mut Vec<String>,
) -> Result<Content, ExportError> {
    let head = run.head()?.ok_or_else(|| ExportError::NoHead {
        folder: run.folder.clone(),
    })?;
    let mut model = trained.open(Device::Cpu)?;
    model.build_head(&head.layout, head.outputs)?;
    let learnt = trained.complete(&mut model)?;
    if request.form == Form::Merged {
        let model = Box::new(model);
        return Ok(Content::Merged { model, head });
    }
    let files = adapter::Files::of(run, &model, head, &learnt, request.server, notices)?;
    Ok(Content::Adapter(files))
}

fn sizes(folder: &Path) -> io::Result<Vec<(String, u64)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        files.push((name, entry.metadata()?.len()));
    }
    files.sort();
    Ok(files)
}

impl From<crate::hub::HubError> for ExportError {
    fn from(error: crate::hub::HubError) -> Self {
        TrainedError::from(error).into()
    }
}
