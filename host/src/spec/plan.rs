//! From layers of settings to the runs of an experiment: the points of its grids, those left out that are excluded.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lorahost_plugin_api::protocol::DataKind;
use serde_json::{Map, Value as Json};

use super::cell;
use super::error::{SpecError, quoted};
use super::exclusion::Exclusion;
use super::grid::{self, Axis, Grid};
use super::identity::fingerprint;
use super::kind::{Device, Kind};
use super::layer::Layer;
use super::run::{DataSpec, Method, Precision, RunSpec, Save};
use super::schema::KEYS;
use super::search::Search;
use super::select::{Catalogue, require};
use super::settings::Settings;
use super::value::Origin;
use crate::adapter::peft::{AdapterConfig, PeftFolder};
use crate::digest::sha256;

/// More runs than that are taken for a mistake, unless the user says that they are none.
pub const MAX_RUNS: usize = 100_000;

/// What a user asked for, layer by layer, not yet confronted with the plugins at hand.
#[derive(Debug, Clone)]
pub struct RawSpec {
    /// Defaults, experiment file, command line; later ones go before earlier ones.
    layers: [Layer; 3],
    /// The most points of the grid.
    limit: usize,
}

/// A validated experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// All different, cell by cell, with the learning rate running fastest.
    pub runs: Vec<PlannedRun>,
    /// The keys that take several values, in the order of the schema.
    pub axes: Vec<Axis>,
    /// Folder of the results. The default is the same for the same experiment.
    pub output: PathBuf,
    /// Whether nobody named it.
    pub output_is_default: bool,
    pub execution: Execution,
    pub search: Search,
    /// What a user might not expect of this plan, one sentence each.
    pub notices: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct PlannedRun {
    pub spec: RunSpec,
    /// Names the runs that differ from this one in learning rate and seed alone: `lora-r16`,
    /// `full`, `lora-r16-gaussian`. Fit for a folder, different for different cells.
    pub cell: String,
}

/// How runs are carried out; without influence on what a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Execution {
    pub device: Device,
    /// Threads of one worker.
    pub threads: usize,
    /// As given; see [`Execution::workers`] for the default.
    pub workers: Option<usize>,
    /// Time between checkpoints; none are made without.
    pub checkpoint_every: Option<Duration>,
    /// How often a run is tried again after a failure that may pass.
    pub retries: usize,
    /// How long a worker may be silent.
    pub heartbeat: Option<Duration>,
}

impl Execution {
    /// Runs at a time: as given, else one on each of the GPUs that they compute on, else as many as the cores have
    /// room for; never more than there are runs.
    #[must_use]
    pub fn workers(&self, gpus: usize, cores: usize, runs: usize) -> usize {
        let default = if gpus > 0 { gpus } else { cores / self.threads };
        self.workers.unwrap_or(default).clamp(1, runs.max(1))
    }
}

impl RawSpec {
    /// An experiment of an experiment file, if there is one, and the command line over it.
    #[must_use]
    pub fn new(file: Option<Layer>, command_line: Layer) -> Self {
        Self {
            layers: [Layer::defaults(), file.unwrap_or_default(), command_line],
            limit: MAX_RUNS,
        }
    }

    /// The same where the user has said that more than [`MAX_RUNS`] runs are meant.
    #[must_use]
    pub fn confirmed(mut self, confirmed: bool) -> Self {
        self.limit = if confirmed { usize::MAX } else { MAX_RUNS };
        self
    }

