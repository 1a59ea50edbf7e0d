//! What a data set holds, before anything is trained on it.

use std::collections::HashSet;

use lorahost_plugin_api::protocol::DataKind;
use serde::Serialize;

use super::columns::{Columns, Wanted};
use super::error::DataError;
use super::load::{Label, Text, TextRows, load_from};
use super::rows::column_name;
use super::source::{Source, Sources};
use super::table::{Cell, Lines, Table, read_table};
use super::tokenise::texts;
use super::tokenizer::Tokenizer;
use crate::spec::DataSpec;

/// What [`inspect`] found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// The name of the kind that the rows were read as.
    pub kind: &'static str,
    /// Of the first train file; none of plain text and of built-in sets.
    pub columns: Vec<ColumnFound>,
    /// Of classes or tags.
    pub label_names: Vec<String>,
    /// What lengths are counted in: `tokens`, special tokens included, or `words`.
    pub unit: &'static str,
    pub max_length: usize,
    pub splits: Vec<SplitFound>,
    /// Rows of the test split whose text is in the train split too.
    pub test_rows_in_train: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ColumnFound {
    pub name: String,
    /// What its first filled cell is: `text`, `an integer`.
    pub holds: &'static str,
    /// The beginning of that cell.
    pub example: String,
    /// `text`, `label`, `rejected`, or nothing.
    pub taken_as: Option<&'static str>,
    /// Why: `named`, `by its name`, `by its place`.
    pub why: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SplitFound {
    pub name: &'static str,
    pub rows: usize,
    /// How often each of the label names occurs.
    pub counts: Vec<usize>,
    /// Of all texts, before any is cut.
    pub lengths: Option<Lengths>,
    /// With a tokenizer, blocks aside: what `max_length` cuts off.
    pub cut: Option<Cut>,
    /// Of blocks, with a tokenizer: how many the split gives.
    pub blocks: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lengths {
    pub total: usize,
    pub mean: f64,
    pub p50: usize,
    pub p90: usize,
    pub p99: usize,
    pub longest: usize,
    /// Texts by length: up to 8, 16, 32, ... and longer than the last bound before.
    pub histogram: Vec<(usize, usize)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Cut {
    pub texts: usize,
    pub tokens: usize,
}

/// Reads the data of a spec as a run would, and measures it. With a tokenizer, lengths are in its tokens; the spec is
/// then one that [`within`](super::within) gave.
///
/// # Errors
/// As [`load_text`](super::load_text); when the tokenizer fails.
pub fn inspect(spec: &DataSpec, tokenizer: Option<&Tokenizer>) -> Result<Inspection, DataError> {
    let sources = Sources::find(spec)?;
    let columns = match &sources.train {
        Source::Files(files) => columns_of(&read_table(&files[0], Lines::Trimmed)?, spec)?,
        Source::Builtin { .. } => Vec::new(),
    };
    let text = load_from(&sources, spec)?;
    let splits = [
        ("train", &text.train),
        ("validation", &text.validation),
        ("test", &text.test),
    ];
    let train: HashSet<&Text> = text.train.rows.iter().map(|row| &row.text).collect();
    let in_train = text
        .test
        .rows
        .iter()
        .filter(|row| train.contains(&row.text));
    Ok(Inspection {
        kind: spec.kind.name(),
        columns,
        unit: if tokenizer.is_some() {
            "tokens"
        } else {
            "words"
        },
        max_length: spec.max_length,
        splits: splits
            .into_iter()
            .map(|(name, rows)| split_of(name, rows, text.label_names.len(), tokenizer, spec))
            .collect::<Result<_, _>>()?,
        test_rows_in_train: in_train.count(),
        label_names: text.label_names,
    })
}

fn columns_of(table: &Table, spec: &DataSpec) -> Result<Vec<ColumnFound>, DataError> {
    if table.names == super::table::Names::None {
        return Ok(Vec::new());
    }
    let columns = Columns::of(table, &Wanted::of(spec))?;
    let records = &table.records[usize::from(columns.header)..];
    let named = columns.header || matches!(table.names, super::table::Names::Given(_));
    let found = |at: usize| {
        let (taken_as, asked) = if columns.text.contains(&at) {
            (Some("text"), &spec.text_column)
        } else if columns.label.is_some_and(|label| label.at == at) {
            (Some("label"), &spec.label_column)
        } else if columns.rejected == Some(at) {
            (Some("rejected"), &spec.rejected_column)
        } else {
            (None, &None)
        };
        let why = match (asked, named) {
            (Some(_), _) => "named",
            (None, true) => "by its name",
            (None, false) => "by its place",
        };
        let filled = records.iter().map(|record| &record.cells[at]);
        let cell = filled.into_iter().find(|cell| **cell != Cell::Null);
        ColumnFound {
            name: column_name(table, &columns, at),
            holds: cell.map_or("nothing", Cell::kind),
            example: cell.map_or_else(String::new, example),
            taken_as,
            why: taken_as.map(|_| why),
        }
    };
    let width = table.records.first().map_or(0, |record| record.cells.len());
    Ok((0..width).map(found).collect())
}

/// The beginning of a cell on one line.
fn example(cell: &Cell) -> String {
    const SHOWN: usize = 40;
    let whole = match cell {
        Cell::Text(text) => text.clone(),
        Cell::Int(number) => number.to_string(),
        Cell::Float(number) => number.to_string(),
        Cell::Bool(value) => value.to_string(),
        Cell::List(cells) => {
            let cells: Vec<String> = cells.iter().take(SHOWN).map(example).collect();
            format!("[{}]", cells.join(", "))
        }
        Cell::Null | Cell::Other(_) => String::new(),
    };
    let line = whole.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

fn split_of(
    name: &'static str,
    rows: &TextRows,
    names: usize,
    tokenizer: Option<&Tokenizer>,
    spec: &DataSpec,
) -> Result<SplitFound, DataError> {
    let mut counts = vec![0; names];
    for row in &rows.rows {
        match &row.label {
            Some(Label::Class(class)) => counts[*class as usize] += 1,
            Some(Label::Tags(tags)) => tags.iter().for_each(|&tag| counts[tag as usize] += 1),
            Some(Label::Number(_)) | None => {}
        }
    }
    let lengths = match tokenizer {
        Some(tokenizer) => tokens_in(rows, tokenizer)?,
        None => words_in(rows),
    };
    let blocks = spec.kind == DataKind::Blocks;
    let over = |length: &usize| length.saturating_sub(spec.max_length);
    let cut = Cut {
        texts: lengths.iter().filter(|length| over(length) > 0).count(),
        tokens: lengths.iter().map(over).sum(),
    };
    let total: usize = lengths.iter().sum();
    let count_of_blocks = spec.block_size.map(|block_size| {
        let stride = match name {
            "train" => spec.stride.unwrap_or(block_size),
            _ => block_size,
        };
        match total.checked_sub(block_size) {
            Some(behind) => behind / stride + 1,
            None => 0,
        }
    });
    Ok(SplitFound {
        name,
        rows: rows.len(),
        counts,
        lengths: summary(lengths),
        cut: (tokenizer.is_some() && !blocks).then_some(cut),
        blocks: count_of_blocks.filter(|_| tokenizer.is_some() && blocks),
    })
}

fn tokens_in(rows: &TextRows, tokenizer: &Tokenizer) -> Result<Vec<usize>, DataError> {
    let words = rows.rows.iter().filter_map(|row| match &row.text {
        Text::Words(words) => Some(words.as_slice()),
        _ => None,
    });
    let words: Vec<&[String]> = words.collect();
    if words.is_empty() {
        let encoded = tokenizer.encode_batch(&texts(rows), usize::MAX)?;
        return Ok(encoded.iter().map(|encoded| encoded.ids.len()).collect());
    }
    let encoded = tokenizer.encode_words(&words, usize::MAX)?;
    Ok(encoded
        .iter()
        .map(|(encoded, _)| encoded.ids.len())
        .collect())
}

fn words_in(rows: &TextRows) -> Vec<usize> {
    let words = |text: &str| text.split_whitespace().count();
    let lengths = rows.rows.iter().flat_map(|row| match &row.text {
        Text::One(text) => vec![words(text)],
        Text::Pair { chosen, rejected } => vec![words(chosen), words(rejected)],
        Text::Words(words) => vec![words.len()],
    });
    lengths.collect()
}

fn summary(mut lengths: Vec<usize>) -> Option<Lengths> {
    lengths.sort_unstable();
    let longest = *lengths.last()?;
    let total: usize = lengths.iter().sum();
    // The smallest length that this share of the texts does not exceed.
    let quantile = |share: f64| {
        let at = (share * lengths.len() as f64).ceil() as usize;
        lengths[at.clamp(1, lengths.len()) - 1]
    };
    let mut histogram = Vec::new();
    let (mut bound, mut before) = (8, 0);
    while before < lengths.len() {
        let up_to = lengths.partition_point(|&length| length <= bound);
        histogram.push((bound, up_to - before));
        before = up_to;
        bound *= 2;
    }
    Some(Lengths {
        total,
        mean: total as f64 / lengths.len() as f64,
        p50: quantile(0.5),
        p90: quantile(0.9),
        p99: quantile(0.99),
        longest,
        histogram,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_summed_up() {
        let lengths = summary((1..=100).rev().collect()).unwrap();
        assert_eq!(
            (lengths.p50, lengths.p90, lengths.p99, lengths.longest),
            (50, 90, 99, 100)
        );
        assert_eq!((lengths.total, lengths.mean), (5050, 50.5));
        assert_eq!(
            lengths.histogram,
            [(8, 8), (16, 8), (32, 16), (64, 32), (128, 36)]
        );
        assert_eq!(summary(Vec::new()), None);
    }
}
