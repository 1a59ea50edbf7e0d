//! The arguments of `lorahost`. Flags that are aliases of keys come from the schema, with their help.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::builder::ArgAction;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, Parser, Subcommand, ValueEnum};

use super::data::InspectArgs;
use super::share::ShareArgs;
use crate::spec::schema::{self, Fallback, Key, Kind};
use crate::spec::{Device, Layer, Origin, RawSpec, SpecError, Value};

const ABOUT: &str = "\
At which learning rate is LoRA as good as full fine-tuning?

Trains a model at each learning rate with LoRA, with full fine-tuning or with both, and reports
validation loss and test accuracy. Init scheme, alpha policy, optimizer and task head are plugins.
Without --model and --data it runs a small built-in example.";

const AFTER_HELP: &str = "\
Several values after a flag are an axis: lorahost --rank 16 32 64 --lrs 1e-4 3e-4 1e-3
Exit codes: 0 done, 1 failure, 2 bad input, 3 some runs failed, 130 interrupted";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "lorahost", version, about = ABOUT, after_help = AFTER_HELP)]
#[command(args_conflicts_with_subcommands = true, next_line_help = true)]
pub struct Cli {
    /// Experiment file in TOML; flags go before it
    #[arg(long, value_name = "FILE", help_heading = "Experiment")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub experiment: ExperimentArgs,
    #[command(flatten)]
    pub sweep: SweepArgs,
    #[command(flatten)]
    pub log: LogArgs,
    #[command(subcommand)]
    pub command: Option<Subcommands>,
}

/// What every command over an experiment takes beside the experiment file.
#[derive(Debug, Default, Args)]
pub struct ExperimentArgs {
    #[arg(long, value_name = "KEY=VALUE", help = "Set any key, such as lora.init_scale_a=2 or init.std_a=0.01,0.02; `lorahost keys` lists them", help_heading = "Experiment", num_args = 1..)]
    pub set: Vec<String>,
    /// Plugin file; what it holds alone of its kind is selected
    #[arg(long, value_name = "FILE", help_heading = "Components", num_args = 1..)]
    pub plugin: Vec<PathBuf>,
    /// Open only plugin files that are in lorahost.lock
    #[arg(long, help_heading = "Components")]
    pub locked: bool,
    #[arg(
        long,
        help = "Full fine-tuning in place of LoRA [key: method = \"full\"]",
        help_heading = "Experiment"
    )]
    pub full_finetune: bool,
    #[arg(
        long,
        help = "LoRA and full fine-tuning [key: method = [\"lora\", \"full\"]]",
        help_heading = "Experiment"
    )]
    pub with_full_finetune: bool,
    #[command(flatten)]
    pub keys: KeyArgs,
    /// Agree to more than 100,000 runs, and to a second study in the output folder
    #[arg(long, help_heading = "Execution")]
    pub yes: bool,
}

/// What a sweep takes beside its experiment.
#[derive(Debug, Default, Args)]
pub struct SweepArgs {
    #[command(flatten)]
    pub share: ShareArgs,
    /// Go on in an output folder that was begun with other builds of the same plugins
    #[arg(long, help_heading = "Execution")]
    pub accept_changed_plugins: bool,
    /// Print what is told on standard output as JSON; of a sweep this is summary.json
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// The experiment of `sweep` and `plan`: the main job's, with its file and what is changed of it as plain words.
#[derive(Debug, Args)]
pub struct StudyArgs {
    /// Experiment file in TOML
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Go before the file, several values between commas: train.lr=1e-4,3e-4 or train.lr=logspace(1e-5,1e-2,7)
    #[arg(value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    #[command(flatten)]
    pub experiment: ExperimentArgs,
    #[command(flatten)]
    pub sweep: SweepArgs,
}

/// An experiment as the command line has it, whichever command it is for.
#[derive(Debug, Clone, Copy)]
pub struct Experiment<'a> {
    pub file: Option<&'a Path>,
    /// `KEY=VALUE` words.
    pub overrides: &'a [String],
    pub args: &'a ExperimentArgs,
}

/// A sweep over an experiment.
#[derive(Debug, Clone, Copy)]
pub struct Study<'a> {
    pub experiment: Experiment<'a>,
    pub sweep: &'a SweepArgs,
}