    /// The runs of the experiment, with every default filled in.
    ///
    /// # Errors
    /// A model without data or data without a model; a component or parameter that no plugin has
    /// or that is out of its bounds; a warm-up as long as the run; more than [`MAX_RUNS`] runs that nobody has
    /// confirmed; no run at all.
    pub fn plan(&self, catalogue: &dyn Catalogue) -> Result<Plan, SpecError> {
        let mut notices = Vec::new();
        let mut grids = self.grids(catalogue, &mut notices)?;
        let methods = grid::methods(&grids);
        if !methods.contains(&Json::from("lora")) {
            notices.extend(self.without_effect());
        }
        self.refuse_too_many(&grids)?;
        let axes = grid::label(&mut grids);
        let exclusions = self.exclusions(&grids, catalogue)?;
        let adapters = Self::adapters(&grids)?;

        let mut used = vec![false; exclusions.len()];
        let mut points = 0;
        let mut known = BTreeSet::new();
        let mut runs: Vec<(RunSpec, String)> = Vec::new();
        for method in &methods {
            for grid in &grids {
                for point in grid.points(method) {
                    points += 1;
                    let values = grid::by_key(method, &point);
                    if let Some(i) = exclusions.iter().position(|one| one.matches(&values)) {
                        used[i] = true;
                        continue;
                    }
                    let mut spec = run_spec(method, &values);
                    spec.data.arrange(data_kind(&spec.head.name, catalogue)?);
                    spec.train.check_warmup(spec.data.train_size)?;
                    go_on(&mut spec, &adapters, grid.says_dropout);
                    if known.insert(fingerprint(&spec)) {
                        let labels = point.iter().map(|(d, i)| d.labels[*i].as_slice());
                        let name = cell::name(&spec, labels);
                        runs.push((spec, name));
                    }
                }
            }
        }
        if runs.is_empty() {
            return Err(SpecError::AllExcluded { points });
        }
        for (exclusion, _) in exclusions.iter().zip(used).filter(|(_, used)| !used) {
            notices.push(format!(
                "`exclude` ({}) leaves out no run",
                exclusion.origin
            ));
        }
        cell::make_unique(&mut runs);
        cell::gather(&mut runs);

        let given = self.text("run.output");
        let output_is_default = given.is_none();
        let output = given.map_or_else(|| default_output(&runs, &known), PathBuf::from);
        Ok(Plan {
            runs: runs
                .into_iter()
                .map(|(spec, cell)| PlannedRun { spec, cell })
                .collect(),
            axes,
            output,
            output_is_default,
            execution: self.execution(),
            search: self.search(),
            notices,
        })
    }

    /// The data alone, of the first value of each key.
    #[must_use]
    pub fn data(&self, kind: DataKind) -> DataSpec {
        let keys = KEYS.iter().filter(|key| key.section() == "data");
        let fields = keys.map(|key| {
            let value = self.values(key.name).into_iter().next();
            (
                key.name["data.".len()..].to_owned(),
                value.unwrap_or(Json::Null),
            )
        });
        let mut spec: DataSpec = serde_json::from_value(Json::Object(fields.collect()))
            .expect("the schema's keys are the fields of the data's part of a run");
        spec.arrange(kind);
        spec
    }

    /// The adapters that runs go on from, by their folders.
    fn adapters(grids: &[Grid]) -> Result<Adapters, SpecError> {
        let dimensions = grids.iter().flat_map(|grid| &grid.dimensions);
        let folders: BTreeSet<PathBuf> = dimensions
            .filter(|dimension| dimension.key.name == "model.adapter")
            .flat_map(|dimension| &dimension.values)
            .filter_map(Json::as_str)
            .map(PathBuf::from)
            .collect();
        let read = |folder: PathBuf| {
            let config = PeftFolder::open(&folder)?.config;
            let sha256 = PeftFolder::sha256(&folder)?;
            Ok((folder, Adapter { config, sha256 }))
        };
        folders.into_iter().map(read).collect()
    }

    /// What the user said of LoRA, in an experiment without it.
    fn without_effect(&self) -> impl Iterator<Item = String> {
        let [_, file, command_line] = &self.layers;
        let groups = file.groups.iter().flatten();
        let given = [file].into_iter().chain(groups).chain([command_line]);
        let of_lora = given
            .flat_map(Layer::origins)
            .filter(|(key, ..)| key.is_lora_only());
        let mut seen = BTreeSet::new();
        of_lora
            .map(|(_, name, origin)| {
                format!("`{name}` ({origin}) has no effect on full fine-tuning")
            })
            .filter(move |notice| seen.insert(notice.clone()))
    }

