//! `lorahost model inspect`: a model in numbers, from its settings and the headers of its weight files.

use serde_json::{Value, json};

use super::exit::Exit;
use super::failure::Failure;
use super::output::{aligned, print};
use crate::hub::outline_model;
use crate::model::{
    HeadLayerKind, HeadLayerReport, HeadReport, Inspection, LayerReport, Pooled, WeightSummary,
    grouped,
};

/// Columns that the text keeps to, as far as names let it.
const WIDTH: usize = 100;

/// Shows the model that `name` names: a path, a built-in one or an id of the hub, whose weights stay there.
pub fn inspect(name: &str, as_json: bool) -> Result<Exit, Failure> {
    let outline = outline_model(name)?;
    let inspection = Inspection::of(&outline.path)?;
    if as_json {
        let mut value = json!(inspection);
        if let Value::Object(fields) = &mut value {
            fields.shift_insert(0, "model".to_owned(), json!(name));
        }
        print(&format!("{value:#}\n"))?;
    } else {
        print(&text(name, &inspection))?;
    }
    Ok(Exit::Ok)
}

fn text(path: &str, model: &Inspection) -> String {
    let sizes = model.sizes.iter();
    let sizes: Vec<String> = sizes.map(|(key, value)| format!("{key} {value}")).collect();
    let weights = model.weights.as_ref();
    let rows = [
        ["architecture".to_owned(), model.architecture.to_owned()],
        [
            "weights".to_owned(),
            weights.map_or("none: they can only be random".to_owned(), files),
        ],
        [
            "vocabulary".to_owned(),
            format!("{} tokens", number(model.vocabulary)),
        ],
        [
            "positions".to_owned(),
            format!("{} tokens a row at most", number(model.positions)),
        ],
    ];
    [
        format!("{path}\n\n"),
        aligned(&rows),
        wrapped("config        ", &sizes),
        unknown(&model.unknown_settings),
        "\n".to_owned(),
        layers(&model.layers),
        "\n".to_owned(),
        parameters(model),
        "\n".to_owned(),
        operations(model),
        "\nheads, by layout\n".to_owned(),
        model.heads.iter().map(head).collect(),
    ]
    .concat()
}

fn unknown(settings: &[String]) -> String {
    if settings.is_empty() {
        return String::new();
    }
    let title = "not known     ";
    let note = "(a run refuses these settings: remove them if they have no effect)";
    wrapped(title, settings) + &" ".repeat(title.len()) + note + "\n"
}

/// `2 files, 101 tensors (F16 99, I64 2), 44.3 MB`.
fn files(weights: &WeightSummary) -> String {
    let types = weights.types.iter();
    let types: Vec<String> = types
        .map(|(kind, count)| format!("{kind} {count}"))
        .collect();
    let plural = if weights.files == 1 { "" } else { "s" };
    format!(
        "{} file{plural}, {:.1} MB, {} tensors ({})",
        weights.files,
        weights.bytes as f64 / 1e6,
        weights.tensors,
        types.join(", ")
    )
}

/// One line for each place in a block: a name that differs by the block's number alone is shown once, with `*` for it.
fn layers(layers: &[LayerReport]) -> String {
    let mut places: Vec<(String, &LayerReport, usize)> = Vec::new();
    for layer in layers {
        let name = place(&layer.name);
        let same = places.iter_mut().find(|(known, first, _)| {
            *known == name && (first.fan_in, first.fan_out) == (layer.fan_in, layer.fan_out)
        });
        match same {
            Some((.., count)) => *count += 1,
            None => places.push((name, layer, 1)),
        }
    }
    let mut rows = vec![
        [
            "linear layers",
            "number",
            "fan_in x fan_out",
            "kind",
            "--targets",
        ]
        .map(str::to_owned),
    ];
    rows.extend(places.into_iter().map(|(name, layer, count)| {
        [
            name,
            count.to_string(),
            format!("{} x {}", layer.fan_in, layer.fan_out),
            layer.kind.name().to_owned(),
            layer.targets.join(", "),
        ]
    }));
    aligned(&rows)
}

