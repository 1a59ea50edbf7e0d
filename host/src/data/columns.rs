//! Which columns hold text and label, and whether there is a header.

use super::error::DataError;
use super::table::{Record, Table};
use crate::nearest::nearest;

/// The columns of a table, by position from 0.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Columns {
    /// The first record is not a row.
    pub header: bool,
    /// Joined by a space.
    pub text: Vec<usize>,
    pub label: Option<LabelColumn>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LabelColumn {
    pub at: usize,
    /// The first class where labels are numbers.
    pub base: i64,
    /// Why classes count from there, for errors.
    pub why: &'static str,
}

/// Names that text columns usually have; the first group that is all there is taken.
const TEXT_NAMES: [&[&str]; 11] = [
    &["text"],
    &["sentence"],
    &["title", "description"],
    &["title", "content"],
    &["sentence1", "sentence2"],
    &["premise", "hypothesis"],
    &["question1", "question2"],
    &["content"],
    &["review"],
    &["description"],
    &["document"],
];
const LABEL_NAMES: [&str; 6] = [
    "label",
    "labels",
    "class",
    "category",
    "class_index",
    "target",
];

impl Columns {
    /// Settles the columns from the names that were asked for, or from the usual ones.
    pub fn of(table: &Table, text: Option<&str>, label: Option<&str>) -> Result<Self, DataError> {
        if !table.has_columns {
            return match text.or(label) {
                None => Ok(Self {
                    header: false,
                    text: vec![0],
                    label: None,
                }),
                Some(name) => Err(DataError::PlainText {
                    path: table.path.clone(),
                    name: name.to_owned(),
                }),
            };
        }
        let first = FirstRow::of(table);
        let texts: Vec<&str> = text.map_or(Vec::new(), |names| {
            names.split('+').map(str::trim).collect()
        });
        let mut named = texts.iter().copied().chain(label).peekable();
        let header = if named.peek().is_none() {
            first.usual_text().is_some() || first.usual_label(&[]).is_some()
        } else {
            // A row may well hold the number of a column: the class 3 of AG News.
            named.any(|name| name.parse::<usize>().is_err() && first.named(name).is_some())
        };
        if header {
            first.under_header(&texts, label)
        } else {
            first.numbered(&texts, label)
        }
    }
}

struct FirstRow<'a> {
    table: &'a Table,
    cells: Vec<&'a str>,
}

impl<'a> FirstRow<'a> {
    fn of(table: &'a Table) -> Self {
        let Record { fields, .. } = &table.records[0];
        Self {
            table,
            cells: fields.iter().map(|cell| cell.trim()).collect(),
        }
    }

    fn under_header(&self, texts: &[&str], label: Option<&str>) -> Result<Columns, DataError> {
        let find = |name: &str| self.named(name).ok_or_else(|| self.missing(name));
        let text = if texts.is_empty() {
            self.usual_text().ok_or_else(|| DataError::NoTextColumn {
                path: self.table.path.clone(),
                present: self.present(),
            })?
        } else {
            texts
                .iter()
                .map(|name| find(name))
                .collect::<Result<_, _>>()?
        };
        let label = match label {
            Some(name) => Some(find(name)?),
            None => self.usual_label(&text),
        };
        let label = label.map(|at| {
            if usual(self.cells[at]) == "class_index" {
                LabelColumn {
                    at,
                    base: 1,
                    why: "in a column called `Class Index`",
                }
            } else {
                LabelColumn {
                    at,
                    base: 0,
                    why: "in a file with a header",
                }
            }
        });
        Ok(Columns {
            header: true,
            text,
            label,
        })
    }

    fn numbered(&self, texts: &[&str], label: Option<&str>) -> Result<Columns, DataError> {
        let width = self.cells.len();
        let find = |name: &str| match name.parse::<usize>() {
            Ok(number) if (1..=width).contains(&number) => Ok(number - 1),
            _ => Err(self.missing(name)),
        };
        let mut text: Vec<usize> = texts
            .iter()
            .map(|name| find(name))
            .collect::<Result<_, _>>()?;
        let label = match label {
            Some(name) => Some(find(name)?),
            None => (width > 1 && !text.contains(&0)).then_some(0),
        };
        if text.is_empty() {
            text = (0..width).filter(|&at| Some(at) != label).collect();
        }
        let why = "in a file without a header; add one (label,text) if they count from 0";
        Ok(Columns {
            header: false,
            text,
            label: label.map(|at| LabelColumn { at, base: 1, why }),
        })
    }

