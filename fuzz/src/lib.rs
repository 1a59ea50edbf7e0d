//! What each fuzz target does with its bytes: it hands them to one parser and to what is done with the result. A refusal
//! is a success; a panic, a crash, a hang and memory without bound are what is looked for.
//!
//! The tests of the host include this file and put every case of `corpus/` and `found/` through it.
//!
//! A parser that reads several files gets them as sections, each after a line `@@ NAME`.

mod plugin;

use std::fmt::Display;
use std::fs;
use std::path::Path;

use lorahost::adapter::peft::PeftFolder;
use lorahost::data::{TokenSplits, Tokenizer, Tokens, inspect, load_text};
use lorahost::digest::sha256;
use lorahost::hub::read_answer;
use lorahost::import::import;
use lorahost::model::{Inspection, Model, ModelFiles, Options};
use lorahost::plugins::PluginFile;
use lorahost::record::{self, Checkpoint, PlanRecord, StoredRuns};
use lorahost::report::analysis::{Sources, analyse};
use lorahost::report::{best_table, curve, results_json, results_table, summarise};
use lorahost::spec::{ComponentEntry, Layer, Origin, RawSpec, RunSpec, Seeds, Value, Weights};
use lorahost::sweep::{FromWorker, ToWorker};
use lorahost_plugin_api::protocol::{
    AlphaReply, DataKind, ForwardReply, InitReply, InputsReply, MANIFEST_SECTION, Manifest,
    Metrics, OptimizerState, PlanReply, RanksReply,
};
use serde_json::json;
use tempfile::TempDir;

pub use plugin::plugin;

/// A parser by the name of its target.
pub type Target = fn(&[u8]);

pub const TARGETS: &[(&str, Target)] = &[
    ("adapter", adapter),
    ("config", config),
    ("data", data),
    ("description", description),
    ("hub", hub),
    ("manifest", manifest),
    ("messages", messages),
    ("plugin", plugin),
    ("records", records),
    ("spec", spec),
    ("tokenizer", tokenizer),
    ("tokens", tokens),
    ("weights", weights),
];

/// An experiment file and, behind a line `@@`, what follows its name on the command line: one `key=value` a line.
pub fn spec(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let (file, overrides) = text.split_once("\n@@\n").unwrap_or((text, ""));
    let Some(file) = told(Layer::from_toml(file, Path::new("experiment.toml"))) else {
        return;
    };
    let mut over = Layer::default();
    for assignment in overrides.lines() {
        if told(over.set_text(assignment, &Origin::Override)).is_none() {
            return;
        }
    }
    let Some(plan) = told(RawSpec::new(Some(file), over).plan(&components())) else {
        return;
    };
    if let Some(run) = plan.runs.last() {
        let json = serde_json::to_string(&run.spec).expect("a spec is JSON");
        let read: RunSpec = serde_json::from_str(&json).expect("what was written is read");
        assert_eq!(read, run.spec);
    }
}

/// `train.csv`, `train.tsv`, `train.jsonl`, `train.txt` or `train.parquet`, and files beside it.
pub fn data(data: &[u8]) {
    let folder = unpacked(
        data,
        &[
            "train.csv",
            "train.tsv",
            "train.jsonl",
            "train.txt",
            "train.parquet",
            "test.csv",
            "test.jsonl",
        ],
    );
    read_data(folder.path());
}

/// What a folder of data says of itself: `README.md` or `dataset_infos.json`.
pub fn description(data: &[u8]) {
    let folder = unpacked(data, &["README.md", "dataset_infos.json"]);
    write(folder.path(), "train.csv", b"text,label\na,0\nb,1\nc,0\n");
    read_data(folder.path());
}

fn read_data(folder: &Path) {
    let mut layer = Layer::default();
    let path = Value::Text(folder.display().to_string());
    layer.set("data.path", path, &Origin::Set).expect("a path");
    let raw = RawSpec::new(None, layer);
    for kind in DataKind::ALL {
        let spec = raw.data(kind);
        told(load_text(&spec));
        told(inspect(&spec, None));
    }
}

