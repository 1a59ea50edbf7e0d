//! The files of an adapter for PEFT.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tch::Tensor;

use super::{ExportError, Server, vllm};
use crate::adapter::peft::{
    About, CONFIG_FILE, PREFIX, PeftContent, TASKS, WEIGHTS_FILE, adapter_config,
};
use crate::hub::{HubId, RepoKind};
use crate::model::{KeptHead, Model, ModelError, Precision, write_tensors};
use crate::trained::KeptRun;

/// An adapter before it is written.
pub struct Files {
    pub content: PeftContent,
    pub about: About,
    /// None where the adapter is for no head of the model.
    pub head: Option<KeptHead>,
}

impl Files {
    /// What the files of `run` hold; `model` is the run's at its end, `learnt` are the parameters that it kept.
    pub(super) fn of(
        run: &KeptRun,
        model: &Model,
        head: KeptHead,
        learnt: &BTreeSet<String>,
        server: Option<Server>,
        notices: &mut Vec<String>,
    ) -> Result<Self, ExportError> {
        let spec = &run.record.spec.spec;
        let mut content = model.peft_content(learnt)?;
        if server == Some(Server::Vllm) {
            content = vllm::arrange(content, model, notices)?;
        }
        let base = &spec.model.path;
        if base.starts_with("builtin:") {
            notices.push(format!(
                "{base} is a model that only lorahost has: export --merged makes a model for other programs"
            ));
        }
        let task = TASKS.iter().find(|(_, layout)| *layout == head.layout);
        let about = About {
            base: place(base),
            revision: run.record.result.provenance.revisions.model.clone(),
            task: task.map(|(task, _)| *task),
            dropout: spec.lora.as_ref().map_or(0.0, |lora| lora.dropout),
            fan_in_fan_out: model.has_transposed_factors(),
        };
        Ok(Self {
            content,
            about,
            head: Some(head),
        })
    }

    /// Writes both files into the folder `inside`, which is there.
    ///
    /// # Errors
    /// Where one cannot be written; numbers beyond what `precision` has.
    pub fn write(&self, inside: &Path, precision: Precision) -> Result<(), ModelError> {
        let path = inside.join(CONFIG_FILE);
        let config = adapter_config(&self.content, &self.about);
        fs::write(&path, format!("{config:#}\n")).map_err(|error| ModelError::Write {
            path,
            reason: error.to_string(),
        })?;
        write_tensors(
            &inside.join(WEIGHTS_FILE),
            &self.tensors(),
            ("format", "pt".to_owned()),
            precision,
        )
    }

    /// Every tensor under PEFT's key.
    fn tensors(&self) -> Vec<(String, Tensor)> {
        let mut tensors = Vec::new();
        for layer in &self.content.layers {
            for (factor, tensor) in [("lora_A", &layer.a), ("lora_B", &layer.b)] {
                let name = format!("{PREFIX}{}.{factor}.weight", layer.module);
                tensors.push((name, tensor.shallow_clone()));
            }
        }
        let saved = self.content.saved.iter();
        tensors.extend(
            saved.map(|(name, tensor)| (format!("{PREFIX}{name}"), tensor.shallow_clone())),
        );
        tensors
    }
}

/// The base as others find it from wherever they are: an id without its revision, which has a field of its own, a folder by
/// its whole path.
pub(crate) fn place(base: &str) -> String {
    if let Ok(Some(id)) = HubId::find(RepoKind::Model, base) {
        return id.repo;
    }
    match Path::new(base).canonicalize() {
        Ok(path) => path.display().to_string(),
        Err(_) => base.to_owned(),
    }
}
