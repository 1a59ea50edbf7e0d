//! From layers of settings to the runs of an experiment: the product over all axes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lorahost_plugin_api::protocol::DataKind;
use serde_json::{Map, Value as Json};

use super::cell;
use super::error::{SpecError, quoted};
use super::identity::fingerprint;
use super::kind::{Device, Kind};
use super::layer::{Layer, Setting};
use super::run::{DataSpec, Method, RunSpec, Save};
use super::schema::{Fallback, KEYS, Key};
use super::select::{Catalogue, select};
use super::value::Origin;
use crate::adapter::peft::{AdapterConfig, PeftFolder};
use crate::digest::sha256;

/// More runs than that are taken for a mistake.
pub const MAX_RUNS: usize = 100_000;

/// What a user asked for, layer by layer, not yet confronted with the plugins at hand.
#[derive(Debug, Clone)]
pub struct RawSpec {
    /// Defaults, experiment file, command line; later ones go before earlier ones.
    layers: [Layer; 3],
}

/// A validated experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// All different, cell by cell, with the learning rate running fastest.
    pub runs: Vec<PlannedRun>,
    /// Folder of the results. The default is the same for the same experiment.
    pub output: PathBuf,
    pub execution: Execution,
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
}

impl Execution {
    /// Runs at a time: as given, else as many as the cores have room for, and one on CUDA; never
    /// more than there are runs.
    #[must_use]
    pub fn workers(&self, on_cuda: bool, cores: usize, runs: usize) -> usize {
        let default = if on_cuda { 1 } else { cores / self.threads };
        self.workers.unwrap_or(default).clamp(1, runs.max(1))
    }
}

impl RawSpec {
    /// An experiment of an experiment file, if there is one, and the command line over it.
    #[must_use]
    pub fn new(file: Option<Layer>, command_line: Layer) -> Self {
        Self {
            layers: [Layer::defaults(), file.unwrap_or_default(), command_line],
        }
    }

