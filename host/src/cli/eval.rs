//! `lorahost eval`: what something trained makes of data.

use std::fmt::Write as _;

use serde_json::json;

use super::args::{EvalArgs, EvalSplit};
use super::exit::Exit;
use super::failure::Failure;
use super::output::{aligned, print};
use crate::eval::{self, Answer, Confusion, EvalError, Form, Question, SplitName, answer};
use crate::plugins::{Registry, search_folders};
use crate::spec::{Layer, Origin, RawSpec, Value};
use crate::train::resolve_device;

/// Prints the metrics, and writes the predictions where a file is named.
pub fn run(args: &EvalArgs) -> Result<Exit, Failure> {
    let form = args.predictions.as_deref().map(Form::of).transpose()?;
    let registry = Registry::search(&args.plugin, &search_folders())?;
    let question = Question {
        path: &args.path,
        base: args.base.as_deref(),
        said: &RawSpec::new(None, layer(args)?),
        says_head: args.head.is_some(),
        says_data: args.data.is_some(),
        split: args.split.map(|split| match split {
            EvalSplit::Train => SplitName::Train,
            EvalSplit::Validation => SplitName::Validation,
            EvalSplit::Test => SplitName::Test,
        }),
        predictions: form.is_some(),
        device: resolve_device(args.device)?,
    };
    let found = answer(&question, &registry)?;
    if let (Some(path), Some(form)) = (&args.predictions, form) {
        eval::write(path, form, &found.predictions, &found.labels)?;
    }
    print(&if args.json {
        json_of(args, &found)
    } else {
        text(&found)
    })?;
    Ok(Exit::Ok)
}

fn layer(args: &EvalArgs) -> Result<Layer, Failure> {
    let mut layer = Layer::default();
    let mut set = |key: &str, flag: &str, value: &str| {
        let origin = Origin::Flag(flag.to_owned());
        layer.set(key, Value::of_words(&[value.to_owned()]), &origin)
    };
    set("method", "--data", "full").map_err(EvalError::from)?;
    // A plan is of a model and data; only data and head of it are looked at.
    set("model.path", "--model", &args.path).map_err(EvalError::from)?;
    let data = args.data.as_deref().unwrap_or("builtin:topics");
    set("data.path", "--data", data).map_err(EvalError::from)?;
    let length = args.max_length.map(|length| length.to_string());
    for (key, flag, value) in [
        ("head", "--head", &args.head),
        ("data.text_column", "--text-column", &args.text_column),
        ("data.label_column", "--label-column", &args.label_column),
        (
            "data.rejected_column",
            "--rejected-column",
            &args.rejected_column,
        ),
        ("data.max_length", "--max-length", &length),
    ] {
        if let Some(value) = value {
            set(key, flag, value).map_err(EvalError::from)?;
        }
    }
    Ok(layer)
}

fn json_of(args: &EvalArgs, found: &Answer) -> String {
    let metrics = found.metrics.values.iter();
    let metrics: serde_json::Map<_, _> = metrics
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    let value = json!({
        "path": args.path,
        "rows": found.rows,
        "loss": found.loss,
        "metrics": metrics,
        "headline": found.metrics.headline,
        "confusion": found.confusion,
    });
    format!("{value:#}\n")
}

fn text(found: &Answer) -> String {
    let mut rows = vec![
        ["rows".to_owned(), found.rows.to_string()],
        ["loss".to_owned(), format!("{:.4}", found.loss)],
    ];
    for (name, value) in &found.metrics.values {
        rows.push([name.clone(), format!("{value:.4}")]);
    }
    let mut text = aligned(&rows);
    if let Some(confusion) = &found.confusion
        && confusion.labels.len() <= MOST_SHOWN
    {
        text.push('\n');
        text.push_str(&matrix(confusion));
    }
    text
}

/// Classes of a matrix that is printed; the others are in the JSON.
const MOST_SHOWN: usize = 20;

fn matrix(confusion: &Confusion) -> String {
    let Confusion { labels, counts } = confusion;
    let first = labels.iter().map(|label| label.chars().count()).max();
    let first = first.unwrap_or(0).max("true \\ predicted".len());
    let widths: Vec<usize> = labels
        .iter()
        .enumerate()
        .map(|(column, label)| {
            let numbers = counts.iter().map(|row| row[column].to_string().len());
            numbers.max().unwrap_or(0).max(label.chars().count())
        })
        .collect();
    let mut text = format!("{:<first$}", "true \\ predicted");
    for (label, &width) in labels.iter().zip(&widths) {
        let _ = write!(text, "  {label:>width$}");
    }
    for (label, row) in labels.iter().zip(counts) {
        let _ = write!(text, "\n{label:<first$}");
        for (count, &width) in row.iter().zip(&widths) {
            let _ = write!(text, "  {count:>width$}");
        }
    }
    text + "\n"
}