/// `model.safetensors`, or an index and the files that it names.
pub fn weights(data: &[u8]) {
    let folder = unpacked(
        data,
        &[
            "model.safetensors",
            "model.safetensors.index.json",
            "a.safetensors",
            "b.safetensors",
        ],
    );
    let path = folder.path().display().to_string();
    let files = ModelFiles::find(&path).expect("the folder is there");
    let Some(file) = told(files.weights(str::to_owned)) else {
        return;
    };
    let _ = file.summary();
    for name in file.names() {
        if let Some(Ok(tensor)) = file.tensor(name) {
            assert_eq!(Some(tensor.size().as_slice()), file.shape(name));
        }
    }
}

/// The `config.json` of a model, and the model as far as it is known without weights.
pub fn config(data: &[u8]) {
    let folder = unpacked(data, &["config.json", "generation_config.json"]);
    let path = folder.path().display().to_string();
    let files = ModelFiles::find(&path).expect("the folder is there");
    told(files.max_positions());
    told(files.generation_config());
    told(Inspection::of(&path));
}

/// `tokenizer.json`, or the older files of a vocabulary.
pub fn tokenizer(data: &[u8]) {
    const TEXT: &str = "Gauß met a cat; 42 (forty-two)  times.";
    let folder = unpacked(
        data,
        &[
            "tokenizer.json",
            "tokenizer_config.json",
            "vocab.json",
            "merges.txt",
            "vocab.txt",
        ],
    );
    let Some(tokenizer) = told(Tokenizer::open(folder.path())) else {
        return;
    };
    let _ = (tokenizer.vocab_size(), tokenizer.special_tokens());
    told(tokenizer.encode(TEXT));
    told(tokenizer.encode_batch(&[TEXT, ""], 8));
    told(tokenizer.encode_whole(&[TEXT]));
    let mut stream = tokenizer.text_stream();
    for id in 0..4 {
        told(stream.push(id));
    }
}

/// The tokens that runs share: a header as JSON in the first line and what follows it, or the file as it is.
pub fn tokens(data: &[u8]) {
    let folder = new_folder();
    let path = folder.path().join("tokens");
    let whole = match first_line(data) {
        Some((header, rest)) => {
            let length = (header.len() as u32).to_le_bytes();
            [b"lorahost\x03\0\0\0", &length[..], header, rest].concat()
        }
        None => data.to_vec(),
    };
    fs::write(&path, whole).expect("a file in memory");
    let Some(splits) = told(TokenSplits::map(&path)) else {
        return;
    };
    for split in [&splits.train, &splits.validation, &splits.test] {
        read_tokens(split);
    }
}

fn read_tokens(split: &Tokens) {
    let rows: Vec<usize> = (0..split.rows()).collect();
    let total: usize = rows.iter().map(|&row| split.row(row).count()).sum();
    assert_eq!(total, split.total());
    let units: usize = (0..split.units()).map(|unit| split.length(unit)).sum();
    assert_eq!(units, total);
    let _ = (split.labels(&rows), split.bytes(&rows));
}

/// A plugin file before it is opened: its manifest as JSON, or the file as it is.
pub fn manifest(data: &[u8]) {
    let folder = new_folder();
    let path = folder.path().join("plugin.so");
    let file = match data {
        [b'{', ..] => shared_library(MANIFEST_SECTION, data),
        file => file.to_vec(),
    };
    fs::write(&path, file).expect("a file in memory");
    if let Some(file) = told(PluginFile::read(&path)) {
        told(file.libraries());
        let json = serde_json::to_string(&file.manifest).expect("a manifest is JSON");
        let read: Manifest = serde_json::from_str(&json).expect("what was written is read");
        assert_eq!(read, file.manifest);
    }
}

/// A PEFT adapter, and the file that a run keeps of an adapter.
pub fn adapter(data: &[u8]) {
    let folder = unpacked(
        data,
        &[
            "adapter_config.json",
            "adapter_model.safetensors",
            "adapter.safetensors",
        ],
    );
    if let Some(peft) = told(PeftFolder::open(folder.path())) {
        for module in ["bert.encoder.layer.0.attention.self.query", "a.1.b", ""] {
            let _ = (peft.config.targets(module), peft.config.saves(module));
            let _ = (peft.config.rank_of(module), peft.config.scale_of(module));
        }
        if told(peft.content()).is_some() {
            told(import(folder.path(), Some("builtin:tiny-bert"), None));
        }
    }
    let own = folder.path().join("adapter.safetensors");
    if own.exists() {
        told(Model::kept_head(&own));
        let options = Options {
            weights: Weights::Pretrained,
            dropout: None,
            device: tch::Device::Cpu,
            seeds: Seeds::default(),
        };
        let mut model = Model::open("builtin:tiny-bert", options).expect("a model of the binary");
        told(model.load_adapter(&own));
    }
}