    /// One grid for each combination of the file's pairs and variants.
    fn grids(
        &self,
        catalogue: &dyn Catalogue,
        notices: &mut Vec<String>,
    ) -> Result<Vec<Grid>, SpecError> {
        let [defaults, file, command_line] = &self.layers;
        let sizes = file.groups.iter().map(Vec::len);
        let count = sizes.fold(1, usize::saturating_mul);
        if count > self.limit {
            return Err(SpecError::TooManyRuns {
                count,
                limit: self.limit,
                axes: "the pairs".to_owned(),
            });
        }
        let mut combinations: Vec<Vec<&Layer>> = vec![vec![defaults, file]];
        for group in &file.groups {
            combinations = combinations
                .iter()
                .flat_map(|layers| {
                    let with = |one| layers.iter().copied().chain([one]).collect();
                    group.iter().map(with)
                })
                .collect();
        }
        let mut grids = Vec::with_capacity(combinations.len());
        for mut layers in combinations {
            layers.push(command_line);
            let (grid, of_it) = Settings::new(layers).grid(catalogue, self.limit)?;
            grids.push(grid);
            for notice in of_it {
                if !notices.contains(&notice) {
                    notices.push(notice);
                }
            }
        }
        Ok(grids)
    }

    fn exclusions(
        &self,
        grids: &[Grid],
        catalogue: &dyn Catalogue,
    ) -> Result<&[Exclusion], SpecError> {
        let [_, file, _] = &self.layers;
        let dimensions = grids.iter().flat_map(|grid| &grid.dimensions);
        let selected: BTreeSet<(&str, String)> = dimensions
            .filter(|dimension| dimension.key.kind == Kind::Component)
            .flat_map(|dimension| {
                let names = dimension
                    .values
                    .iter()
                    .map(|value| cell::shown(&value["name"]));
                names.map(|name| (dimension.key.name, name))
            })
            .collect();
        for exclusion in &file.exclusions {
            exclusion.check(&selected, catalogue)?;
        }
        Ok(&file.exclusions)
    }

    fn refuse_too_many(&self, grids: &[Grid]) -> Result<(), SpecError> {
        let counts = grids.iter().map(Grid::count);
        let count = counts.fold(0, usize::saturating_add);
        if count <= self.limit {
            return Ok(());
        }
        let mut longest: BTreeMap<&str, usize> = BTreeMap::new();
        for dimension in grids.iter().flat_map(|grid| &grid.dimensions) {
            let length = longest.entry(dimension.key.name).or_default();
            *length = dimension.values.len().max(*length);
        }
        let axes = KEYS.iter().filter_map(|key| {
            let length = longest.get(key.name).filter(|length| **length > 1)?;
            Some(format!("`{}` ({length})", key.name))
        });
        let mut axes: Vec<String> = axes.collect();
        if grids.len() > 1 {
            axes.push(format!("pairs and variants ({})", grids.len()));
        }
        Err(SpecError::TooManyRuns {
            count,
            limit: self.limit,
            axes: axes.join(", "),
        })
    }

    fn values(&self, key: &str) -> Vec<Json> {
        Settings::new(self.layers.iter().collect()).values(key)
    }

    fn text(&self, key: &str) -> Option<String> {
        self.values(key)
            .first()
            .and_then(|value| value.as_str().map(str::to_owned))
    }

    fn number(&self, key: &str) -> Option<usize> {
        self.values(key)
            .first()
            .and_then(Json::as_u64)
            .and_then(|value| usize::try_from(value).ok())
    }

    /// None for 0.
    fn seconds(&self, key: &str) -> Option<Duration> {
        let value = self.values(key).first().and_then(Json::as_f64);
        value
            .and_then(|value| Duration::try_from_secs_f64(value).ok())
            .filter(|value| !value.is_zero())
    }

    fn execution(&self) -> Execution {
        Execution {
            device: self
                .text("run.device")
                .and_then(|text| Device::parse(&text))
                .unwrap_or(Device::Auto),
            threads: self.number("run.threads").unwrap_or(1),
            workers: self.number("run.workers"),
            checkpoint_every: self.seconds("run.checkpoint_every"),
            retries: self.number("run.retries").unwrap_or(0),
            heartbeat: self.seconds("run.heartbeat"),
        }
    }

    fn search(&self) -> Search {
        match self.text("search.strategy").as_deref() {
            Some("bracket") => Search::Bracket {
                width: self
                    .values("search.width")
                    .first()
                    .and_then(Json::as_f64)
                    .expect("the schema has a default"),
                budget: self
                    .number("search.budget")
                    .expect("the schema has a default"),
            },
            _ => Search::Grid,
        }
    }
}

/// An adapter that runs go on from.
struct Adapter {
    config: AdapterConfig,
    sha256: String,
}

type Adapters = BTreeMap<PathBuf, Adapter>;

