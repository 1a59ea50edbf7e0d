//! From a plan to jobs: models and data found, on the hub too, and hashed, text tokenised once, runs named.
//!
//! All of it happens in the parent, which opens each model once and keeps none.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use tch::Device;
use thiserror::Error;

use super::RunJob;
use super::places::Places;
use crate::adapter::Targets;
use crate::adapter::peft::PeftFolder;
use crate::data::{
    self, DataError, TokenSplits, Tokenizer, Truncation, load_text, source_sha256, tokenise,
};
use crate::digest::sha256;
use crate::hub::HubError;
use crate::model::{Model, ModelError, ModelFiles, Options};
use crate::record::{OutputFolder, RecordError, Revisions, run_claim, run_folder};
use crate::spec::{self, DataSpec, HeadMode, NUMERICS, Plan, RunSpec, Seeds, SpecError, Weights};

/// Why a plan cannot be carried out. Nothing was run.
#[derive(Debug, Error)]
pub enum PrepareError {
    #[error(transparent)]
    Hub(#[from] HubError),

    #[error(transparent)]
    Model(#[from] ModelError),

    #[error(transparent)]
    Data(#[from] DataError),

    #[error(transparent)]
    Spec(#[from] SpecError),

    #[error(transparent)]
    Record(#[from] RecordError),

    #[error("the built-in model {name} has no vocabulary")]
    NoVocabulary { name: String },

    #[error(
        "the tokenizer {} knows {tokens} tokens, and the model's embedding {embedding}: they belong to different models",
        tokenizer.display()
    )]
    Vocabulary {
        tokenizer: PathBuf,
        tokens: usize,
        embedding: i64,
    },
}

/// Makes the jobs of a plan, in its order; `device` is where the workers compute. Runs that turn out to be one, because
/// two paths lead to the same files, are one job.
///
/// # Errors
/// When a model or data set of the hub cannot be had, a model or its tokenizer is missing or unusable, the data cannot be read, or a warm-up is as long as the run.
pub fn prepare(
    plan: &Plan,
    output: &OutputFolder,
    device: spec::Device,
) -> Result<Vec<RunJob>, PrepareError> {
    prepare_in(plan, output.path(), &output.cache(), device)
}

/// As [`prepare`], for an output folder that need not exist and is not written to: token files go to `cache`.
///
/// # Errors
/// As [`prepare`].
pub fn prepare_in(
    plan: &Plan,
    output: &Path,
    cache: &Path,
    device: spec::Device,
) -> Result<Vec<RunJob>, PrepareError> {
    let places = Places::find(plan)?;
    let models = models(plan, &places)?;
    let mut parts = Parts {
        places: &places,
        cache: cache.to_owned(),
        data: HashMap::new(),
    };
    let mut jobs: Vec<RunJob> = Vec::with_capacity(plan.runs.len());
    let mut known = HashMap::new();
    let mut same_cells = BTreeSet::new();
    for run in &plan.runs {
        let spec = &run.spec;
        let model = &models[&(places.model(&spec.model.path), spec.model.weights)];
        let data = parts.data(&spec.data, model)?;
        spec.train.check_warmup(Some(data.train_rows))?;
        let id = spec.identity(&model.sha256, &data.sha256);
        if let Some(&first) = known.get(&id) {
            let RunJob { cell, .. } = &jobs[first];
            if same_cells.insert((&run.cell, cell.clone())) {
                tracing::warn!(
                    "{} is left out where it is the same as {cell}: their paths lead to the same files",
                    run.cell
                );
            }
            continue;
        }
        known.insert(id.clone(), jobs.len());
        jobs.push(RunJob {
            folder: run_folder(output, id.as_str()),
            claim: run_claim(output, id.as_str()),
            id: id.as_str().to_owned(),
            cell: run.cell.clone(),
            spec: spec.clone(),
            revisions: Revisions {
                model_sha256: Some(model.sha256.clone()),
                ..places.revisions(spec)
            },
            cache: cache.join(cache_name(spec, &model.sha256, &data.tokens)),
            tokens: data.tokens,
            model: model.path.clone(),
            device,
            threads: plan.execution.threads,
        });
    }
    Ok(jobs)
}

/// Opens each model of the plan once, and keeps what its runs share: what does not fit is told before anything is
/// trained, and once.
///
/// Names, shapes and types are compared by `config.json` and the headers of the weight files. Weights are mapped and not
/// read but for their hash, and no tensor of a weight's size is made ([`Model::outline`]).
fn models<'a>(
    plan: &'a Plan,
    places: &'a Places,
) -> Result<BTreeMap<(&'a str, Weights), PreparedModel>, PrepareError> {
    // By model, its targets and the largest rank that any run puts on them.
    let mut models: BTreeMap<(&str, Weights), BTreeMap<&str, usize>> = BTreeMap::new();
    for RunSpec { model, lora, .. } in plan.runs.iter().map(|run| &run.spec) {
        let targets = models
            .entry((places.model(&model.path), model.weights))
            .or_default();
        if let Some(lora) = lora {
            let largest = targets.entry(&lora.targets).or_default();
            *largest = lora.rank.max(*largest);
        }
    }
    let mut adapters: BTreeMap<(&str, Weights), BTreeSet<&Path>> = BTreeMap::new();
    for RunSpec { model, .. } in plan.runs.iter().map(|run| &run.spec) {
        let folders = adapters.entry((places.model(&model.path), model.weights));
        folders.or_default().extend(model.adapter.as_deref());
    }
    let checked = models.into_iter().map(|((path, weights), targets)| {
        let options = Options {
            weights,
            dropout: None,
            device: Device::Cpu,
            seeds: Seeds {
                init: 0,
                data: 0,
                dropout: 0,
                head: 0,
            },
        };
        let model = Model::outline(path, options)?;
        model.refuse_unknown_settings()?;
        for folder in adapters.remove(&(path, weights)).into_iter().flatten() {
            let adapter = PeftFolder::open(folder).map_err(ModelError::from)?;
            model.check_peft(&adapter)?;
        }
        check_ranks(&model, targets)?;
        let tokenizer = fitting_tokenizer(&model)?;
        let prepared = PreparedModel::of(model.files(), path, weights, tokenizer)?;
        Ok(((path, weights), prepared))
    });
    checked.collect()
}

/// Warns of ranks that a layer bounds. `targets` are those of the runs, each with its largest rank.
fn check_ranks(model: &Model, targets: BTreeMap<&str, usize>) -> Result<(), ModelError> {
    for (targets, rank) in targets {
        let targets = Targets::parse(targets)?;
        // A head is not there before its plugin runs; the encoder bounds the rank of all other layers.
        let (bound, layer) = model.rank_bound(&targets, HeadMode::Train)?;
        if rank as i64 > bound {
            tracing::warn!(
                "rank {rank} is above min(fan_in, fan_out) = {bound} of `{layer}`: there the latter bounds the rank \
                 of the update"
            );
        }
    }
    Ok(())
}

/// What all runs on a model share.
struct PreparedModel {
    /// Absolute, or `builtin:NAME`.
    path: String,
    sha256: String,
    positions: usize,
    tokenizer: Tokenizer,
}

impl PreparedModel {
    fn of(
        files: &ModelFiles,
        path: &str,
        weights: Weights,
        tokenizer: Tokenizer,
    ) -> Result<Self, ModelError> {
        Ok(Self {
            path: match files {
                ModelFiles::Builtin(_) => path.to_owned(),
                ModelFiles::Folder(folder) => absolute(folder).display().to_string(),
            },
            sha256: files.sha256(weights == Weights::Pretrained)?,
            positions: files.max_positions()?,
            tokenizer,
        })
    }
}

/// What several runs share.
struct Parts<'a> {
    places: &'a Places,
    /// Folder of the token files.
    cache: PathBuf,
    data: HashMap<String, PreparedData>,
}

#[derive(Clone)]
struct PreparedData {
    /// Of text and tokenizer: what a run's numbers depend on.
    sha256: String,
    tokens: PathBuf,
    train_rows: usize,
}

impl Parts<'_> {
    fn data(
        &mut self,
        spec: &DataSpec,
        model: &PreparedModel,
    ) -> Result<PreparedData, PrepareError> {
        let name = name_of(spec);
        let spec = self.places.data(spec);
        let key = format!("{}\n{spec:?}", model.path);
        if let Some(known) = self.data.get(&key) {
            return Ok(known.clone());
        }
        let tokenizer = &model.tokenizer;
        let spec = &data::within(&spec, model.positions)?;
        let sha256 = sha256(format!("{}{}", source_sha256(spec)?, tokenizer.sha256()).as_bytes());
        let tokens = self
            .cache
            .join(format!("tokens-{}", cut_name(&sha256, spec)));
        let splits = if let Ok(known) = TokenSplits::map(&tokens) {
            known
        } else {
            let text = load_text(spec)?;
            tracing::info!(
                "tokenising {} train, {} validation and {} test rows",
                text.train.len(),
                text.validation.len(),
                text.test.len()
            );
            fs::create_dir_all(&self.cache)
                .map_err(RecordError::io("create the folder", &self.cache))?;
            let made = tokenise(&text, tokenizer, spec)?;
            made.write(&tokens)?;
            made
        };
        warn_of_truncation(splits.truncation, &name, spec.max_length, model.positions);
        let data = PreparedData {
            sha256,
            tokens,
            train_rows: splits.train.units(),
        };
        self.data.insert(key, data.clone());
        Ok(data)
    }
}