/// The folder of a run and the plan beside it; files whose hashes would have to fit others get them here.
pub fn records(data: &[u8]) {
    const ID: &str = "00000000000000aa";
    let files = [
        "spec.json",
        "metrics.jsonl",
        "result.json",
        "done.json",
        "crashes.jsonl",
        "checkpoint.jsonl",
        "plan.json",
    ];
    let output = new_folder();
    let folder = output.path().join("runs").join(ID);
    fs::create_dir_all(folder.join("checkpoint")).expect("a folder in memory");
    write(
        output.path(),
        "lorahost.json",
        br#"{"format": "lorahost output folder", "version": 1}"#,
    );
    let mut sealed = serde_json::Map::new();
    for (name, content) in sections(data, &files) {
        let (place, content) = match name {
            "plan.json" => (output.path().join(name), content.to_vec()),
            "checkpoint.jsonl" => (folder.join("checkpoint").join(name), signed(content)),
            _ => (folder.join(name), content.to_vec()),
        };
        if ["spec.json", "metrics.jsonl", "result.json"].contains(&name) {
            let seal = json!({ "bytes": content.len(), "sha256": sha256(&content) });
            sealed.insert(name.to_owned(), seal);
        }
        fs::write(place, content).expect("a file in memory");
    }
    if sealed.len() == 3 && !folder.join("done.json").exists() {
        let done = json!({ "version": 1, "id": ID, "status": "completed", "files": sealed });
        write(&folder, "done.json", format!("{done}\n").as_bytes());
    }
    told(record::state(&folder));
    told(record::glance(&folder));
    told(record::read_metrics(&folder));
    told(Checkpoint::find(&folder, ID));
    told(PlanRecord::read(output.path()));
    let _ = record::took(&folder);
    if let Some(stored) = told(StoredRuns::read(output.path())) {
        let summary = summarise(&stored.records);
        let _ = (results_table(&summary), curve(&summary));
        let _ = results_json(&stored.records);
        let analysis = analyse(&Sources {
            records: &stored.records,
            unfinished: &stored.unfinished,
            histories: &stored.histories,
        });
        let _ = best_table(&analysis);
    }
}

/// What plugins and workers say in JSON.
pub fn messages(data: &[u8]) {
    fn read<T: serde::de::DeserializeOwned + serde::Serialize>(data: &[u8]) {
        if let Ok(message) = serde_json::from_slice::<T>(data) {
            let json = serde_json::to_vec(&message).expect("a message is JSON");
            serde_json::from_slice::<T>(&json).expect("what was written is read");
        }
    }
    read::<Manifest>(data);
    read::<InitReply>(data);
    read::<RanksReply>(data);
    read::<AlphaReply>(data);
    read::<OptimizerState>(data);
    read::<PlanReply>(data);
    read::<InputsReply>(data);
    read::<ForwardReply>(data);
    read::<Metrics>(data);
    read::<FromWorker>(data);
    read::<ToWorker>(data);
}

/// An answer of the hub: status, headers, an empty line and the body.
pub fn hub(data: &[u8]) {
    let (head, body) = match data.windows(2).position(|two| two == b"\n\n") {
        Some(end) => (&data[..end], &data[end + 2..]),
        None => (data, &[][..]),
    };
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.parse().ok());
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(": ")).collect();
    told(read_answer(status.unwrap_or(200), &headers, body));
}

/// A result, or none after its error was put into words.
fn told<T, E: Display>(result: Result<T, E>) -> Option<T> {
    result.map_err(|error| error.to_string()).ok()
}