/// The flags that are aliases of keys, as they were given.
#[derive(Debug, Default)]
pub struct KeyArgs {
    given: Vec<GivenFlag>,
}

#[derive(Debug)]
struct GivenFlag {
    long: &'static str,
    key: &'static str,
    words: Vec<String>,
}

#[derive(Debug, Args)]
pub struct LogArgs {
    /// Say more; twice for details
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Output")]
    pub verbose: u8,
    /// Say only what went wrong
    #[arg(
        short,
        long,
        global = true,
        conflicts_with = "verbose",
        help_heading = "Output"
    )]
    pub quiet: bool,
    /// Form of log lines
    #[arg(
        long,
        global = true,
        value_name = "FORM",
        default_value = "text",
        help_heading = "Output"
    )]
    pub log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Subcommands {
    /// Run the experiment of a file: `lorahost --config FILE --set KEY=VALUE`, shorter
    #[command(override_usage = "lorahost sweep <FILE> [KEY=VALUE]... [OPTIONS]")]
    Sweep(StudyArgs),
    /// Tell what `sweep` with the same arguments would do: runs, steps, operations, time
    #[command(override_usage = "lorahost plan <FILE> [KEY=VALUE]... [OPTIONS]")]
    Plan(StudyArgs),
    /// Tell how far the sweep of an output folder is
    Status {
        /// The folder, as `--output` names it
        #[arg(value_name = "DIR")]
        output: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// List plugins, or look into one, without running them
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Look into a model
    #[command(subcommand)]
    Model(ModelCommand),
    /// Write text with a decoder, or with one that a run has trained
    Generate(GenerateArgs),
    /// Measure a model, a run or an adapter on data
    Eval(EvalArgs),
    /// Write what a run has learnt for other programs: PEFT, transformers, vLLM
    Export(ExportArgs),
    /// Check that a PEFT adapter fits its model, and show what it holds
    Import(ImportArgs),
    /// Look at data: columns, classes, lengths
    #[command(subcommand)]
    Data(DataCommand),
    /// Try a known property of LoRA on a model and data
    #[command(subcommand)]
    Verify(VerifyCommand),
    /// Write what the runs of a folder say: a page, pictures, tables
    Report(ReportArgs),
    /// List every key of an experiment file, with default and meaning
    Keys,
    /// Carry out runs for a parent process
    #[command(hide = true)]
    Worker,
}

/// What `generate` takes.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// A model, as `--model` takes it, the folder of a run that kept its weights (DIR/runs/ID), or that of a PEFT adapter
    #[arg(value_name = "MODEL|RUN|ADAPTER")]
    pub model: String,
    /// The model that an adapter is for, where it is elsewhere than the adapter says
    #[arg(long = "model", value_name = "PATH")]
    pub base: Option<String>,
    /// Text to go on with
    #[arg(long, value_name = "TEXT", required_unless_present = "prompt_file")]
    pub prompt: Option<String>,
    /// File with the text to go on with
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    pub prompt_file: Option<PathBuf>,
    /// Tokens to write, at most
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub max_new_tokens: usize,
    /// Divides the scores of the next token; 0 takes the likeliest
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = temperature, allow_negative_numbers = true)]
    pub temperature: f64,
    /// Draw among the N likeliest tokens
    #[arg(long, value_name = "N", requires = "temperature")]
    pub top_k: Option<NonZeroUsize>,
    /// Draw among the fewest of the likeliest tokens that have this probability together
    #[arg(long, value_name = "P", requires = "temperature", value_parser = share)]
    pub top_p: Option<f64>,
    /// Seed of what is drawn
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub seed: u64,
    /// As JSON, once it is all written
    #[arg(long)]
    pub json: bool,
    /// Where to compute: auto, cpu, cuda, cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = device)]
    pub device: Device,
}

