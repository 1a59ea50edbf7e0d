//! Which cells stand in one plot, and how they are called there.
//!
//! Cells differ along axes: rank, init, batch size, ... One of them (the rank, if it varies) tells the series of a plot
//! apart; each combination of the others has a plot of its own, in which full fine-tuning stands as well.

use std::collections::BTreeSet;

use super::palette::Look;
use crate::report::analysis::{Analysis, CellAnalysis};
use crate::report::summary::APART;
use crate::spec::Method;

/// Cells that fit into one plot whatever they differ in.
const FEW: usize = 7;

const METHOD: &str = "method";

/// The cells of a study, arranged.
#[derive(Debug)]
pub struct Layout<'a> {
    pub cells: &'a [CellAnalysis],
    /// What differs between cells of LoRA.
    pub varying: Vec<Varying<'a>>,
    pub panels: Vec<Panel>,
}

/// One axis of the study.
#[derive(Debug)]
pub struct Varying<'a> {
    /// `rank`, or the dotted key of a setting.
    pub key: &'a str,
    /// In ascending order, where they are numbers.
    pub values: Vec<String>,
}

/// Cells that stand in one plot.
#[derive(Debug, PartialEq, Eq)]
pub struct Panel {
    /// What its cells of LoRA have in common and others have not: `init=gaussian`. Empty if it is the only one.
    pub title: String,
    pub members: Vec<Member>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Index of the cell.
    pub cell: usize,
    /// What it is called within the panel.
    pub label: String,
    pub look: Look,
}

impl<'a> Layout<'a> {
    pub fn of(analysis: &'a Analysis) -> Self {
        let cells = analysis.cells.as_slice();
        let lora: Vec<usize> = (0..cells.len())
            .filter(|index| cells[*index].method == Method::Lora)
            .collect();
        let varying = varying(&lora.iter().map(|index| &cells[*index]));
        let mut layout = Self {
            cells,
            varying,
            panels: Vec::new(),
        };
        layout.panels = layout.arrange(&lora);
        layout
    }

    fn arrange(&self, lora: &[usize]) -> Vec<Panel> {
        let full = |index: &usize| self.cells[*index].method == Method::Full;
        let full: Vec<usize> = (0..self.cells.len()).filter(full).collect();
        if lora.is_empty() {
            let several = full.len() > 1;
            let members = full.iter().enumerate().map(|(nth, cell)| Member {
                cell: *cell,
                label: self.cells[*cell].cell.clone(),
                look: if several { Look::Nth(nth) } else { Look::Full },
            });
            return vec![Panel {
                title: String::new(),
                members: members.collect(),
            }];
        }
        let few = lora.len() <= FEW && full.len() <= 1;
        let (series, plots): (&[Varying], &[Varying]) = if few {
            (&self.varying, &[])
        } else {
            self.varying.split_at(self.varying.len().min(1))
        };
        let mut groups: Vec<(String, Vec<usize>)> = Vec::new();
        for index in lora {
            let title = described(&self.cells[*index], plots);
            match groups.iter_mut().find(|(other, _)| *other == title) {
                Some((_, members)) => members.push(*index),
                None => groups.push((title, vec![*index])),
            }
        }
        groups.sort_by_cached_key(|(_, members)| {
            let cell = &self.cells[members[0]];
            plots
                .iter()
                .map(|axis| axis.place(cell))
                .collect::<Vec<_>>()
        });
        let panel = |(title, lora): (String, Vec<usize>)| {
            let of_lora = lora.iter().enumerate().map(|(nth, index)| {
                let cell = &self.cells[*index];
                let nth = match series {
                    // A value has its colour in every plot.
                    [only] => only.place(cell).unwrap_or(nth),
                    _ => nth,
                };
                Member {
                    cell: *index,
                    label: labelled(cell, series),
                    look: Look::Nth(nth),
                }
            });
            let fitting = full.iter().filter(|index| {
                let one = |lora: &usize| agree(&self.cells[**index], &self.cells[*lora]);
                lora.iter().any(one)
            });
            let of_full = fitting.map(|index| Member {
                cell: *index,
                label: "full".to_owned(),
                look: Look::Full,
            });
            Panel {
                title,
                members: of_lora.chain(of_full).collect(),
            }
        };
        groups.into_iter().map(panel).collect()
    }
}

impl Varying<'_> {
    /// What is written on an axis.
    pub fn label(&self) -> &str {
        match self.key {
            "train.batch_size" => "batch size",
            "lora.targets" => "layers with LoRA",
            key => key,
        }
    }

    /// The values as positive numbers, if they are that.
    pub fn numbers(&self) -> Option<Vec<f64>> {
        let number = |value: &String| value.parse().ok().filter(|number: &f64| *number > 0.0);
        self.values.iter().map(number).collect()
    }

    /// Index of the cell's value.
    pub fn place(&self, cell: &CellAnalysis) -> Option<usize> {
        let value = value(cell, self.key)?;
        self.values.iter().position(|other| *other == value)
    }
}

/// The value of an axis.
pub fn value(cell: &CellAnalysis, key: &str) -> Option<String> {
    match key {
        "rank" => cell.rank.map(|rank| rank.to_string()),
        key => cell.settings.get(key).cloned(),
    }
}

/// `init=gaussian, train.batch_size=8`.
pub fn described(cell: &CellAnalysis, axes: &[Varying]) -> String {
    let of = |axis: &Varying| Some(format!("{}={}", axis.key, value(cell, axis.key)?));
    axes.iter().filter_map(of).collect::<Vec<_>>().join(", ")
}