/// Tells that texts lose their end: by `data.max_length`, or because the model has no more positions.
fn warn_of_truncation(truncation: Truncation, data: &str, max_length: usize, positions: usize) {
    let Truncation {
        texts,
        cut,
        longest,
    } = truncation;
    if cut == 0 {
        return;
    }
    let remedy = if max_length < positions {
        format!("--max-length keeps up to the model's {positions}")
    } else {
        "the model takes no more".to_owned()
    };
    tracing::warn!(
        "{cut} of {texts} texts of {data} are longer than {max_length} tokens and lose their end, the longest has \
         {longest}: {remedy}"
    );
}

/// A data set as the user called it.
fn name_of(spec: &DataSpec) -> String {
    let file = spec.train_file.as_ref();
    file.map(|file| file.display().to_string())
        .or_else(|| spec.path.clone())
        .unwrap_or_default()
}

/// Names a token file by everything that its content depends on: text and tokenizer, how the text is cut, and this
/// program's way with both.
fn cut_name(sha256_of_source: &str, spec: &DataSpec) -> String {
    let cut = DataSpec {
        path: None,
        train_file: None,
        validation_file: None,
        test_file: None,
        ..spec.clone()
    };
    let all = json!([NUMERICS, sha256_of_source, cut]);
    sha256(all.to_string().as_bytes())[..16].to_owned()
}

