//! Opens an adapter on its model and says what it holds.

use std::path::Path;

use serde::Serialize;
use tch::Device;

use crate::adapter::peft::{About, PeftLayer, TASKS};
use crate::atomic;
use crate::export::{ExportError, Files, place, refuse_existing};
use crate::model::Precision;
use crate::trained::Trained;

/// What an adapter holds.
#[derive(Debug, Serialize)]
pub struct Import {
    /// The model that it is for.
    pub base: String,
    /// Layout of the head that it is for; none where that is no head of the model.
    pub layout: Option<String>,
    /// Of that head.
    pub outputs: Option<i64>,
    pub layers: Vec<LayerFound>,
    /// Modules that were trained whole.
    pub modules_to_save: Vec<String>,
    /// Numbers in the factors and in those modules.
    pub parameters: usize,
}

/// The factors of a layer.
#[derive(Debug, Serialize)]
pub struct LayerFound {
    pub name: String,
    pub rank: i64,
    /// s of y = W x + s B A x.
    pub scale: f64,
}

/// Puts the adapter of `folder` on its model, or on `base`, and says what it holds. With `output` the same adapter is
/// written there in plain form.
///
/// # Errors
/// An adapter that is malformed, not served or does not fit the model; a folder that is there already or cannot be
/// written.
pub fn import(
    folder: &Path,
    base: Option<&str>,
    output: Option<&Path>,
) -> Result<Import, ExportError> {
    if let Some(output) = output {
        refuse_existing(output)?;
    }
    let path = folder.display().to_string();
    let trained = Trained::find(&path, base)?;
    let Trained::Adapter(adapter) = &trained else {
        return Err(ExportError::NotAnAdapter { path });
    };
    let mut model = trained.open(Device::Cpu)?;
    let head = adapter.head(&model)?;
    if let Some(head) = &head {
        model.build_head(&head.layout, head.outputs)?;
    }
    let learnt = trained.complete(&mut model)?;
    let content = model.peft_content(&learnt)?;
    let whole = content.saved.iter().map(|(_, tensor)| tensor.numel());
    let factors = content
        .layers
        .iter()
        .map(|layer| layer.a.numel() + layer.b.numel());
    let found = Import {
        base: adapter.base.clone(),
        layout: head.as_ref().map(|head| head.layout.clone()),
        outputs: head.as_ref().map(|head| head.outputs),
        layers: content.layers.iter().map(LayerFound::of).collect(),
        modules_to_save: content.modules_to_save.clone(),
        parameters: whole.chain(factors).sum(),
    };
    if let Some(output) = output {
        let layout = head.as_ref().map(|head| head.layout.as_str());
        let task = TASKS.iter().find(|(_, known)| Some(*known) == layout);
        let about = About {
            base: place(&adapter.base),
            revision: adapter.revision.clone(),
            task: task.map(|(task, _)| *task),
            dropout: adapter.peft.config.dropout,
            fan_in_fan_out: model.has_transposed_factors(),
        };
        let files = Files {
            content,
            about,
            head,
        };
        let failed = |source| ExportError::Write {
            folder: output.to_owned(),
            source,
        };
        atomic::write_folder(output, failed, |inside| {
            Ok::<_, ExportError>(files.write(inside, Precision::Fp32)?)
        })?;
    }
    Ok(found)
}

impl LayerFound {
    fn of(layer: &PeftLayer) -> Self {
        Self {
            name: layer.module.clone(),
            rank: layer.rank(),
            scale: layer.scale,
        }
    }
}
