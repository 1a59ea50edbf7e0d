//! From a path and data to metrics.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use lorahost_plugin_api::protocol::Metrics;
use tch::Device;

use super::EvalError;
use super::labels::relabel;
use super::outputs::Outputs;
use super::predictions::{Confusion, Prediction, expected_outputs, of_rows};
use crate::data::{TextRows, TextSplits, TokenSplits, load_text, tokenise, within};
use crate::digest::sha256_of_file;
use crate::export::Exported;
use crate::hub::resolve_data;
use crate::model::{Config, Model, ModelFiles};
use crate::plugins::Registry;
use crate::spec::{Catalogue, DataSpec, RawSpec, Selection, data_kind};
use crate::sweep::tokenizer_of;
use crate::train::{Evaluation, TrainError, Watch, evaluate_with, task_head};
use crate::trained::{Kept, Trained};

/// What is asked.
pub struct Question<'a> {
    /// A model, a run or an adapter.
    pub path: &'a str,
    /// The model that an adapter is for, where it is not where the adapter says.
    pub base: Option<&'a str>,
    /// One run of full fine-tuning with what was said of data and task head; what was not said is as anywhere.
    pub said: &'a RawSpec,
    pub says_head: bool,
    pub says_data: bool,
    pub split: SplitName,
    /// Whether predictions are wanted.
    pub predictions: bool,
    pub device: Device,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SplitName {
    Train,
    Validation,
    Test,
}

