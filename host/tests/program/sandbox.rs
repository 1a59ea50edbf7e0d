//! A folder with a small model and small data, calls of the program in it, and the records that they leave.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lorahost::record::{Event, RunRecord, RunState, read_metrics, state};
use regex::Regex;
use serde_json::Value;

use crate::processes::Running;

/// The working folder of the program: `model/` is a BERT of two layers with random weights, `data/` has four classes
/// of short texts, `kit/` has the plugins that are found.
pub struct Sandbox {
    folder: tempfile::TempDir,
}

/// How a call of the program ended; paths, ids and times in its output are replaced by words.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// A run as it lies in the output folder.
#[derive(Debug, Clone)]
pub struct Run {
    pub folder: PathBuf,
    pub record: RunRecord,
    pub events: Vec<Event>,
}

/// Flags of a small run: 64 train rows in 8 steps.
const SMALL: [(&str, &str); 9] = [
    ("--model", "model"),
    ("--data", "data"),
    ("--epochs", "1"),
    ("--batch-size", "8"),
    ("--rank", "4"),
    ("--alpha-policy", "constant:alpha=8"),
    ("--lrs", "1e-3"),
    ("--workers", "1"),
    ("--output", "out"),
];

/// Files of the plugins that the program finds by itself.
const KIT: [&str; 8] = [
    "adamw_optimizer",
    "constant_alpha",
    "gaussian_init",
    "masked_lm_head",
    "proportional_alpha",
    "sequence_classification_head",
    "sgd_optimizer",
    "uniform_init",
];

/// What could lead the program to another hub, cache or token than the test's.
const HUB_VARIABLES: [&str; 8] = [
    "HF_ENDPOINT",
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "HF_TOKEN_PATH",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN",
    "TRANSFORMERS_OFFLINE",
];

const CLASSES: [[&str; 6]; 4] = [
    [
        "treaty", "border", "minister", "embassy", "election", "army",
    ],
    ["goal", "coach", "league", "striker", "medal", "referee"],
    ["shares", "profit", "merger", "market", "bank", "dollar"],
    ["chip", "software", "satellite", "browser", "robot", "virus"],
];
const COMMON: [&str; 8] = ["the", "new", "of", "after", "says", "in", "big", "two"];

impl Sandbox {
    pub fn new() -> Self {
        let sandbox = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        copy_model("tiny-bert-reference", &sandbox.path("model"));
        sandbox.write("model/vocab.txt", vocabulary());
        fs::create_dir(sandbox.path("kit")).unwrap();
        for name in KIT {
            let file = plugin(name);
            symlink(&file, sandbox.path("kit").join(file.file_name().unwrap())).unwrap();
        }
        for (split, rows, first) in [
            ("train", 64, 0),
            ("validation", 16, 1000),
            ("test", 32, 2000),
        ] {
            sandbox.write(&format!("data/{split}.csv"), table(rows, first));
        }
        sandbox
    }

    /// A path in the folder.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, with the folders above it.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Runs the program with these words, in the folder, with the plugins of `kit/`.
    pub fn lorahost(&self, words: &str) -> Outcome {
        self.lorahost_with(words, &[])
    }

    /// As [`Sandbox::lorahost`], with changes of the environment.
    pub fn lorahost_with(&self, words: &str, environment: &[(&str, &str)]) -> Outcome {
        self.end(self.start(words, environment))
    }

