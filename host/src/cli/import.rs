//! `lorahost import`: whether a PEFT adapter fits its model, and what it holds.

use serde_json::json;

use super::args::ImportArgs;
use super::exit::Exit;
use super::failure::Failure;
use super::output::{aligned, print};
use crate::import::{Import, import};

/// Prints what the adapter holds.
pub fn run(args: &ImportArgs) -> Result<Exit, Failure> {
    let found = import(&args.adapter, args.model.as_deref(), args.output.as_deref())?;
    print(&if args.json {
        format!("{:#}\n", json!(found))
    } else {
        text(&found)
    })?;
    Ok(Exit::Ok)
}

fn text(found: &Import) -> String {
    let mut rows = vec![["base model".to_owned(), found.base.clone()]];
    if let (Some(layout), Some(outputs)) = (&found.layout, found.outputs) {
        rows.push(["head".to_owned(), format!("{layout}, {outputs} outputs")]);
    }
    let whole = found.modules_to_save.join(", ");
    let whole = if whole.is_empty() {
        "none".to_owned()
    } else {
        whole
    };
    rows.push(["trained whole".to_owned(), whole]);
    rows.push(["parameters".to_owned(), found.parameters.to_string()]);
    let mut layers = vec![["layer", "rank", "scale"].map(str::to_owned)];
    layers.extend(found.layers.iter().map(|layer| {
        [
            layer.name.clone(),
            layer.rank.to_string(),
            layer.scale.to_string(),
        ]
    }));
    format!("{}\n{}", aligned(&rows), aligned(&layers))
}