/// Whether two cells agree in all settings that both have, but for the method and what may differ between runs that are
/// compared.
pub fn agree(one: &CellAnalysis, other: &CellAnalysis) -> bool {
    let differs = |(key, value): (&String, &String)| {
        let apart = key == METHOD || APART.contains(&key.as_str());
        !apart && other.settings.get(key).is_some_and(|v| v != value)
    };
    !one.settings.iter().any(differs)
}

/// `r 16, gaussian`.
fn labelled(cell: &CellAnalysis, axes: &[Varying]) -> String {
    let of = |axis: &Varying| {
        let value = value(cell, axis.key)?;
        Some(match axis.key {
            "rank" => format!("r {value}"),
            _ => value,
        })
    };
    let words: Vec<String> = axes.iter().filter_map(of).collect();
    if words.is_empty() {
        cell.cell.clone()
    } else {
        words.join(", ")
    }
}

/// The rank first, then components, then their parameters and the rest. A parameter that only some components have does
/// not vary by that alone.
fn varying<'a>(cells: &(impl Iterator<Item = &'a CellAnalysis> + Clone)) -> Vec<Varying<'a>> {
    let keys = cells.clone().flat_map(|cell| cell.settings.keys());
    // The rank and the method have a place of their own.
    let keys = keys.filter(|key| !["lora.rank", METHOD].contains(&key.as_str()));
    let mut keys: Vec<&str> = keys
        .map(String::as_str)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    keys.sort_by_key(|key| (key.contains('.'), *key));
    let axes = ["rank"].into_iter().chain(keys).map(|key| {
        let values: BTreeSet<String> = cells.clone().filter_map(|cell| value(cell, key)).collect();
        let mut values: Vec<String> = values.into_iter().collect();
        let number = |text: &String| text.parse::<f64>().unwrap_or(f64::INFINITY);
        values.sort_by(|a, b| number(a).total_cmp(&number(b)));
        Varying { key, values }
    });
    axes.filter(|axis| axis.values.len() > 1).collect()
}

#[cfg(test)]
mod tests {
    use super::super::sample::cell;
    use super::*;

    fn analysis(cells: Vec<CellAnalysis>) -> Analysis {
        Analysis {
            cells,
            ..Analysis::default()
        }
    }

    fn labels(panel: &Panel) -> Vec<&str> {
        panel.members.iter().map(|m| m.label.as_str()).collect()
    }

    #[test]
    fn ranks_and_full_fine_tuning_stand_in_one_plot() {
        let cells = vec![
            cell(
                "lora-r4",
                Some(4),
                &[
                    ("method", "lora"),
                    ("lora.rank", "4"),
                    ("train.save", "adapter"),
                    ("train.lr_b", "16"),
                ],
            ),
            cell(
                "lora-r16",
                Some(16),
                &[
                    ("method", "lora"),
                    ("lora.rank", "16"),
                    ("train.save", "adapter"),
                    ("train.lr_b", "16"),
                ],
            ),
            cell(
                "full",
                None,
                &[
                    ("method", "full"),
                    ("train.save", "none"),
                    ("train.lr_b", "1"),
                ],
            ),
        ];
        let analysis = analysis(cells);
        let layout = Layout::of(&analysis);
        let [panel] = layout.panels.as_slice() else {
            panic!("{:?}", layout.panels)
        };
        assert_eq!(labels(panel), ["r 4", "r 16", "full"]);
        assert_eq!(panel.title, "");
        let axes: Vec<&str> = layout.varying.iter().map(|axis| axis.key).collect();
        assert_eq!(axes, ["rank"]);
        assert_eq!(layout.varying[0].values, ["4", "16"]);
    }

    #[test]
    fn other_axes_have_a_plot_for_each_value_with_the_full_fine_tuning_that_fits() {
        let mut cells = Vec::new();
        for batch in ["128", "8"] {
            for rank in [4, 16, 64, 128] {
                let name = format!("lora-r{rank}-batch-size={batch}");
                cells.push(cell(&name, Some(rank), &[("train.batch_size", batch)]));
            }
            cells.push(cell(
                &format!("full-{batch}"),
                None,
                &[("train.batch_size", batch)],
            ));
        }
        let analysis = analysis(cells);
        let layout = Layout::of(&analysis);
        let titles: Vec<&str> = layout.panels.iter().map(|p| p.title.as_str()).collect();
        assert_eq!(titles, ["train.batch_size=8", "train.batch_size=128"]);
        for (index, panel) in layout.panels.iter().enumerate() {
            assert_eq!(labels(panel), ["r 4", "r 16", "r 64", "r 128", "full"]);
            // The batch of 128 came first.
            assert_eq!(panel.members[4].cell, (1 - index) * 5 + 4);
            assert_eq!(panel.members[1].look, Look::Nth(1));
        }
        assert_eq!(layout.varying[1].numbers(), Some(vec![8.0, 128.0]));
    }

    #[test]
    fn a_parameter_of_one_component_alone_is_no_axis() {
        let cells = vec![
            cell("a", Some(4), &[("init", "uniform"), ("init.gain", "1")]),
            cell("b", Some(4), &[("init", "gaussian"), ("init.std_a", "1")]),
        ];
        let analysis = analysis(cells);
        let layout = Layout::of(&analysis);
        let keys: Vec<&str> = layout.varying.iter().map(|axis| axis.key).collect();
        assert_eq!(keys, ["init"]);
        assert_eq!(labels(&layout.panels[0]), ["uniform", "gaussian"]);
    }

    #[test]
    fn full_fine_tuning_alone_is_a_plot_too() {
        let analysis = analysis(vec![cell("full", None, &[])]);
        assert_eq!(labels(&Layout::of(&analysis).panels[0]), ["full"]);
        let analysis = Analysis::default();
        assert_eq!(Layout::of(&analysis).panels[0].members, []);
    }
}
