//! Rows as the task head learns from them: a text, words or two texts, and what their label column holds.

use std::path::PathBuf;

use lorahost_plugin_api::protocol::DataKind;

use super::builtin;
use super::columns::{Columns, LabelColumn, Wanted};
use super::error::{DataError, Place, Unit};
use super::source::{Source, Sources};
use super::table::{Cell, Lines, Names, Record, Table, read_table};
use crate::spec::DataSpec;

/// The rows of one split, and the files that they come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows<T> {
    /// With what their rows are counted in.
    pub(super) files: Vec<(PathBuf, Unit)>,
    pub rows: Vec<T>,
}

/// A row with its label.
#[derive(Debug, Clone, PartialEq)]
pub struct TextRow {
    /// An index of the files, and the place in it from 1.
    pub(super) file: u32,
    pub(super) number: u64,
    pub text: Text,
    pub label: Option<Label>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Text {
    One(String),
    /// Of tags.
    Words(Vec<String>),
    Pair {
        chosen: String,
        rejected: String,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub enum Label {
    /// An index of the label names.
    Class(u32),
    /// Finite.
    Number(f32),
    /// One a word, indices of the label names.
    Tags(Vec<u32>),
}

/// A row with the cells of its label column: one, or of tags one a word.
#[derive(Debug, PartialEq)]
pub(super) struct RawRow {
    pub file: u32,
    pub number: u64,
    pub text: Text,
    pub labels: Vec<Cell>,
}

/// The rows of one source, labels as they stand there.
pub(super) struct RawRows {
    pub kind: DataKind,
    pub rows: Rows<RawRow>,
    pub label: Option<RawLabel>,
}

pub(super) struct RawLabel {
    pub column: LabelColumn,
    /// Of the column.
    pub name: String,
    /// The names of its classes, where the data's description has them.
    pub described: Option<Vec<String>>,
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            rows: Vec::new(),
        }
    }
}

impl<T: Located> Rows<T> {
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Where a row stands.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn place(&self, row: usize) -> Place {
        let (file, number) = self.rows[row].location();
        let (path, unit) = self.files[file as usize].clone();
        Place { path, unit, number }
    }

    /// The file, or the first of several.
    pub(super) fn path(&self) -> PathBuf {
        self.files
            .first()
            .map_or_else(PathBuf::new, |(path, _)| path.clone())
    }

    /// Keeps the first `size` rows.
    pub(super) fn cut(&mut self, split: &str, size: Option<usize>) {
        let Some(size) = size else { return };
        if size > self.len() {
            tracing::warn!(
                "{size} {split} rows were asked for, {} are there",
                self.len()
            );
        }
        self.rows.truncate(size);
    }

    pub(super) fn try_map<U, E>(
        &self,
        mut map: impl FnMut(usize, &T) -> Result<U, E>,
    ) -> Result<Rows<U>, E> {
        let rows = self.rows.iter().enumerate();
        Ok(Rows {
            files: self.files.clone(),
            rows: rows
                .map(|(at, row)| map(at, row))
                .collect::<Result<_, _>>()?,
        })
    }
}

/// A row that knows its file and its place in it.
pub trait Located {
    fn location(&self) -> (u32, u64);
}

impl Located for TextRow {
    fn location(&self) -> (u32, u64) {
        (self.file, self.number)
    }
}

impl Located for RawRow {
    fn location(&self) -> (u32, u64) {
        (self.file, self.number)
    }
}

impl RawRows {
    /// Reads all files of a source.
    pub fn read(source: &Source, sources: &Sources, spec: &DataSpec) -> Result<Self, DataError> {
        let files = match source {
            Source::Builtin { set, split } => {
                return Self::builtin(set, split, source.path(), spec);
            }
            Source::Files(files) => files,
        };
        let lines = match spec.kind {
            DataKind::Blocks => Lines::Whole,
            _ => Lines::Trimmed,
        };
        let mut all = Self {
            kind: spec.kind,
            rows: Rows::default(),
            label: None,
        };
        for path in files {
            let table = read_table(path, lines)?;
            let columns = Columns::of(&table, &Wanted::of(spec))?;
            all.append(table, &columns, sources)?;
        }
        Ok(all)
    }

    fn builtin(set: &str, split: &str, path: PathBuf, spec: &DataSpec) -> Result<Self, DataError> {
        if let Some(needs) = Wanted::of(spec).needs() {
            return Err(DataError::Lacks { path, needs });
        }
        let label = builtin::label_column(set).filter(|_| has_labels(spec.kind));
        let label = label.map(|column| RawLabel {
            column,
            name: "topic".to_owned(),
            described: None,
        });
        let rows = (1..)
            .zip(builtin::rows(set, split))
            .map(|(number, row)| RawRow {
                file: 0,
                number,
                labels: vec![Cell::Text(row.topic_name().to_owned())],
                text: Text::One(row.text),
            });
        Ok(Self {
            kind: spec.kind,
            rows: Rows {
                files: vec![(path, Unit::Line)],
                rows: rows.collect(),
            },
            label,
        })
    }