/// Names the folder of what plugins keep by everything that it may depend on beside plugin, layer and key: runs that
/// differ in rank, scale, optimizer or learning rate share one.
fn cache_name(spec: &RunSpec, sha256_of_model: &str, tokens: &Path) -> String {
    let RunSpec {
        model,
        head,
        seeds,
        train,
        ..
    } = spec;
    // The token file's name stands for its content.
    let all = json!([
        NUMERICS,
        sha256_of_model,
        model.weights,
        model.dropout,
        model.precision,
        tokens.file_name().map(|name| name.to_string_lossy()),
        [&head.sha256, &head.name],
        head.parameters,
        seeds,
        train.batch_size,
    ]);
    format!("init-{}", &sha256(all.to_string().as_bytes())[..16])
}

/// The tokenizer that comes with a model whose embedding has a row for each of its tokens.
///
/// # Errors
/// As [`tokenizer_of`]; where it knows more tokens than the model.
pub fn fitting_tokenizer(model: &Model) -> Result<Tokenizer, PrepareError> {
    let tokenizer = tokenizer_of(model.files())?;
    let (tokens, embedding) = (tokenizer.vocab_size(), model.vocabulary());
    if i64::try_from(tokens).map_or(true, |tokens| tokens > embedding) {
        return Err(PrepareError::Vocabulary {
            tokenizer: tokenizer.origin().to_owned(),
            tokens,
            embedding,
        });
    }
    Ok(tokenizer)
}

/// The tokenizer that comes with a model.
///
/// # Errors
/// When there is none or it cannot be used.
pub fn tokenizer_of(files: &ModelFiles) -> Result<Tokenizer, PrepareError> {
    match files {
        ModelFiles::Folder(folder) => Ok(Tokenizer::open(folder)?),
        ModelFiles::Builtin(builtin) => {
            if let Some(json) = builtin.file("tokenizer.json") {
                return Ok(Tokenizer::from_json(json, files.origin("tokenizer.json"))?);
            }
            let vocabulary = builtin
                .file("vocab.txt")
                .and_then(|bytes| str::from_utf8(bytes).ok());
            let vocabulary = vocabulary.ok_or_else(|| PrepareError::NoVocabulary {
                name: builtin.name.to_owned(),
            })?;
            let tokens: Vec<&str> = vocabulary.lines().collect();
            Ok(data::Tokenizer::from_vocabulary(&tokens)?)
        }
    }
}

/// Workers may have another working folder one day; a path that cannot be resolved stays as it is.
fn absolute(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::test_support::run_spec;

    #[test]
    fn a_token_file_is_named_by_its_content_and_not_by_its_source() {
        let spec = run_spec(None, 1.0, 1).data;
        let name = cut_name("aa", &spec);
        let elsewhere = DataSpec {
            path: None,
            train_file: Some("copy.csv".into()),
            ..spec.clone()
        };
        assert_eq!(cut_name("aa", &elsewhere), name);
        let smaller = DataSpec {
            train_size: Some(8),
            ..spec.clone()
        };
        let shorter = DataSpec {
            max_length: 32,
            ..spec.clone()
        };
        let others = [
            cut_name("bb", &spec),
            cut_name("aa", &shorter),
            cut_name("aa", &smaller),
        ];
        assert!(!others.contains(&name));
    }
}