impl SplitName {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// What was measured.
#[derive(Debug)]
pub struct Answer {
    /// Of the split.
    pub rows: usize,
    /// Mean over everything that the head counts.
    pub loss: f64,
    pub metrics: Metrics,
    /// By class or tag; empty where the rows have neither.
    pub labels: Vec<String>,
    /// One a row, where they were asked for.
    pub predictions: Vec<Prediction>,
    /// Of rows with classes or tags.
    pub confusion: Option<Confusion>,
}

/// Evaluates what `question.path` names.
///
/// # Errors
/// What is absent or does not fit; labels that the model does not know; whatever ends a run.
pub fn answer(question: &Question<'_>, registry: &Registry) -> Result<Answer, EvalError> {
    let trained = Trained::find(question.path, question.base)?;
    let known = Known::of(&trained)?;
    let head = match &known.head {
        Some(recorded) if !question.says_head => at_hand(recorded.clone(), registry),
        _ => question.said.plan(registry)?.runs.remove(0).spec.head,
    };
    let (spec, split) = data(question, &known, &head, registry)?;
    let files = ModelFiles::find(&trained.model_path())?;
    let positions = files.max_positions()?;
    let spec = within(&spec, positions)?;
    let mut text = load_text(&spec)?;
    relabel(&mut text, &known.labels)?;
    let (spec, text) = alone(spec, text, split);
    if text.test.is_empty() {
        return Err(EvalError::NoRows {
            split: split.name(),
        });
    }
    let tokens = tokenise(&text, &tokenizer_of(&files)?, &spec)?;

    let mut model = trained.open(question.device)?;
    if i64::try_from(tokens.vocab_size).map_or(true, |size| size > model.vocabulary()) {
        let (tokens, embedding) = (tokens.vocab_size, model.vocabulary());
        return Err(TrainError::Vocabulary { tokens, embedding }.into());
    }
    let mut ignore = |_| {};
    let mut watch = Watch::new(&mut ignore);
    let task = Rc::new(task_head(
        &head, known.seed, &tokens, &mut model, &mut watch,
    )?);
    let learnt = trained.complete(&mut model)?;
    if !matches!(trained, Trained::Run(_)) {
        refuse_new_head(&model, &learnt, question.path)?;
    }

    let expected = expected_outputs(tokens.kind, &tokens.test);
    if question.predictions && expected.is_none() {
        return Err(EvalError::NoPredictions { head: head.name });
    }
    let layers = &model.head()?.description().layers;
    let last = layers.last().map(|layer| layer.name.clone());
    let outputs = Outputs::of(&last.filter(|_| expected.is_some()).unwrap_or_default());
    let model = Rc::new(model);
    let lend = |pass| outputs.watch(pass);
    let Evaluation { loss, metrics } =
        evaluate_with(&head, &model, &task, &tokens.test, &lend, &mut watch)?;
    let mut predictions = Vec::new();
    if let Some(expected) = expected {
        predictions = predicted(&outputs, expected as i64, &head, &text, &tokens)?;
    }
    let confusion = Confusion::of(&predictions, &tokens.label_names)
        .filter(|confusion| !confusion.labels.is_empty());
    if !question.predictions {
        predictions.clear();
    }
    Ok(Answer {
        rows: text.test.len(),
        loss,
        metrics,
        labels: tokens.label_names.clone(),
        predictions,
        confusion,
    })
}

fn predicted(
    outputs: &Outputs,
    expected: i64,
    head: &Selection,
    text: &TextSplits,
    tokens: &TokenSplits,
) -> Result<Vec<Prediction>, EvalError> {
    let all = outputs.all()?;
    let found = all.size().first().copied().unwrap_or(0);
    if found != expected {
        return Err(EvalError::Outputs {
            head: head.name.clone(),
            layer: outputs.layer().to_owned(),
            found,
            expected,
        });
    }
    Ok(of_rows(
        &text.test,
        &tokens.test,
        &tokens.label_names,
        &all,
    )?)
}

/// What is known of the thing itself: how it was trained and what its outputs mean.
#[derive(Default)]
struct Known {
    head: Option<Selection>,
    data: Option<DataSpec>,
    labels: Vec<String>,
    /// Of what the task head draws.
    seed: u64,
}

impl Known {
    fn of(trained: &Trained) -> Result<Self, EvalError> {
        let folder = match trained {
            Trained::Run(run) => {
                let record = &run.record;
                let spec = &record.spec.spec;
                let mut data = spec.data.clone();
                let commit = record.result.provenance.revisions.data.as_deref();
                if let (Some(path), Some(commit)) = (&data.path, commit)
                    && !path.contains('@')
                {
                    data.path = Some(format!("{path}@{commit}"));
                }
                let labels = match &run.kept {
                    Kept::Adapter { .. } => run.head()?.map(|head| head.labels),
                    Kept::Full { folder } => Some(labels_of(folder)?),
                };
                return Ok(Self {
                    head: Some(spec.head.clone()),
                    data: Some(data),
                    labels: labels.unwrap_or_default(),
                    seed: spec.seeds.head,
                });
            }
            Trained::Adapter(adapter) => adapter.folder.clone(),
            Trained::Model { path } => PathBuf::from(path),
        };
        let exported = Exported::read(&folder)?;
        let labels = match (&exported, trained) {
            (Some(exported), _) if !exported.labels.is_empty() => exported.labels.clone(),
            (_, Trained::Model { .. }) if folder.is_dir() => labels_of(&folder)?,
            _ => Vec::new(),
        };
        Ok(Self {
            labels,
            seed: exported.as_ref().map_or(0, |exported| exported.seed),
            head: exported.map(|exported| exported.head),
            data: None,
        })
    }
}

/// The names that a `config.json` has for the outputs; none where they are numbers with `LABEL_` before them.
fn labels_of(folder: &Path) -> Result<Vec<String>, EvalError> {
    let (bytes, origin) = ModelFiles::Folder(folder.to_owned()).config()?;
    let config = Config::parse(&bytes, &origin, None)?;
    let Some(names) = config
        .present("id2label")
        .and_then(|names| names.as_object())
    else {
        return Ok(Vec::new());
    };
    let name = |class: usize| names.get(&class.to_string())?.as_str().map(str::to_owned);
    let labels: Vec<String> = (0..names.len()).map_while(name).collect();
    let unnamed = |(class, label): (usize, &String)| *label == format!("LABEL_{class}");
    if labels.iter().enumerate().all(unnamed) {
        return Ok(Vec::new());
    }
    Ok(labels)
}

/// The file that was recorded, while it is there and the same; else the component of the same name among those at hand.
fn at_hand(recorded: Selection, registry: &Registry) -> Selection {
    if sha256_of_file(&recorded.file).is_ok_and(|found| found == recorded.sha256) {
        return recorded;
    }
    let entries = registry.components("head");
    match entries
        .iter()
        .find(|entry| entry.manifest.name == recorded.name)
    {
        Some(entry) => {
            if !recorded.sha256.is_empty() && entry.sha256 != recorded.sha256 {
                tracing::warn!(
                    "the head {} is another file than it was in training: {}",
                    recorded.name,
                    entry.file.display()
                );
            }
            Selection {
                file: entry.file.clone(),
                sha256: entry.sha256.clone(),
                ..recorded
            }
        }
        None => recorded,
    }
}

/// The data that is meant, and the split of it. One file alone is the split itself.
fn data(
    question: &Question<'_>,
    known: &Known,
    head: &Selection,
    registry: &Registry,
) -> Result<(DataSpec, SplitName), EvalError> {
    let mut spec = if question.says_data {
        question.said.data(data_kind(&head.name, registry)?)
    } else {
        let recorded = known.data.clone();
        recorded.ok_or_else(|| EvalError::NoData {
            path: question.path.to_owned(),
        })?
    };
    let file = spec.path.as_ref().map(PathBuf::from);
    if let Some(file) = file.filter(|file| question.says_data && file.is_file()) {
        spec.path = None;
        spec.train_file = Some(file.clone());
        spec.test_file = Some(file);
        spec.validation_fraction = 0.0;
        return Ok((spec, SplitName::Test));
    }
    if let Some(path) = &spec.path
        && let Some(files) = resolve_data(path)?
    {
        spec.path = Some(files.folder.display().to_string());
    }
    Ok((spec, question.split))
}

/// The rows of one split in the place of the test split, and no others.
fn alone(mut spec: DataSpec, mut text: TextSplits, split: SplitName) -> (DataSpec, TextSplits) {
    let (rows, size) = match split {
        SplitName::Train => (&mut text.train, spec.train_size),
        SplitName::Validation => (&mut text.validation, spec.validation_size),
        SplitName::Test => (&mut text.test, spec.test_size),
    };
    let rows = std::mem::take(rows);
    spec.test_size = size;
    text.train = TextRows::default();
    text.validation = TextRows::default();
    text.test = rows;
    (spec, text)
}

/// A head whose weights neither the model nor an adapter has would be drawn at random.
fn refuse_new_head(model: &Model, learnt: &BTreeSet<String>, path: &str) -> Result<(), EvalError> {
    let has = |name: &str| {
        let under = format!("{name}.");
        learnt.iter().any(|parameter| parameter.starts_with(&under))
    };
    let layers = &model.head()?.description().layers;
    let new = layers
        .iter()
        .find(|layer| !layer.pretrained && !layer.tied && !has(&layer.name));
    match new {
        None => Ok(()),
        Some(layer) => Err(EvalError::NoHead {
            path: path.to_owned(),
            layer: layer.name.clone(),
        }),
    }
}