/// Components as plugins would bring them.
fn components() -> Vec<ComponentEntry> {
    let parameters = json!([
        { "name": "std_a", "type": "float", "default": 1, "min": 0.0 },
        { "name": "unit", "type": "choice", "default": "fan_in", "choices": ["fan_in", "rank"] },
        { "name": "every", "type": "int", "default": 7, "min": 2, "max": 100 },
        { "name": "compensate", "type": "bool", "default": false },
    ]);
    let names = [
        ("init", "uniform"),
        ("init", "gaussian"),
        ("alpha", "constant"),
        ("optimizer", "adamw"),
        ("head", "sequence-classification"),
    ];
    let entry = |(kind, name)| {
        let manifest = json!({ "kind": kind, "name": name, "parameters": parameters });
        ComponentEntry {
            manifest: serde_json::from_value(manifest).expect("a manifest"),
            sha256: "0".repeat(64),
            file: format!("{name}_{kind}.so").into(),
            explicit: false,
        }
    };
    names.into_iter().map(entry).collect()
}

fn new_folder() -> TempDir {
    tempfile::tempdir().expect("a folder in memory")
}

fn write(folder: &Path, name: &str, content: &[u8]) {
    fs::write(folder.join(name), content).expect("a file in memory");
}

/// A folder with the sections that have one of these names; `.safetensors` begin with the length of their header.
fn unpacked(data: &[u8], names: &[&'static str]) -> TempDir {
    let folder = new_folder();
    for (name, content) in sections(data, names) {
        match first_line(content) {
            Some((header, rest)) if name.ends_with(".safetensors") => {
                let length = (header.len() as u64).to_le_bytes();
                write(folder.path(), name, &[&length, header, rest].concat());
            }
            _ => write(folder.path(), name, content),
        }
    }
    folder
}

/// What stands behind each line `@@ NAME`, for the names that are known; all of it is the first of them where there is no
/// such line.
fn sections<'a>(data: &'a [u8], names: &[&'static str]) -> Vec<(&'static str, &'a [u8])> {
    const START: &[u8] = b"@@ ";
    if !data.starts_with(START) {
        return vec![(names[0], data)];
    }
    let mut found = Vec::new();
    let mut rest = &data[START.len()..];
    loop {
        let next = rest.windows(4).position(|four| four == b"\n@@ ");
        let section = &rest[..next.unwrap_or(rest.len())];
        let (name, content) = match section.iter().position(|&byte| byte == b'\n') {
            Some(end) => (&section[..end], &section[end + 1..]),
            None => (section, &[][..]),
        };
        let known = names.iter().find(|known| known.as_bytes() == name);
        found.extend(known.map(|known| (*known, content)));
        match next {
            Some(end) => rest = &rest[end + 4..],
            None => return found,
        }
    }
}

/// A first line that begins a JSON object, and what follows it.
fn first_line(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let data = data.strip_prefix(b"{").map(|_| data)?;
    let end = data.iter().position(|&byte| byte == b'\n');
    Some(end.map_or((data, &[][..]), |end| (&data[..end], &data[end + 1..])))
}

/// The first line of a checkpoint, with the second that it needs.
fn signed(content: &[u8]) -> Vec<u8> {
    let line = content.split(|&byte| byte == b'\n').next();
    let line = [line.unwrap_or_default(), b"\n"].concat();
    let seal = format!("{{\"sha256\":\"{}\"}}\n", sha256(&line));
    [line, seal.into_bytes()].concat()
}

/// The least ELF file that is a shared library of this machine with one section.
fn shared_library(name: &str, content: &[u8]) -> Vec<u8> {
    const HEADER: usize = 64;
    let machine: u16 = if cfg!(target_arch = "aarch64") {
        183
    } else {
        62
    };
    let names = format!("\0{name}\0.shstrtab\0");
    let sections = HEADER + content.len() + names.len();
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let halves = |file: &mut Vec<u8>, values: &[u16]| {
        file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    };
    // ET_DYN; then the version, no entry, no segments, the table of sections.
    halves(&mut file, &[3, machine, 1, 0]);
    for word in [0, 0, sections as u64] {
        file.extend(word.to_le_bytes());
    }
    halves(&mut file, &[0, 0, HEADER as u16, 56, 0, 64, 3, 2]);
    file.extend([content, names.as_bytes()].concat());
    let places = [
        (0, 0, 0, 0),
        (1, 1, HEADER, content.len()),
        (
            2 + name.len() as u32,
            3,
            HEADER + content.len(),
            names.len(),
        ),
    ];
    for (name, kind, start, length) in places {
        file.extend([name, kind].into_iter().flat_map(u32::to_le_bytes));
        for word in [0, 0, start as u64, length as u64, 0, 1, 0] {
            file.extend(word.to_le_bytes());
        }
    }
    file
}
