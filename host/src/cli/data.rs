//! `lorahost data inspect`: columns, classes and lengths of a data set, as a run would read it.

use std::path::PathBuf;

use clap::Args;
use lorahost_plugin_api::protocol::DataKind;

use super::exit::Exit;
use super::failure::Failure;
use super::output::{aligned, print};
use crate::data::{self, Inspection, SplitFound};
use crate::hub::{locate_model, resolve_data};
use crate::model::ModelFiles;
use crate::plugins::{Registry, search_folders};
use crate::spec::{Layer, Origin, RawSpec, Value, data_kind};
use crate::sweep::{PrepareError, tokenizer_of};

#[derive(Debug, Args)]
pub struct InspectArgs {
    /// A data set, as `--data` takes it
    pub data: String,
    /// Model whose tokenizer counts the lengths; without one they are in words
    #[arg(long, value_name = "PATH")]
    pub model: Option<String>,
    /// Task head that says what a row is; without one it is a text with its class
    #[arg(long, value_name = "NAME")]
    pub head: Option<String>,
    /// Plugin file, where the head is not found by itself
    #[arg(long, value_name = "FILE")]
    pub plugin: Vec<PathBuf>,
    /// Column with the text or words, or several joined by +
    #[arg(long, value_name = "NAME")]
    pub text_column: Option<String>,
    /// Column with the label, number or tags
    #[arg(long, value_name = "NAME")]
    pub label_column: Option<String>,
    /// Of pairs: column with the rejected text
    #[arg(long, value_name = "NAME")]
    pub rejected_column: Option<String>,
    /// Longest sequence in tokens
    #[arg(long, value_name = "N")]
    pub max_length: Option<usize>,
    /// Of blocks: tokens of a block
    #[arg(long, value_name = "N")]
    pub block_size: Option<usize>,
    /// Of blocks: tokens from the start of a train block to the next
    #[arg(long, value_name = "N")]
    pub stride: Option<usize>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// Prints what the data holds.
pub fn inspect(args: &InspectArgs) -> Result<Exit, Failure> {
    let kind = match &args.head {
        Some(head) => data_kind(head, &Registry::search(&args.plugin, &search_folders())?)?,
        None => DataKind::default(),
    };
    let mut spec = RawSpec::new(None, layer(args)?).data(kind);
    if let Some(files) = resolve_data(&args.data)? {
        spec.path = Some(files.folder.display().to_string());
    }
    let mut tokenizer = None;
    if let Some(model) = &args.model {
        let place = locate_model(model, false)?;
        let files = ModelFiles::find(&place.path).map_err(PrepareError::from)?;
        let positions = files.max_positions().map_err(PrepareError::from)?;
        spec = data::within(&spec, positions).map_err(PrepareError::from)?;
        tokenizer = Some(tokenizer_of(&files)?);
    }
    let found = data::inspect(&spec, tokenizer.as_ref()).map_err(PrepareError::from)?;
    print(&if args.json {
        format!("{:#}\n", serde_json::json!(found))
    } else {
        text(&found)
    })?;
    Ok(Exit::Ok)
}

fn layer(args: &InspectArgs) -> Result<Layer, Failure> {
    let mut layer = Layer::default();
    let number = |number: Option<usize>| number.map(|number| number.to_string());
    for (key, flag, value) in [
        ("data.path", "DATA", Some(args.data.clone())),
        (
            "data.text_column",
            "--text-column",
            args.text_column.clone(),
        ),
        (
            "data.label_column",
            "--label-column",
            args.label_column.clone(),
        ),
        (
            "data.rejected_column",
            "--rejected-column",
            args.rejected_column.clone(),
        ),
        ("data.max_length", "--max-length", number(args.max_length)),
        ("data.block_size", "--block-size", number(args.block_size)),
        ("data.stride", "--stride", number(args.stride)),
    ] {
        if let Some(value) = value {
            layer.set(
                key,
                Value::of_words(&[value]),
                &Origin::Flag(flag.to_owned()),
            )?;
        }
    }
    Ok(layer)
}

fn text(found: &Inspection) -> String {
    let sections = [
        format!("rows are read as {}\n", found.kind),
        columns(found),
        splits(found),
        labels(found),
        histogram(found),
        remarks(found),
    ];
    let sections: Vec<String> = sections
        .into_iter()
        .filter(|text| !text.is_empty())
        .collect();
    sections.join("\n")
}

fn columns(found: &Inspection) -> String {
    if found.columns.is_empty() {
        return String::new();
    }
    let mut rows = vec![["column", "holds", "taken as", "for example"].map(str::to_owned)];
    rows.extend(found.columns.iter().map(|column| {
        let taken_as = match (column.taken_as, column.why) {
            (Some(taken_as), Some(why)) => format!("{taken_as}, {why}"),
            _ => "-".to_owned(),
        };
        [
            column.name.clone(),
            column.holds.to_owned(),
            taken_as,
            column.example.clone(),
        ]
    }));
    aligned(&rows)
}

/// Rows and lengths, a line a split.
fn splits(found: &Inspection) -> String {
    let header = [
        "split", "rows", found.unit, "mean", "p50", "p90", "p99", "longest",
    ];
    let mut rows = vec![header.map(str::to_owned)];
    rows.extend(found.splits.iter().map(|split| {
        let lengths = split.lengths.as_ref();
        let number = |number: Option<usize>| number.map_or("-".to_owned(), |n| n.to_string());
        [
            split.name.to_owned(),
            split.rows.to_string(),
            number(lengths.map(|lengths| lengths.total)),
            lengths.map_or("-".to_owned(), |lengths| format!("{:.1}", lengths.mean)),
            number(lengths.map(|lengths| lengths.p50)),
            number(lengths.map(|lengths| lengths.p90)),
            number(lengths.map(|lengths| lengths.p99)),
            number(lengths.map(|lengths| lengths.longest)),
        ]
    }));
    aligned(&rows)
}

/// How often each class or tag occurs in each split.
fn labels(found: &Inspection) -> String {
    const SHOWN: usize = 50;
    if found.label_names.is_empty() {
        return String::new();
    }
    let what = if found.kind == DataKind::Tags.name() {
        "tag"
    } else {
        "class"
    };
    let mut rows = vec![[what, "train", "validation", "test"].map(str::to_owned)];
    let names = found.label_names.iter().enumerate();
    rows.extend(names.take(SHOWN).map(|(at, name)| {
        let count = |split: &SplitFound| split.counts[at].to_string();
        let [train, validation, test] = [0, 1, 2].map(|split| count(&found.splits[split]));
        [name.clone(), train, validation, test]
    }));
    let more = found.label_names.len().saturating_sub(SHOWN);
    let more = if more > 0 {
        format!("and {more} more\n")
    } else {
        String::new()
    };
    aligned(&rows) + &more
}

/// The lengths of the train texts.
fn histogram(found: &Inspection) -> String {
    const WIDTH: usize = 40;
    let Some(lengths) = found
        .splits
        .first()
        .and_then(|split| split.lengths.as_ref())
    else {
        return String::new();
    };
    let most = lengths.histogram.iter().map(|(_, count)| *count).max();
    let most = most.unwrap_or(1).max(1);
    let mut rows = vec![[
        format!("{} up to", found.unit),
        "train texts".to_owned(),
        String::new(),
    ]];
    rows.extend(lengths.histogram.iter().map(|(bound, count)| {
        let bar = "#".repeat((count * WIDTH).div_ceil(most));
        [bound.to_string(), count.to_string(), bar]
    }));
    aligned(&rows)
}

fn remarks(found: &Inspection) -> String {
    let mut lines = Vec::new();
    for split in &found.splits {
        if let Some(cut) = split.cut.filter(|cut| cut.texts > 0) {
            lines.push(format!(
                "{}: {} texts are longer than {} tokens and lose {} tokens at their end\n",
                split.name, cut.texts, found.max_length, cut.tokens
            ));
        }
        if let Some(blocks) = split.blocks {
            lines.push(format!("{}: {blocks} blocks\n", split.name));
        }
    }
    if found.test_rows_in_train > 0 {
        lines.push(format!(
            "{} test rows have a text that the train split has too\n",
            found.test_rows_in_train
        ));
    }
    lines.concat()
}
