//! From a path and data to metrics.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use lorahost_plugin_api::protocol::{DataKind, Metrics};
use tch::Device;

use super::EvalError;
use super::labels::relabel;
use super::outputs::Outputs;
use super::predictions::{Confusion, Prediction, Rows, has_predictions};
use crate::data::{TextRows, TextSplits, first_tokens, load_text, tokenise, within};
use crate::digest::sha256_of_file;
use crate::export::Exported;
use crate::hub::resolve_data;
use crate::model::{Config, ModelFiles};
use crate::plugins::Registry;
use crate::spec::{Catalogue, DataSpec, Precision, RawSpec, Selection, data_kind};
use crate::sweep::fitting_tokenizer;
use crate::train::{Evaluation, Watch, evaluate_with, task_head};
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
    /// The test split where none is named.
    pub split: Option<SplitName>,
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
        Some(recorded) if !question.says_head => at_hand(recorded.clone(), registry)?,
        _ => question.said.plan(registry)?.runs.remove(0).spec.head,
    };
    let (spec, split) = data(question, &known, &head, registry)?;
    if question.predictions && !has_predictions(spec.kind) {
        return Err(EvalError::NoPredictions { head: head.name });
    }
    let positions = ModelFiles::find(&trained.model_path())?.max_positions()?;
    let spec = within(&spec, positions)?;
    let mut text = load_text(&spec)?;
    relabel(&mut text, &known.labels)?;
    let (spec, text) = alone(spec, text, split);
    if text.test.is_empty() {
        return Err(EvalError::NoRows {
            split: split.name(),
        });
    }
    let mut model = trained.open(question.device)?;
    let tokenizer = fitting_tokenizer(&model)?;
    let tokens = tokenise(&text, &tokenizer, &spec)?;

    let mut ignore = |_| {};
    let mut watch = Watch::new(&mut ignore);
    let task = Rc::new(task_head(
        &head, known.seed, &tokens, &mut model, &mut watch,
    )?);
    let learnt = trained.complete(&mut model)?;
    let description = model.head()?.description();
    // What a run did not train is as it was then: it has the seed.
    if !matches!(trained, Trained::Run(_))
        && let Some(layer) = description.untrained(&learnt)
    {
        return Err(EvalError::NoHead {
            path: question.path.to_owned(),
            layer: layer.name.clone(),
        });
    }
    // Unasked they are for the confusion alone.
    let predicts = question.predictions || !tokens.label_names.is_empty();
    let last = description.layers.last().filter(|_| predicts);
    let outputs = Outputs::of(last.map_or("", |layer| &layer.name));
    if known.precision == Some(Precision::Bfloat16) {
        model.lower()?;
    }
    let model = Rc::new(model);
    let lend = |pass| outputs.watch(pass);
    let Evaluation { loss, metrics } =
        evaluate_with(&head, &model, &task, &tokens.test, &lend, &mut watch)?;
    let mut predictions = Vec::new();
    if predicts {
        let rows = Rows {
            text: &text.test,
            tokens: &tokens.test,
            labels: &tokens.label_names,
            firsts: match tokens.kind {
                DataKind::Tags => first_tokens(&text.test, &tokenizer, spec.max_length)?,
                _ => Vec::new(),
            },
        };
        let (places, all) = rows.places();
        let predicted = outputs
            .at(&places, all, &head.name)
            .and_then(|outputs| Ok(rows.predictions(&outputs)?));
        predictions = match predicted {
            Err(error) if !question.predictions => {
                tracing::warn!("no confusion matrix: {error}");
                Vec::new()
            }
            predicted => predicted?,
        };
    }
    let confusion = Confusion::of(&predictions, &tokens.label_names);
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

/// What is known of the thing itself: how it was trained and what its outputs mean.
#[derive(Default)]
struct Known {
    head: Option<Selection>,
    data: Option<DataSpec>,
    labels: Vec<String>,
    /// Of what the task head draws.
    seed: u64,
    precision: Option<Precision>,
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
                    precision: spec.model.precision,
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
            ..Self::default()
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
fn at_hand(recorded: Selection, registry: &Registry) -> Result<Selection, EvalError> {
    if sha256_of_file(&recorded.file).is_ok_and(|found| found == recorded.sha256) {
        return Ok(recorded);
    }
    let mut entries = registry.components("head").into_iter();
    let Some(entry) = entries.find(|entry| entry.manifest.name == recorded.name) else {
        return Err(EvalError::NoPlugin {
            head: recorded.name,
        });
    };
    if !recorded.sha256.is_empty() && entry.sha256 != recorded.sha256 {
        tracing::warn!(
            "the head {} is another file than it was in training: {}",
            recorded.name,
            entry.file.display()
        );
    }
    Ok(Selection {
        file: entry.file.clone(),
        sha256: entry.sha256.clone(),
        ..recorded
    })
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
        if let Some(split) = question.split {
            return Err(EvalError::SplitOfFile {
                split: split.name(),
                file,
            });
        }
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
    Ok((spec, question.split.unwrap_or(SplitName::Test)))
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
