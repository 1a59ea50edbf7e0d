//! Where the runs come from: what they have in common and what varies, plugins with their hashes, versions, machines.

use std::collections::{BTreeMap, BTreeSet};

use super::layout::Layout;
use super::table::{Cell, Column, Row, Table};
use crate::record::{Provenance, python_float};
use crate::report::analysis::Analysis;

/// The tables of provenance. `origins` are those of the runs that are done.
pub fn tables<'a>(
    analysis: &Analysis,
    layout: &Layout,
    origins: impl Iterator<Item = &'a Provenance>,
) -> Vec<Table> {
    let (mut plugins, mut machines) = (BTreeMap::new(), BTreeMap::new());
    for origin in origins {
        for plugin in &origin.plugins {
            let file = plugin.file.file_name().unwrap_or_default();
            let key = [
                plugin.kind.clone(),
                plugin.name.clone(),
                file.to_string_lossy().into_owned(),
                plugin.sha256.clone(),
            ];
            *plugins.entry(key).or_insert(0) += 1;
        }
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let key = [
            origin.host.clone(),
            text(&origin.libtorch),
            origin.device.clone(),
            origin.threads.to_string(),
            text(&origin.cpu),
            text(&origin.revisions.model),
            text(&origin.revisions.data),
        ];
        *machines.entry(key).or_insert(0) += 1;
    }
    let tables = vec![
        settings(analysis, layout),
        counted(
            "plugins",
            "Plugins",
            [
                ("kind", &["kind"]),
                ("name", &["name"]),
                ("file", &["file"]),
                ("sha256", &["sha256"]),
            ],
            plugins,
        ),
        counted(
            "machines",
            "Versions and machines",
            [
                ("lorahost", &["lorahost"]),
                ("libtorch", &["libtorch"]),
                ("device", &["device"]),
                ("threads", &["threads"]),
                ("CPU", &["cpu"]),
                ("model's commit", &["model_revision"]),
                ("data's commit", &["data_revision"]),
            ],
            machines,
        ),
    ];
    tables
        .into_iter()
        .filter(|table| !table.rows.is_empty())
        .collect()
}

/// Every setting with its values.
fn settings(analysis: &Analysis, layout: &Layout) -> Table {
    let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (key, value) in analysis.cells.iter().flat_map(|cell| &cell.settings) {
        values.entry(key).or_default().insert(value);
    }
    let row = |key: &str, values: Vec<String>| Row {
        anchor: None,
        cells: vec![Cell::text(key), Cell::text(values.join("  "))],
    };
    let axis = |key: &str| {
        let mut axes = layout.varying.iter().filter(|axis| axis.key == key);
        axes.next().map(|axis| axis.values.clone())
    };
    let mut lrs: Vec<f64> = analysis
        .cells
        .iter()
        .flat_map(|cell| &cell.points)
        .map(|p| p.lr)
        .collect();
    lrs.sort_by(f64::total_cmp);
    lrs.dedup();
    let seeds: BTreeSet<&String> = analysis.cells.iter().flat_map(|cell| &cell.seeds).collect();
    let ranks: BTreeSet<usize> = analysis.cells.iter().filter_map(|cell| cell.rank).collect();
    let mut rows = vec![
        row("learning rate", lrs.into_iter().map(python_float).collect()),
        row("seed", seeds.into_iter().cloned().collect()),
        row("rank", ranks.iter().map(ToString::to_string).collect()),
    ];
    rows.extend(values.into_iter().map(|(key, values)| {
        let values = axis(key).unwrap_or_else(|| values.into_iter().map(str::to_owned).collect());
        row(key, values)
    }));
    rows.retain(|row| row.cells[1].exact != [String::new()]);
    Table {
        name: "settings",
        title: "What was run".to_owned(),
        note: "Several values: an axis of the study, or what goes with a component.".to_owned(),
        columns: vec![
            Column::text("key", &["key"]),
            Column::text("values", &["values"]),
        ],
        rows,
    }
}

/// Distinct rows with the number of runs of each.
fn counted<const N: usize>(
    name: &'static str,
    title: &str,
    columns: [(&str, &'static [&'static str; 1]); N],
    rows: BTreeMap<[String; N], usize>,
) -> Table {
    let mut columns = columns
        .map(|(title, csv)| Column::text(title, csv))
        .to_vec();
    columns.push(Column::figure("runs", &["runs"]));
    let row = |(texts, count): ([String; N], usize)| {
        let mut cells = texts.map(Cell::text).to_vec();
        cells.push(Cell::text(count.to_string()));
        Row {
            anchor: None,
            cells,
        }
    };
    Table {
        name,
        title: title.to_owned(),
        note: String::new(),
        columns,
        rows: rows.into_iter().map(row).collect(),
    }
}