/// What `eval` takes.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// A model, the folder of a run that kept its weights (DIR/runs/ID), or that of a PEFT adapter
    #[arg(value_name = "MODEL|RUN|ADAPTER")]
    pub path: String,
    /// The model that an adapter is for, where it is elsewhere than the adapter says
    #[arg(long = "model", value_name = "PATH")]
    pub base: Option<String>,
    /// A data set, as the main job takes it, or one file that is measured as a whole; a run has its own
    #[arg(long, value_name = "PATH")]
    pub data: Option<String>,
    /// Which rows of a data set [default: test]
    #[arg(long, value_name = "SPLIT")]
    pub split: Option<EvalSplit>,
    /// Task head, with parameters as NAME:KEY=VALUE; a run and what was exported have their own
    #[arg(long, value_name = "NAME")]
    pub head: Option<String>,
    /// Plugin file, where the head is not found by itself
    #[arg(long, value_name = "FILE")]
    pub plugin: Vec<PathBuf>,
    /// Column with the text or words, or several joined by +
    #[arg(long, value_name = "NAME", requires = "data")]
    pub text_column: Option<String>,
    /// Column with the label, number or tags
    #[arg(long, value_name = "NAME", requires = "data")]
    pub label_column: Option<String>,
    /// Of pairs: column with the rejected text
    #[arg(long, value_name = "NAME", requires = "data")]
    pub rejected_column: Option<String>,
    /// Longest sequence in tokens
    #[arg(long, value_name = "N", requires = "data")]
    pub max_length: Option<usize>,
    /// File for the prediction of each row: .jsonl or .csv
    #[arg(long, value_name = "FILE")]
    pub predictions: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Where to compute: auto, cpu, cuda, cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = device)]
    pub device: Device,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EvalSplit {
    Train,
    Validation,
    Test,
}

/// What `export` takes.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The folder of a run that kept its weights: DIR/runs/ID
    pub run: String,
    /// The folder to make
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
    /// The whole model with LoRA merged, in place of the adapter
    #[arg(long)]
    pub merged: bool,
    /// The whole model of full fine-tuning
    #[arg(long, conflicts_with = "merged")]
    pub full: bool,
    /// Type of the numbers in the files
    #[arg(long, value_name = "TYPE", default_value = "fp32")]
    pub dtype: Dtype,
    /// Keep the rules of a program that serves adapters
    #[arg(long = "for", value_name = "PROGRAM", conflicts_with_all = ["merged", "full"])]
    pub server: Option<ServerName>,
}

/// What `import` takes.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The folder of a PEFT adapter
    pub adapter: PathBuf,
    /// The model that it is for, where it is elsewhere than the adapter says
    #[arg(long, value_name = "PATH")]
    pub model: Option<String>,
    /// Folder to make with the same adapter in plain form: no rslora, patterns only for what differs, float32
    #[arg(long, value_name = "FOLDER")]
    pub output: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Dtype {
    Fp32,
    Bf16,
    Fp16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ServerName {
    Vllm,
}

/// What `report` takes.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Output folder of a sweep, which may be going on
    #[arg(value_name = "DIR")]
    pub output: PathBuf,
    /// Folder of the report [default: DIR/report]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Write it again whenever runs have ended, until Ctrl-C; the page loads itself again
    #[arg(long)]
    pub watch: bool,
    /// Seconds between two looks of --watch
    #[arg(long, value_name = "SECONDS", default_value_t = 5, requires = "watch", value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub every: u64,
    /// Write the runs' metrics as event files of `TensorBoard` as well, below this folder; with --watch at its end
    #[arg(long, value_name = "DIR")]
    pub tensorboard: Option<PathBuf>,
}

/// A number that a default is.
const fn positive(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).expect("a default that is not 0")
}

