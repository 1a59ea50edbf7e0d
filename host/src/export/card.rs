//! `README.md` of an export: a model card with the measured figures.

use std::fmt::Write as _;

use super::{Form, PROVENANCE_FILE, Request, place};
use crate::spec::Selection;
use crate::trained::KeptRun;

/// The card, with the front matter that the hub reads.
pub(super) fn text(run: &KeptRun, request: &Request<'_>) -> String {
    let record = &run.record;
    let (spec, result) = (&record.spec.spec, &record.result);
    let base = place(&spec.model.path);
    let mut card = String::from("---\n");
    let mut line = |text: String| {
        card.push_str(&text);
        card.push('\n');
    };
    line(format!("base_model: {}", quoted(&base)));
    line(match request.form {
        Form::Adapter => "library_name: peft\ntags:\n- lora\n- lorahost".to_owned(),
        _ => "library_name: transformers\ntags:\n- lorahost".to_owned(),
    });
    line("---\n".to_owned());
    line(format!(
        "# {} of run {}\n",
        record.spec.cell, record.spec.id
    ));
    line(match request.form {
        Form::Adapter => "A LoRA adapter: `PeftModel.from_pretrained(base, FOLDER)`.\n".to_owned(),
        Form::Merged => "The base model with a LoRA adapter merged into it.\n".to_owned(),
        Form::Full => "The base model after full fine-tuning.\n".to_owned(),
    });
    line("| setting | value |\n|---|---|".to_owned());
    let mut row = |name: &str, value: String| line(format!("| {name} | {} |", cell(&value)));
    row("base model", base);
    row("data", data(run));
    row("head", spec.head.name.clone());
    if let Some(lora) = &spec.lora {
        row("rank", lora.rank.to_string());
        row("targets", lora.targets.clone());
    }
    let named = |selection: &Selection| selection.name.clone();
    for (name, selection) in [("init", &spec.init), ("alpha policy", &spec.alpha)] {
        if let Some(selection) = selection {
            row(name, named(selection));
        }
    }
    row("optimizer", named(&spec.optimizer));
    row("learning rate", spec.train.lr.to_string());
    row(
        "batch size",
        (spec.train.batch_size * spec.train.accumulate).to_string(),
    );
    row("steps", result.measured.steps.to_string());
    row("seed", spec.seeds.label());
    row("numbers in files", request.precision.name().to_owned());
    line("\n| measured | value |\n|---|---|".to_owned());
    let mut row = |name: &str, value: f64| line(format!("| {name} | {value:.4} |"));
    if let Some(loss) = result.measured.untrained_val_loss {
        row("validation loss, untrained", loss);
    }
    if let Some(loss) = result.measured.val_losses.last() {
        row("validation loss", *loss);
    }
    if let Some(test) = &result.measured.test {
        row("test loss", test.loss);
        for (name, value) in &test.metrics {
            row(&format!("test {}", cell(name)), *value);
        }
    }
    let _ = write!(
        card,
        "\nMeasured by lorahost {} on the run's own splits; `{PROVENANCE_FILE}` has everything that the figures depend on.\n",
        result.provenance.host
    );
    card
}

fn data(run: &KeptRun) -> String {
    let data = &run.record.spec.spec.data;
    match (&data.path, &data.train_file) {
        (Some(path), _) => path.clone(),
        (None, Some(file)) => file.display().to_string(),
        (None, None) => String::new(),
    }
}

/// Text that cannot leave its cell of a table.
fn cell(text: &str) -> String {
    let text = text.replace('|', "\\|");
    text.replace(['\n', '\r', '<', '>'], " ")
}

/// A text of YAML: JSON's is one.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