    /// What a call prints as JSON, which must end well, with numbers as they are: outcomes have words in their place.
    pub fn json(&self, words: &str) -> Value {
        let ended = self.start(words, &[]).output();
        let err = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "{words}: {err}");
        serde_json::from_slice(&ended.stdout).unwrap()
    }

    /// As [`Sandbox::lorahost`], on a machine that takes no more than 4 KiB of any file.
    pub fn lorahost_on_a_full_disk(&self, words: &str) -> Outcome {
        self.lorahost_after("trap '' XFSZ; ulimit -f 8", words)
    }

    /// As [`Sandbox::lorahost`], after these commands of a shell, such as `ulimit`.
    pub fn lorahost_after(&self, commands: &str, words: &str) -> Outcome {
        self.through(&format!(r#"{commands}; exec "$0" "$@""#), words)
    }

    /// As [`Sandbox::lorahost`] for a user who may write what the permissions of files let him, and no more: not root.
    pub fn lorahost_without_powers(&self, words: &str) -> Outcome {
        let own = fs::metadata("/proc/self").map_or(1, |process| process.uid());
        let prefix = match own {
            0 => "setpriv --bounding-set=-all --inh-caps=-all",
            _ => "",
        };
        self.through(&format!(r#"exec {prefix} "$0" "$@""#), words)
    }

    /// The program as a shell's script calls it, by `"$0" "$@"`.
    fn through(&self, script: &str, words: &str) -> Outcome {
        let mut shell = Command::new("sh");
        shell.args(["-c", script, env!("CARGO_BIN_EXE_lorahost")]);
        let mut command = self.prepared(shell, words, &[]);
        self.end(Running::new(command.spawn().unwrap()))
    }

    /// What a script of the shell prints that has file systems of its own, on `small/` one of 4 MiB, as a user may make
    /// them for himself alone, and says on standard error; without it `test` is skipped. `$LORAHOST` is the program.
    pub fn with_a_small_disk(&self, test: &str, script: &str) -> Option<(String, String)> {
        let mount = "mkdir small && mount -t tmpfs -o size=4m none small || exit 99";
        let output = Command::new("unshare")
            .args(["-rm", "sh", "-c", &format!("{mount}\n{script}")])
            .current_dir(self.path(""))
            .env("LORAHOST", env!("CARGO_BIN_EXE_lorahost"))
            .env("LORAHOST_PLUGIN_PATH", "kit")
            .env("LORAHOST_CACHE", self.path("cache"))
            .output();
        let output = match output {
            Err(error) => {
                skipped(test, &error.to_string());
                return None;
            }
            Ok(output) => output,
        };
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.code() {
            Some(1 | 99) => {
                skipped(test, err.trim_end());
                return None;
            }
            code => assert_eq!(code, Some(0), "{err}"),
        }
        Some((String::from_utf8_lossy(&output.stdout).into_owned(), err))
    }

    /// Starts the program.
    pub fn start(&self, words: &str, environment: &[(&str, &str)]) -> Running {
        Running::new(self.command(words, environment).spawn().unwrap())
    }

    /// A call of the program that is not made yet.
    pub fn command(&self, words: &str, environment: &[(&str, &str)]) -> Command {
        let program = Command::new(env!("CARGO_BIN_EXE_lorahost"));
        self.prepared(program, words, environment)
    }

    /// A call by this command, with the words behind its own.
    fn prepared(&self, mut command: Command, words: &str, environment: &[(&str, &str)]) -> Command {
        let words: Vec<String> = words.split_whitespace().map(unmasked).collect();
        command
            .args(words)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .env("LORAHOST_PLUGIN_PATH", "kit")
            .env("XDG_DATA_HOME", self.path("home"))
            .env_remove("RUST_LOG")
            // The hub is a server of the test's own, or none.
            .env("HF_HOME", self.path("hf"))
            .env("LORAHOST_CACHE", self.path("cache"))
            .env("HF_HUB_OFFLINE", "1")
            .env("NO_PROXY", "127.0.0.1");
        for variable in HUB_VARIABLES {
            command.env_remove(variable);
        }
        command.envs(environment.iter().copied());
        command
    }

    /// Waits for the end of the program.
    pub fn end(&self, program: Running) -> Outcome {
        let output = program.output();
        Outcome {
            code: output.status.code().unwrap_or(-1),
            out: self.masked(&String::from_utf8_lossy(&output.stdout)),
            err: self.masked(&String::from_utf8_lossy(&output.stderr)),
        }
    }

    /// A small run with these flags, which must end well: every run of its output folder.
    pub fn train(&self, flags: &str) -> Vec<Run> {
        let outcome = self.lorahost(&small(flags));
        assert_eq!(outcome.code, 0, "{flags}\n{}", outcome.err);
        let mut words = flags
            .split_whitespace()
            .skip_while(|word| *word != "--output");
        self.runs(words.nth(1).unwrap_or("out"))
    }

    /// As [`Sandbox::train`] for a single run.
    pub fn train_one(&self, flags: &str) -> Run {
        let mut runs = self.train(flags);
        assert_eq!(runs.len(), 1, "{flags}");
        runs.remove(0)
    }

    /// Every run of an output folder, by cell, learning rate and seed; all of them must be done.
    pub fn runs(&self, output: &str) -> Vec<Run> {
        let folders = fs::read_dir(self.path(output).join("runs")).unwrap();
        let mut runs: Vec<Run> = folders
            .map(|entry| Run::read(&entry.unwrap().path()))
            .collect();
        runs.sort_by(|a, b| a.key().partial_cmp(&b.key()).unwrap());
        runs
    }

    /// The runs of an output folder by their cell, one each.
    pub fn cells(&self, output: &str) -> BTreeMap<String, Run> {
        let runs = self.runs(output);
        let count = runs.len();
        let cells: BTreeMap<_, _> = runs
            .into_iter()
            .map(|run| (run.record.spec.cell.clone(), run))
            .collect();
        assert_eq!(cells.len(), count, "a cell has two runs");
        cells
    }

    fn masked(&self, text: &str) -> String {
        let folder = self.folder.path().canonicalize().unwrap();
        let mut text = text.replace(&folder.display().to_string(), "SANDBOX");
        text = text.replace(&self.folder.path().display().to_string(), "SANDBOX");
        text = text.replace(&workspace().display().to_string(), "WORKSPACE");
        for (pattern, word) in [
            (r"\b[0-9a-f]{64}\b", "SHA256"),
            // Not after a point: those are the decimals of a number.
            (r"(^|[^.\w])[0-9a-f]{16}\b", "${1}ID"),
            (r"(^|[^.\w])[0-9a-f]{12}\b", "${1}SHA"),
            (r"\d+\.\d s\)", "TIME)"),
            (r"src/lib\.rs:\d+", "src/lib.rs:LINE"),
            (r"\b0x[0-9a-f]+\b", "HANDLE"),
        ] {
            text = Regex::new(pattern)
                .unwrap()
                .replace_all(&text, word)
                .into_owned();
        }
        text
    }
}

impl Outcome {
    /// Asserts that the program refused its input: exit code 2, and one line on standard error, which is returned.
    pub fn refused(&self) -> &str {
        assert_eq!(self.code, 2, "{}{}", self.out, self.err);
        assert_eq!(self.err.lines().count(), 1, "{}", self.err);
        assert_eq!(self.out, "", "{}", self.err);
        self.err.trim_end().strip_prefix("lorahost: ").unwrap()
    }

    /// The lines of standard error about runs that failed, without the runs' names.
    pub fn failures(&self) -> Vec<&str> {
        let reported = self
            .err
            .lines()
            .filter_map(|line| line.strip_prefix("lorahost: run ID ("));
        let mut lines: Vec<&str> = reported.collect();
        lines.sort_unstable();
        lines
    }
}

impl Run {
    fn read(folder: &Path) -> Self {
        let RunState::Done(record) = state(folder).unwrap() else {
            panic!("{} is not done", folder.display());
        };
        Self {
            folder: folder.to_owned(),
            record: *record,
            events: read_metrics(folder).unwrap(),
        }
    }

    fn key(&self) -> (&str, f64, u64) {
        let spec = &self.record.spec.spec;
        (&self.record.spec.cell, spec.train.lr, spec.seeds.init)
    }

    /// Everything that was measured, in whatever process and time: losses, metrics, events.
    pub fn numbers(&self) -> String {
        let measured = &self.record.result.measured;
        format!("{measured:?}\n{:?}", self.events)
    }

    /// Loss of every step.
    pub fn losses(&self) -> Vec<f64> {
        self.steps().map(|(loss, _)| loss).collect()
    }

    /// Learning rate of every step.
    pub fn rates(&self) -> Vec<f64> {
        self.steps().map(|(_, lr)| lr).collect()
    }

    fn steps(&self) -> impl Iterator<Item = (f64, f64)> {
        self.events.iter().filter_map(|event| match event {
            Event::Step { loss, lr, .. } => Some((loss.expect("the head counts rows"), *lr)),
            _ => None,
        })
    }

    /// Wrapped layers and trainable parameters.
    pub fn size(&self) -> (usize, u64) {
        let start = self.events.iter().find_map(|event| match event {
            Event::Start {
                wrapped_layers,
                trainable_parameters,
                ..
            } => Some((*wrapped_layers, *trainable_parameters)),
            _ => None,
        });
        start.unwrap()
    }

    pub fn test_loss(&self) -> f64 {
        self.record.result.measured.test.as_ref().unwrap().loss
    }
}

/// The flags of a small run; one that is given takes the place of the same flag there. What follows `--train-file`
/// stands for the whole of the data.
pub fn small(flags: &str) -> String {
    let given: Vec<&str> = flags.split_whitespace().collect();
    let replaced = |flag: &str| {
        given.contains(&flag)
            || flag == "--data" && given.contains(&"--train-file")
            || flag == "--alpha-policy" && given.contains(&"--alpha")
    };
    let kept = SMALL.into_iter().filter(|(flag, _)| !replaced(flag));
    let words = kept
        .flat_map(|(flag, value)| [flag, value])
        .chain(given.iter().copied());
    words.collect::<Vec<_>>().join(" ")
}

/// The tensors of a safetensors file by name.
pub fn tensors(path: &Path) -> BTreeMap<String, tch::Tensor> {
    let tensors = tch::Tensor::read_safetensors(path);
    tensors
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .into_iter()
        .collect()
}

/// Asserts that two series agree to this relative difference.
pub fn close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (step, (found, expected)) in found.iter().zip(expected).enumerate() {
        let relative = ((found - expected) / expected).abs();
        assert!(
            relative <= tolerance,
            "number {step} is {found}, expected {expected}"
        );
    }
}

/// Says that a test was skipped, past the capture of passing tests.
pub fn skipped(name: &str, why: &str) {
    writeln!(std::io::stderr().lock(), "skipped {name}: {why}").unwrap();
}

/// A folder that holds real data or weights: `name` below the folder that the environment names in `variable`; without
/// it, `test` is skipped.
pub fn real(test: &str, variable: &str, name: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os(variable) else {
        skipped(test, &format!("{variable} is not set"));
        return None;
    };
    let path = Path::new(&folder).join(name);
    if !path.is_dir() {
        skipped(test, &format!("no {}", path.display()));
        return None;
    }
    Some(path)
}

/// What a script of tests/python prints, run by the Python that has its modules; without one `test` is skipped.
pub fn python(
    test: &str,
    modules: &str,
    script: &str,
    arguments: &[impl AsRef<OsStr>],
) -> Option<String> {
    let Some(python) = std::env::var_os("LORAHOST_TEST_PYTHON") else {
        skipped(test, "LORAHOST_TEST_PYTHON is not set");
        return None;
    };
    let import = Command::new(&python)
        .args(["-c", &format!("import {modules}")])
        .output()
        .unwrap();
    if !import.status.success() {
        skipped(test, &format!("LORAHOST_TEST_PYTHON has no {modules}"));
        return None;
    }
    let script = workspace().join("host/tests/python").join(script);
    let output = Command::new(&python)
        .arg(script)
        .args(arguments)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}{errors}");
    Some(told)
}

/// The folder of the repository.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// A plugin that was made for these tests.
pub fn test_plugin(name: &str) -> PathBuf {
    built(&workspace().join("target/test-plugins"), name)
}

/// A plugin of lorahost.
pub fn plugin(name: &str) -> PathBuf {
    built(&workspace().join("plugins"), name)
}

fn built(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(format!("{name}{}", std::env::consts::DLL_SUFFIX));
    assert!(
        path.is_file(),
        "{} is missing: scripts/test builds it, or scripts/build-plugins and scripts/build-plugins --test",
        path.display()
    );
    path
}

/// `TEST/NAME` stands for the test plugin NAME, `PLUGIN/NAME` for one of lorahost's.
fn unmasked(word: &str) -> String {
    if let Some(name) = word.strip_prefix("TEST/") {
        test_plugin(name).display().to_string()
    } else if let Some(name) = word.strip_prefix("PLUGIN/") {
        plugin(name).display().to_string()
    } else {
        word.to_owned()
    }
}

/// Copies a reference model: config and weights, no tokenizer.
pub fn copy_model(family: &str, to: &Path) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(family);
    fs::create_dir_all(to).unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

fn vocabulary() -> String {
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    let words = special
        .into_iter()
        .chain(COMMON)
        .chain(CLASSES.into_iter().flatten());
    words.flat_map(|word| [word, "\n"]).collect()
}

/// Rows whose class shows in one to three of their words.
fn table(rows: usize, first: usize) -> String {
    let mut text = "label,text\n".to_owned();
    for row in first..first + rows {
        let class = row % CLASSES.len();
        let words = (0..3 + row % 5).map(|place| {
            // Any fixed mixture of row and place will do.
            let pick = (row * 7919 + place * 104_729) / 13;
            if place % 3 == 0 {
                CLASSES[class][pick % 6]
            } else {
                COMMON[pick % 8]
            }
        });
        let words: Vec<&str> = words.collect();
        writeln!(text, "{class},{}", words.join(" ")).unwrap();
    }
    text
}