    fn append(
        &mut self,
        table: Table,
        columns: &Columns,
        sources: &Sources,
    ) -> Result<(), DataError> {
        let records = &table.records[usize::from(columns.header)..];
        if records.is_empty() {
            return Err(DataError::Empty { path: table.path });
        }
        let file = self.rows.files.len() as u32;
        let label = columns.label.filter(|_| has_labels(self.kind));
        let label = label.map(|column| {
            let name = column_name(&table, columns, column.at);
            let described = table.class_names.get(&name);
            RawLabel {
                column,
                described: described.or_else(|| sources.described.get(&name)).cloned(),
                name,
            }
        });
        for record in records {
            let row = Reading {
                table: &table,
                columns,
                record,
            };
            let text = match self.kind {
                DataKind::Tags => Text::Words(row.words()?),
                DataKind::Pairs => Text::Pair {
                    chosen: row.text()?,
                    rejected: row.text_of(columns.rejected.unwrap_or_default())?,
                },
                _ => Text::One(row.text()?),
            };
            self.rows.rows.push(RawRow {
                file,
                number: record.number,
                labels: match &label {
                    Some(label) => row.labels(label, &text)?,
                    None => Vec::new(),
                },
                text,
            });
        }
        if file == 0 {
            self.label = label;
        } else if self.label.is_some() && label.is_none() {
            return Err(DataError::Unlabelled {
                path: table.path.clone(),
                train: self.rows.path(),
            });
        }
        self.rows.files.push((table.path, table.unit));
        Ok(())
    }

    /// Whether described classes are there and no row has one: test splits are published so.
    pub fn is_without_classes(&self) -> bool {
        let described = self
            .label
            .as_ref()
            .is_some_and(|label| label.described.is_some());
        let mut labels = self.rows.rows.iter().flat_map(|row| &row.labels);
        self.kind == DataKind::Classes && described && labels.all(|label| *label == Cell::Int(-1))
    }
}

/// Whether rows of a kind have labels at all.
fn has_labels(kind: DataKind) -> bool {
    match kind {
        DataKind::Classes | DataKind::Numbers | DataKind::Tags => true,
        DataKind::Text | DataKind::Blocks | DataKind::Pairs => false,
    }
}

impl RawLabel {
    /// A label as a number.
    pub fn number(&self, cell: &Cell, place: impl Fn() -> Place) -> Result<f32, DataError> {
        let number = match cell {
            Cell::Int(number) => Some(*number as f64),
            Cell::Float(number) => Some(*number),
            Cell::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        let number = number.map(|number| number as f32);
        number
            .filter(|number| number.is_finite())
            .ok_or_else(|| DataError::Value {
                column: self.name.clone(),
                place: place(),
                found: match cell {
                    Cell::Text(text) => format!("`{text}`"),
                    Cell::Float(number) => number.to_string(),
                    other => other.kind().to_owned(),
                },
                expected: "a finite number",
            })
    }
}

/// How errors and listings call a column.
pub(super) fn column_name(table: &Table, columns: &Columns, at: usize) -> String {
    match &table.names {
        Names::Given(names) => names[at].clone(),
        Names::FirstRecord if columns.header => match &table.records[0].cells[at] {
            Cell::Text(name) => name.trim().to_owned(),
            _ => String::new(),
        },
        Names::FirstRecord | Names::None => (at + 1).to_string(),
    }
}

/// One record under the columns of its table.
struct Reading<'a> {
    table: &'a Table,
    columns: &'a Columns,
    record: &'a Record,
}

impl Reading<'_> {
    fn text(&self) -> Result<String, DataError> {
        let texts = self.columns.text.iter().map(|&at| self.text_of(at));
        Ok(texts.collect::<Result<Vec<_>, _>>()?.join(" "))
    }

    fn text_of(&self, at: usize) -> Result<String, DataError> {
        match &self.record.cells[at] {
            Cell::Text(text) => Ok(text.clone()),
            other => Err(self.wrong(at, other.kind(), "text")),
        }
    }

    /// A list of words, or words with single spaces between them.
    fn words(&self) -> Result<Vec<String>, DataError> {
        let at = self.columns.text[0];
        match &self.record.cells[at] {
            Cell::Text(text) => Ok(text.trim().split(' ').map(str::to_owned).collect()),
            Cell::List(words) => {
                let word = |word: &Cell| match word {
                    Cell::Text(word) => Ok(word.clone()),
                    other => Err(self.wrong(
                        at,
                        &format!("a list with {}", other.kind()),
                        "a list of words",
                    )),
                };
                words.iter().map(word).collect()
            }
            other => Err(self.wrong(at, other.kind(), "a list of words")),
        }
    }

    /// The label, or the tags of these words.
    fn labels(&self, label: &RawLabel, text: &Text) -> Result<Vec<Cell>, DataError> {
        let cell = &self.record.cells[label.column.at];
        let Text::Words(words) = text else {
            return Ok(vec![cell.clone()]);
        };
        let tags: Vec<Cell> = match cell {
            Cell::List(tags) => tags.clone(),
            Cell::Text(text) => {
                let tags = text.trim().split(' ');
                tags.map(|tag| Cell::Text(tag.to_owned())).collect()
            }
            other => {
                return Err(self.wrong(label.column.at, other.kind(), "a list of tags"));
            }
        };
        if tags.len() != words.len() {
            return Err(DataError::TagCount {
                place: self.table.place(self.record),
                words: words.len(),
                tags: tags.len(),
            });
        }
        Ok(tags)
    }

    fn wrong(&self, at: usize, found: &str, expected: &'static str) -> DataError {
        DataError::Value {
            column: column_name(self.table, self.columns, at),
            place: self.table.place(self.record),
            found: found.to_owned(),
            expected,
        }
    }
}