    /// The runs of the experiment, with every default filled in.
    ///
    /// # Errors
    /// A model without data or data without a model; a component or parameter that no plugin has
    /// or that is out of its bounds; a warm-up as long as the run; more than [`MAX_RUNS`] runs.
    pub fn plan(&self, catalogue: &dyn Catalogue) -> Result<Plan, SpecError> {
        let mut notices = Vec::new();
        let dimensions = self.dimensions(catalogue, &mut notices)?;
        let methods = self.values("method");
        if !methods.contains(&Json::from("lora")) {
            notices.extend(self.without_effect());
        }
        limit(&methods, &dimensions)?;
        let adapters = self.adapters()?;

        let mut known = BTreeSet::new();
        let mut runs: Vec<(RunSpec, String)> = Vec::new();
        for method in &methods {
            let concerned: Vec<&Dimension> = dimensions
                .iter()
                .filter(|dimension| concerns(method, dimension.key))
                .collect();
            for point in product(&concerned) {
                let mut spec = run_spec(method, &point);
                spec.data.arrange(data_kind(&spec.head.name, catalogue)?);
                spec.train.check_warmup(spec.data.train_size)?;
                self.go_on(&mut spec, &adapters);
                if known.insert(fingerprint(&spec)) {
                    let varying = point
                        .iter()
                        .filter(|(dimension, _)| dimension.names_cells());
                    let name = cell::name(&spec, varying.map(|(d, i)| d.labels[*i].as_slice()));
                    runs.push((spec, name));
                }
            }
        }
        cell::make_unique(&mut runs);

        let output = match self.text("run.output") {
            Some(folder) => PathBuf::from(folder),
            None => default_output(&runs, &known),
        };
        Ok(Plan {
            runs: runs
                .into_iter()
                .map(|(spec, cell)| PlannedRun { spec, cell })
                .collect(),
            output,
            execution: self.execution(),
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
    fn adapters(&self) -> Result<Adapters, SpecError> {
        let folders = self.values("model.adapter");
        let given = self.layers[1..].iter().flat_map(Layer::origins);
        let mut own = given.filter(|(key, ..)| {
            matches!(
                key.name,
                "lora.rank" | "lora.targets" | "lora.init_scale_a" | "init" | "alpha"
            )
        });
        if let (false, Some((_, key, origin))) = (folders.is_empty(), own.next()) {
            let origin = origin.clone();
            return Err(SpecError::OfTheAdapter { key, origin });
        }
        let folders = folders.iter().filter_map(Json::as_str).map(PathBuf::from);
        let read = |folder: PathBuf| {
            let config = PeftFolder::open(&folder)?.config;
            let sha256 = PeftFolder::sha256(&folder)?;
            Ok((folder, Adapter { config, sha256 }))
        };
        folders.map(read).collect()
    }

    /// Makes of a run one that goes on from its adapter, if it has one: neither init scheme nor alpha policy is asked,
    /// and the rank is what the adapter's configuration has for most layers.
    fn go_on(&self, spec: &mut RunSpec, adapters: &Adapters) {
        let folder = spec.model.adapter.as_ref();
        let Some(Adapter { config, sha256 }) = folder.and_then(|folder| adapters.get(folder))
        else {
            return;
        };
        spec.model.adapter_sha256 = Some(sha256.clone());
        spec.init = None;
        spec.alpha = None;
        if let Some(lora) = &mut spec.lora {
            lora.rank = usize::try_from(config.rank).unwrap_or(1);
            if !self.layers[1..]
                .iter()
                .any(|layer| layer.get("lora.dropout").is_some())
            {
                lora.dropout = config.dropout;
            }
        }
    }

    /// What the user said of LoRA, in an experiment without it.
    fn without_effect(&self) -> impl Iterator<Item = String> {
        let given = self.layers[1..].iter().flat_map(Layer::origins);
        let of_lora = given.filter(|(key, ..)| key.is_lora_only());
        let mut seen = BTreeSet::new();
        of_lora
            .map(|(_, name, origin)| {
                format!("`{name}` ({origin}) has no effect on full fine-tuning")
            })
            .filter(move |notice| seen.insert(notice.clone()))
    }

    fn setting(&self, key: &str) -> Option<&Setting> {
        self.layers.iter().rev().find_map(|layer| layer.get(key))
    }

    fn values(&self, key: &str) -> Vec<Json> {
        self.setting(key)
            .map(|setting| setting.values.clone())
            .unwrap_or_default()
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

    fn execution(&self) -> Execution {
        Execution {
            device: self
                .text("run.device")
                .and_then(|text| Device::parse(&text))
                .unwrap_or(Device::Auto),
            threads: self.number("run.threads").unwrap_or(1),
            workers: self.number("run.workers"),
        }
    }

    /// Every key that has a value, except for the method and those of `run`.
    fn dimensions(
        &self,
        catalogue: &dyn Catalogue,
        notices: &mut Vec<String>,
    ) -> Result<Vec<Dimension>, SpecError> {
        let layers: Vec<&Layer> = self.layers.iter().collect();
        let has_lora = self.values("method").contains(&Json::from("lora"));
        let mut dimensions = Vec::new();
        for key in KEYS
            .iter()
            .filter(|key| key.is_axis() && key.name != "method")
        {
            let values = if key.kind == Kind::Component {
                let asked_for = layers[1..]
                    .iter()
                    .any(|layer| layer.wanted(key.name).is_some());
                if key.is_lora_only() && !has_lora && !asked_for {
                    continue;
                }
                let selected = select(key.name, &layers, catalogue)?;
                notices.extend(selected.notices);
                selected.selections.iter().map(Dimension::json).collect()
            } else {
                self.values(key.name)
            };
            if !values.is_empty() {
                let labels = cell::labels(key, &values);
                dimensions.push(Dimension {
                    key,
                    values,
                    labels,
                });
            }
        }
        self.add_builtin(&mut dimensions)?;
        // Seeds vary faster than what tells cells apart, and the learning rate fastest.
        dimensions.sort_by_key(|dimension| match dimension.key.name {
            "train.lr" => 2,
            name if name.starts_with("seed") => 1,
            _ => 0,
        });
        Ok(dimensions)
    }

    /// The built-in example where neither model nor data is named.
    fn add_builtin(&self, dimensions: &mut Vec<Dimension>) -> Result<(), SpecError> {
        let model = self.setting("model.path").is_some();
        let data = ["data.path", "data.train_file"]
            .into_iter()
            .find(|key| self.setting(key).is_some());
        match (model, data) {
            (true, Some(_)) => Ok(()),
            (true, None) => Err(SpecError::HalfOfAPair {
                named: "`model.path`",
                missing: "`data.path` or `data.train_file`",
                flag: "--data FOLDER or --train-file FILE",
            }),
            (false, Some(named)) => Err(SpecError::HalfOfAPair {
                named: if named == "data.path" {
                    "`data.path`"
                } else {
                    "`data.train_file`"
                },
                missing: "`model.path`",
                flag: "--model FOLDER",
            }),
            (false, None) => {
                dimensions.extend(KEYS.iter().filter_map(|key| match key.default {
                    Fallback::Builtin(path) => Some(Dimension {
                        key,
                        values: vec![Json::from(path)],
                        labels: vec![Vec::new()],
                    }),
                    _ => None,
                }));
                Ok(())
            }
        }
    }
}

/// An adapter that runs go on from.
struct Adapter {
    config: AdapterConfig,
    sha256: String,
}

type Adapters = BTreeMap<PathBuf, Adapter>;

/// A key and the values it takes in this experiment, one or several.
struct Dimension {
    key: &'static Key,
    values: Vec<Json>,
    labels: Vec<Vec<String>>,
}

/// One value of each dimension, by its index.
type Point<'a> = Vec<(&'a Dimension, usize)>;

impl Dimension {
    fn json(selection: &super::run::Selection) -> Json {
        serde_json::to_value(selection).expect("a selection has string keys and finite numbers")
    }

    fn varies(&self) -> bool {
        self.values.len() > 1
    }

    /// Whether the values belong in the names of cells; the rank is there in any case.
    fn names_cells(&self) -> bool {
        let name = self.key.name;
        self.varies() && !matches!(name, "train.lr" | "lora.rank") && !name.starts_with("seed")
    }
}

fn concerns(method: &Json, key: &Key) -> bool {
    *method == "lora" || !key.is_lora_only()
}

fn limit(methods: &[Json], dimensions: &[Dimension]) -> Result<(), SpecError> {
    let count = methods
        .iter()
        .map(|method| {
            let concerned = dimensions
                .iter()
                .filter(|dimension| concerns(method, dimension.key));
            concerned.fold(1_usize, |count, dimension| {
                count.saturating_mul(dimension.values.len())
            })
        })
        .fold(0_usize, usize::saturating_add);
    if count <= MAX_RUNS {
        return Ok(());
    }
    let axes: Vec<String> = dimensions
        .iter()
        .filter(|dimension| dimension.varies())
        .map(|dimension| format!("`{}` ({})", dimension.key.name, dimension.values.len()))
        .collect();
    Err(SpecError::TooManyRuns {
        count,
        limit: MAX_RUNS,
        axes: axes.join(", "),
    })
}

/// All points of the grid, the last dimension running fastest.
fn product<'a>(dimensions: &[&'a Dimension]) -> Vec<Point<'a>> {
    let mut points = vec![Vec::with_capacity(dimensions.len())];
    for dimension in dimensions {
        let extend = |point: Point<'a>| {
            (0..dimension.values.len()).map(move |i| {
                let mut point = point.clone();
                point.push((*dimension, i));
                point
            })
        };
        points = points.into_iter().flat_map(extend).collect();
    }
    points
}

/// What a head learns from, by its manifest.
///
/// # Errors
/// There is no such head, or this host does not know what it learns from.
pub fn data_kind(head: &str, catalogue: &dyn Catalogue) -> Result<DataKind, SpecError> {
    let entries = catalogue.components("head");
    let Some(entry) = entries.iter().find(|entry| entry.manifest.name == head) else {
        return Err(SpecError::UnknownComponent {
            kind: "task head",
            name: head.to_owned(),
            origin: Origin::Flag("--head".to_owned()),
            known: entries
                .iter()
                .map(|entry| entry.manifest.name.clone())
                .collect(),
        });
    };
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
fn run_spec(method: &Json, point: &Point<'_>) -> RunSpec {
    let values: BTreeMap<&str, &Json> = point
        .iter()
        .map(|(dimension, i)| (dimension.key.name, &dimension.values[*i]))
        .collect();
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