/// Makes of a run one that goes on from its adapter, if it has one: neither init scheme nor alpha policy is asked, and the
/// rank is what the adapter's configuration has for most layers.
fn go_on(spec: &mut RunSpec, adapters: &Adapters, says_dropout: bool) {
    let folder = spec.model.adapter.as_ref();
    let Some(Adapter { config, sha256 }) = folder.and_then(|folder| adapters.get(folder)) else {
        return;
    };
    spec.model.adapter_sha256 = Some(sha256.clone());
    spec.init = None;
    spec.alpha = None;
    if let Some(lora) = &mut spec.lora {
        lora.rank = usize::try_from(config.rank).unwrap_or(1);
        if !says_dropout {
            lora.dropout = config.dropout;
        }
    }
}

/// What a head learns from, by its manifest.
///
/// # Errors
/// There is no such head, or this host does not know what it learns from.
pub fn data_kind(head: &str, catalogue: &dyn Catalogue) -> Result<DataKind, SpecError> {
    let origin = Origin::Flag("--head".to_owned());
    let entry = require("head", head, &origin, catalogue)?;
    let Some(kind) = entry.manifest.data.as_deref() else {
        return Ok(DataKind::default());
    };
    DataKind::named(kind).ok_or_else(|| SpecError::UnknownDataKind {
        head: head.to_owned(),
        kind: kind.to_owned(),
        known: quoted(DataKind::ALL.map(DataKind::name)),
    })
}

/// The run at one point of the grid.
fn run_spec(method: &Json, values: &BTreeMap<&'static str, &Json>) -> RunSpec {
    let value = |name: &str| {
        values
            .get(name)
            .map_or(Json::Null, |value| (*value).clone())
    };
    let section = |name: &str| {
        let keys = KEYS.iter().filter(|key| key.section() == name);
        let fields = keys.map(|key| {
            let field = key.name[name.len() + 1..].to_owned();
            let value = match value(key.name) {
                // Factors on LoRA's learning rates are 1 where there is no LoRA.
                Json::Null if key.is_lora_only() => Json::from(1),
                Json::Null if name == "seeds" => value("seed"),
                value => value,
            };
            (field, value)
        });
        Json::Object(fields.collect())
    };
    let mut run = Map::new();
    run.insert("method".to_owned(), method.clone());
    for name in ["model", "data", "train", "seeds"] {
        run.insert(name.to_owned(), section(name));
    }
    run.insert(
        "lora".to_owned(),
        if *method == "lora" {
            section("lora")
        } else {
            Json::Null
        },
    );
    for kind in ["init", "alpha", "optimizer", "head"] {
        run.insert(kind.to_owned(), value(kind));
    }
    let mut spec: RunSpec = serde_json::from_value(Json::Object(run))
        .expect("the schema's keys are the fields of a run");
    if spec.model.precision == Some(Precision::Float32) {
        // The same as not to say so, and the same run.
        spec.model.precision = None;
    }
    if spec.method == Method::Full && spec.train.save == Save::Adapter {
        spec.train.save = Save::Full;
    }
    spec
}

/// `runs/MODEL-DATA-HASH`: readable, and different for every set of runs.
fn default_output(runs: &[(RunSpec, String)], fingerprints: &BTreeSet<String>) -> PathBuf {
    let all: Vec<&str> = fingerprints.iter().map(String::as_str).collect();
    let hash = sha256(all.join("\n").as_bytes());
    let one_of = |names: BTreeSet<String>| match names.len() {
        1 => names.into_iter().next().unwrap_or_default(),
        _ => "several".to_owned(),
    };
    let model = one_of(
        runs.iter()
            .map(|(spec, _)| file_name(&spec.model.path))
            .collect(),
    );
    let data = one_of(
        runs.iter()
            .map(|(spec, _)| match (&spec.data.train_file, &spec.data.path) {
                (Some(file), _) => file
                    .file_stem()
                    .map_or_else(String::new, |stem| file_name(&stem.to_string_lossy())),
                (None, path) => path.as_deref().map_or_else(String::new, file_name),
            })
            .collect(),
    );
    Path::new("runs").join(format!("{model}-{data}-{}", &hash[..8]))
}

fn file_name(path: &str) -> String {
    cell::path_safe(cell::last_of_path(path))
}