/// `encoder.layer.3.output` as `encoder.layer.*.output`.
fn place(name: &str) -> String {
    let parts = name.split('.');
    let parts: Vec<&str> = parts
        .map(|part| match part.parse::<u32>() {
            Ok(_) => "*",
            Err(_) => part,
        })
        .collect();
    parts.join(".")
}

fn parameters(model: &Inspection) -> String {
    let counts = &model.parameters;
    let share = 100.0 * counts.lora.parameters as f64 / counts.total as f64;
    let row = |name: &str, count: usize, note: String| [name.to_owned(), grouped(count), note];
    let lora = format!("  LoRA on all, r = {}", counts.lora.rank);
    columns(&[
        row("parameters, without head", counts.total, String::new()),
        row("  embeddings", counts.embeddings, String::new()),
        row("  attention", counts.attention, String::new()),
        row("  mlp", counts.mlp, String::new()),
        row("  norms", counts.norms, String::new()),
        row(
            &lora,
            counts.lora.parameters,
            format!("{share:.1}% of them"),
        ),
    ])
}

fn operations(model: &Inspection) -> String {
    let counts = &model.operations;
    let share = 100.0 * counts.lora_step as f64 / counts.full_step as f64;
    let lora = format!("  step of LoRA on all, r = {}", counts.rank);
    let row =
        |name: &str, count: u64, note: String| [name.to_owned(), grouped(count as usize), note];
    let note = format!("{share:.1}% of full: 2 N^2 + 6 N r for a layer N x N");
    let rows = columns(&[
        row("  forward", counts.forward, "N^2".to_owned()),
        row(
            "  step of full fine-tuning",
            counts.full_step,
            "3 N^2".to_owned(),
        ),
        row(&lora, counts.lora_step, note),
    ]);
    let title = "multiply-adds a token in these layers; attention's own and the head come on top\n";
    title.to_owned() + &rows
}

fn head(head: &HeadReport) -> String {
    let HeadReport {
        layout,
        class,
        refused,
        pooled,
        outputs,
        parameters,
        layers,
    } = head;
    if let Some(reason) = refused {
        return format!("  {layout}  {class}: not this model: {reason}\n");
    }
    let place = match pooled {
        Some(Pooled::First) => "first token",
        Some(Pooled::Last) => "last token",
        Some(Pooled::Other) => "another token",
        None => "every token",
    };
    let title = format!(
        "  {layout:10}  {class}: {place}, {} outputs, {} parameters\n",
        number(*outputs),
        grouped(*parameters)
    );
    let rows: Vec<[String; 3]> = layers.iter().map(head_layer).collect();
    title + &aligned(&rows)
}

fn head_layer(layer: &HeadLayerReport) -> [String; 3] {
    let origin = match (&layer.tied_to, layer.pretrained) {
        (Some(name), _) => format!("tied to {name}"),
        (None, true) => "in the weights".to_owned(),
        (None, false) => "new".to_owned(),
    };
    let size = match layer.kind {
        HeadLayerKind::Linear | HeadLayerKind::Other => {
            format!("{} x {}", layer.fan_in, layer.fan_out)
        }
        HeadLayerKind::Norm => layer.fan_out.to_string(),
    };
    [format!("    {}", layer.name), size, origin]
}

/// Name, right-aligned number, note.
fn columns(rows: &[[String; 3]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let (names, numbers) = (width(0), width(1));
    let lines = rows
        .iter()
        .map(|[name, number, note]| format!("{name:names$}  {number:>numbers$}  {note}"));
    joined(lines)
}

/// `words` after `title`, on as many lines as they need.
fn wrapped(title: &str, words: &[String]) -> String {
    let mut lines = vec![title.to_owned()];
    for (index, word) in words.iter().enumerate() {
        let comma = if index + 1 == words.len() { "" } else { ", " };
        let line = lines.last().map_or(0, String::len);
        if line + word.len() > WIDTH && line > title.len() {
            lines.push(" ".repeat(title.len()));
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(word);
            line.push_str(comma);
        }
    }
    joined(lines)
}

/// Lines without spaces at their ends.
fn joined(lines: impl IntoIterator<Item = String>) -> String {
    lines
        .into_iter()
        .fold(String::new(), |text, line| text + line.trim_end() + "\n")
}

fn number(number: i64) -> String {
    grouped(usize::try_from(number).unwrap_or(0))
}