    fn named(&self, name: &str) -> Option<usize> {
        self.cells.iter().position(|cell| *cell == name)
    }

    fn usual_text(&self) -> Option<Vec<usize>> {
        TEXT_NAMES
            .iter()
            .find_map(|group| group.iter().map(|name| self.called(name)).collect())
    }

    fn usual_label(&self, taken: &[usize]) -> Option<usize> {
        LABEL_NAMES
            .iter()
            .filter_map(|name| self.called(name))
            .find(|at| !taken.contains(at))
    }

    fn called(&self, name: &str) -> Option<usize> {
        self.cells.iter().position(|cell| usual(cell) == name)
    }

    fn missing(&self, name: &str) -> DataError {
        DataError::MissingColumn {
            path: self.table.path.clone(),
            name: name.to_owned(),
            present: self.present(),
            nearest: nearest(name, self.cells.iter().copied()).map(str::to_owned),
        }
    }

    /// The cells as an error shows them.
    fn present(&self) -> String {
        const SHOWN: usize = 10;
        let cell = |cell: &&str| match cell.char_indices().nth(30) {
            Some((end, _)) => format!("`{}...`", &cell[..end]),
            None => format!("`{cell}`"),
        };
        let mut cells: Vec<String> = self.cells.iter().take(SHOWN).map(cell).collect();
        if self.cells.len() > SHOWN {
            cells.push(format!("{} more", self.cells.len() - SHOWN));
        }
        cells.join(", ")
    }
}

/// `Class Index` and `class_index` are one name.
fn usual(cell: &str) -> String {
    cell.to_lowercase().replace([' ', '-'], "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(first: &[&str], text: Option<&str>, label: Option<&str>) -> Result<Columns, String> {
        let fields = first.iter().map(|&cell| cell.to_owned()).collect();
        let table = Table {
            path: "a.csv".into(),
            has_columns: true,
            records: vec![Record { line: 1, fields }],
        };
        Columns::of(&table, text, label).map_err(|error| error.to_string())
    }

    fn found(
        first: &[&str],
        text: Option<&str>,
        label: Option<&str>,
    ) -> (bool, Vec<usize>, Option<(usize, i64)>) {
        let found = columns(first, text, label).unwrap();
        (
            found.header,
            found.text,
            found.label.map(|label| (label.at, label.base)),
        )
    }

    #[test]
    fn usual_names_make_a_header() {
        assert_eq!(
            found(&["label", "text"], None, None),
            (true, vec![1], Some((0, 0)))
        );
        assert_eq!(found(&["Text"], None, None), (true, vec![0], None));
        let kaggle = ["Class Index", "Title", "Description"];
        assert_eq!(found(&kaggle, None, None), (true, vec![1, 2], Some((0, 1))));
        assert_eq!(
            found(&["category", "x"], Some("x"), None),
            (true, vec![1], Some((0, 0)))
        );
    }

    #[test]
    fn without_a_header_the_first_column_is_the_label() {
        let published = ["3", "Fears for T N pension", "Unions say ..."];
        assert_eq!(
            found(&published, None, None),
            (false, vec![1, 2], Some((0, 1)))
        );
        assert_eq!(
            found(&published, Some("3"), None),
            (false, vec![2], Some((0, 1)))
        );
        assert_eq!(
            found(&published, Some("1+2"), Some("3")),
            (false, vec![0, 1], Some((2, 1)))
        );
        assert_eq!(found(&["just text"], None, None), (false, vec![0], None));
    }

    #[test]
    fn columns_are_joined_in_the_order_asked_for() {
        assert_eq!(
            found(&["a", "b", "y"], Some("b+a"), Some("y")),
            (true, vec![1, 0], Some((2, 0)))
        );
    }

    #[test]
    fn a_missing_column_lists_those_that_are_there() {
        assert_eq!(
            columns(&["label", "txt"], Some("text"), Some("label")).unwrap_err(),
            "no column `text` in a.csv (did you mean `txt`?); its first row has `label`, `txt`, \
             and without a header the columns are called 1, 2, 3, ..."
        );
        assert!(
            columns(&["4", "some text"], Some("3"), None)
                .unwrap_err()
                .starts_with("no column `3` in a.csv")
        );
        assert_eq!(
            columns(&["label", "essay"], None, None).unwrap_err(),
            "cannot tell the text column of a.csv: its columns are `label`, `essay`; name one with --text-column"
        );
    }
}