fn temperature(text: &str) -> Result<f64, String> {
    let number = text.parse().ok();
    number
        .filter(|number: &f64| number.is_finite() && *number >= 0.0)
        .ok_or_else(|| "expected a number of 0 or more".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let number = text.parse().ok();
    number
        .filter(|number: &f64| *number > 0.0 && *number <= 1.0)
        .ok_or_else(|| "expected a number above 0, at most 1".to_owned())
}

fn device(text: &str) -> Result<Device, String> {
    Device::parse(text).ok_or_else(|| "expected auto, cpu, cuda or cuda:N".to_owned())
}

#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// List the plugins that are found
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a new crate of a plugin
    New {
        kind: NewKind,
        /// Name of the crate, such as `my_init`; the component is called `my-init`
        name: String,
        /// Folder in which the crate's folder is made
        #[arg(long, value_name = "DIR", default_value = ".")]
        path: PathBuf,
        /// Folder of the plugin API, where the crate is not to take the published one
        #[arg(long, value_name = "DIR")]
        api: Option<PathBuf>,
    },
    /// Build a crate and put its plugin among the installed ones, which are found last
    Install {
        /// A crate's folder, or the name of one in the registry
        #[arg(value_name = "PATH|CRATE[@VERSION]")]
        source: String,
        /// Install without `lorahost plugin check`
        #[arg(long)]
        no_check: bool,
    },
    /// Test whether a plugin keeps what it promises; each test runs in a process that it may take down
    Check(CheckArgs),
    /// Do tests for a parent process
    #[command(hide = true)]
    CheckOne {
        file: PathBuf,
        /// `KIND/NAME`, or `file`
        component: String,
        #[arg(required = true)]
        tests: Vec<String>,
    },
    /// Write lorahost.lock, which holds the files that are found; `--locked` opens no other
    Lock {
        /// Further files
        #[arg(long, value_name = "FILE", num_args = 1..)]
        plugin: Vec<PathBuf>,
    },
    /// Show components and parameters of one plugin file
    Inspect {
        /// A plugin, such as `plugins/gaussian_init.so`
        file: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// What `plugin check` takes.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// A plugin, such as `plugins/gaussian_init.so`
    #[arg(required_unless_present = "list")]
    pub file: Option<PathBuf>,
    /// Show the tests, and run none
    #[arg(long)]
    pub list: bool,
    /// Only tests with TEXT in their name, such as `init.` or `leaks`
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,
    /// The most that one test may take
    #[arg(long, value_name = "SECONDS", default_value_t = CHECK_TIMEOUT, value_parser = seconds)]
    pub timeout: f64,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// Seconds of a test where nothing is said: far above what any takes.
pub const CHECK_TIMEOUT: f64 = 60.0;

pub(super) fn seconds(text: &str) -> Result<f64, String> {
    let number = text.parse().ok();
    number
        .filter(|number: &f64| (0.001..=1e6).contains(number))
        .ok_or_else(|| "expected seconds from 0.001 to 1e6".to_owned())
}

#[derive(Debug, Subcommand)]
pub enum VerifyCommand {
    /// With Adam and a vanishing eps, alpha/(pq) with p times A, p times its learning rate and q times that of B is the
    /// same run, bit for bit
    C12 {
        /// Factor on A and its learning rate, a power of two
        #[arg(long, value_name = "P", default_value_t = 4.0)]
        p: f64,
        /// Factor on the learning rate of B, a power of two
        #[arg(long, value_name = "Q", default_value_t = 0.5)]
        q: f64,
        #[command(flatten)]
        subject: Box<SubjectArgs>,
    },
    /// With a scale of alpha/r the first steps have the same losses at all ranks, within a tolerance
    C5 {
        /// Ranks that are compared
        #[arg(long, value_name = "R", num_args = 1.., default_values_t = [4, 16, 64, 256, 512].map(positive))]
        ranks: Vec<NonZeroUsize>,
        /// Steps that are compared
        #[arg(long, value_name = "N", default_value_t = positive(8))]
        steps: NonZeroUsize,
        /// The largest difference of a loss, relative to that of the first rank
        #[arg(long, value_name = "SHARE", default_value_t = 0.01)]
        tolerance: f64,
        #[command(flatten)]
        subject: Box<SubjectArgs>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NewKind {
    Init,
    Alpha,
    Optimizer,
    Head,
}

#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Show architecture, layers, heads, parameters and operations of a model, without reading its weights
    Inspect {
        /// A model, as `--model` takes it
        model: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Show what a data set holds, as a run would read it
    Inspect(InspectArgs),
}

impl Cli {
    /// The main job.
    #[must_use]
    pub fn study(&self) -> Study<'_> {
        Study {
            experiment: Experiment {
                file: self.config.as_deref(),
                overrides: &[],
                args: &self.experiment,
            },
            sweep: &self.sweep,
        }
    }
}

/// The experiment that a property is tried on.
#[derive(Debug, Args)]
pub struct SubjectArgs {
    /// Experiment file in TOML
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub experiment: ExperimentArgs,
}

impl SubjectArgs {
    pub fn experiment(&self) -> Experiment<'_> {
        Experiment {
            file: self.config.as_deref(),
            overrides: &[],
            args: &self.experiment,
        }
    }
}

impl StudyArgs {
    #[must_use]
    pub fn study(&self) -> Study<'_> {
        Study {
            experiment: Experiment {
                file: Some(&self.file),
                overrides: &self.overrides,
                args: &self.experiment,
            },
            sweep: &self.sweep,
        }
    }
}

impl Experiment<'_> {
    /// Reads the experiment file and lays the command line over it.
    ///
    /// # Errors
    /// The file cannot be read; a key is unknown or given twice; a value does not fit its key.
    pub fn raw_spec(&self) -> Result<RawSpec, SpecError> {
        let file = self.file.map(Layer::from_file).transpose()?;
        let command_line = self.args.layer(self.overrides)?;
        Ok(RawSpec::new(file, command_line).confirmed(self.args.yes))
    }
}

impl ExperimentArgs {
    /// The command line: `KEY=VALUE` words, flags and `--set`.
    fn layer(&self, overrides: &[String]) -> Result<Layer, SpecError> {
        let mut layer = Layer::default();
        let text = |text: &str| Value::Text(text.to_owned());
        if self.full_finetune {
            layer.set(
                "method",
                text("full"),
                &Origin::Flag("--full-finetune".to_owned()),
            )?;
        }
        if self.with_full_finetune {
            let both = Value::List(vec![text("lora"), text("full")]);
            layer.set(
                "method",
                both,
                &Origin::Flag("--with-full-finetune".to_owned()),
            )?;
        }
        for GivenFlag { long, key, words } in &self.keys.given {
            layer.set(
                key,
                Value::of_words(words),
                &Origin::Flag(format!("--{long}")),
            )?;
        }
        for assignment in &self.set {
            layer.set_text(assignment, &Origin::Set)?;
        }
        for assignment in overrides {
            layer.set_text(assignment, &Origin::Override)?;
        }
        Ok(layer)
    }
}

impl Args for KeyArgs {
    fn augment_args(mut command: Command) -> Command {
        for (flag, key, help) in flags() {
            let mut arg = Arg::new(flag.long)
                .long(flag.long)
                .value_name(flag.value)
                .help(help)
                .help_heading(heading(key))
                .action(ArgAction::Append)
                .allow_negative_numbers(true);
            if key.is_axis() {
                arg = arg.num_args(1..);
            }
            if let Some(alias) = flag.alias {
                arg = arg.visible_alias(alias);
            }
            command = command.arg(arg);
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for KeyArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given = Vec::new();
        let keys = schema::KEYS
            .iter()
            .filter_map(|key| key.flag.map(|flag| (flag.long, key.name)));
        let parameters = schema::PARAMETER_FLAGS
            .iter()
            .map(|flag| (flag.flag.long, flag.key));
        for (long, key) in keys.chain(parameters) {
            if let Some(words) = matches.get_many::<String>(long) {
                given.push(GivenFlag {
                    long,
                    key,
                    words: words.cloned().collect(),
                });
            }
        }
        Ok(Self { given })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Every flag of the schema with the key that it belongs to, and its help.
fn flags() -> impl Iterator<Item = (schema::Flag, &'static Key, String)> {
    schema::KEYS
        .iter()
        .filter_map(|key| Some((key.flag?, key)))
        .flat_map(|(flag, key)| {
            let own = std::iter::once((flag, key, help(key)));
            let of_parameters = schema::PARAMETER_FLAGS
                .iter()
                .filter(|parameter| {
                    schema::find_parameter(parameter.key)
                        .is_some_and(|(kind, _)| kind.name == key.name)
                })
                .map(move |parameter| (parameter.flag, key, parameter.doc.to_owned()));
            own.chain(of_parameters)
        })
}

fn help(key: &Key) -> String {
    let choices = match key.kind {
        Kind::Choice(choices) => format!(": {}", choices.join(", ")),
        _ => String::new(),
    };
    let default = match key.default {
        Fallback::Is(toml) => toml.trim_matches(['"', '[', ']']).replace(',', ""),
        Fallback::Builtin(text) | Fallback::Unset(text) => text.to_owned(),
        Fallback::Seed => "as seed".to_owned(),
    };
    format!("{}{choices} [default: {default}]", key.doc)
}

fn heading(key: &Key) -> &'static str {
    match key.section() {
        _ if key.kind == Kind::Component => "Components",
        "model" | "data" => "Model and data",
        "lora" => "LoRA",
        "train" => "Training",
        "run" => "Execution",
        _ => "Experiment",
    }
}
