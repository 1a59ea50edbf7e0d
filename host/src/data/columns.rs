//! Which columns hold what the task head learns from, and whether there is a header.

use lorahost_plugin_api::protocol::DataKind;

use super::error::DataError;
use super::table::{Cell, Names, Table};
use crate::nearest::nearest;
use crate::spec::DataSpec;

/// The columns of a table, by position from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Columns {
    /// The first record is not a row.
    pub header: bool,
    /// Joined by a space; of pairs the chosen text, of tags the words.
    pub text: Vec<usize>,
    pub label: Option<LabelColumn>,
    /// Of pairs.
    pub rejected: Option<usize>,
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
const TEXT_NAMES: &[&[&str]] = &[
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
const WORDS_NAMES: &[&[&str]] = &[&["tokens"], &["words"], &["text"], &["sentence"]];
const CHOSEN_NAMES: &[&[&str]] = &[&["chosen"]];
const REJECTED_NAMES: &[&str] = &["rejected"];
const LABEL_NAMES: &[&str] = &[
    "label",
    "labels",
    "class",
    "category",
    "class_index",
    "target",
];
const NUMBER_NAMES: &[&str] = &["label", "labels", "score", "target", "value", "rating"];
const TAGS_NAMES: &[&str] = &[
    "ner_tags",
    "tags",
    "labels",
    "label",
    "pos_tags",
    "chunk_tags",
];

/// The columns that are asked for, by name, and what they are for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub kind: DataKind,
    pub text: Option<&'a str>,
    pub label: Option<&'a str>,
    pub rejected: Option<&'a str>,
}

impl<'a> Wanted<'a> {
    pub fn of(spec: &'a DataSpec) -> Self {
        Self {
            kind: spec.kind,
            text: spec.text_column.as_deref(),
            label: spec.label_column.as_deref(),
            rejected: spec.rejected_column.as_deref(),
        }
    }

    fn usual_texts(&self) -> &'static [&'static [&'static str]] {
        match self.kind {
            DataKind::Pairs => CHOSEN_NAMES,
            DataKind::Tags => WORDS_NAMES,
            _ => TEXT_NAMES,
        }
    }

    fn usual_labels(&self) -> &'static [&'static str] {
        match self.kind {
            DataKind::Pairs => &[],
            DataKind::Tags => TAGS_NAMES,
            DataKind::Numbers => NUMBER_NAMES,
            _ => LABEL_NAMES,
        }
    }

    /// What a file needs to have columns for, where text alone is not enough.
    pub fn needs(&self) -> Option<&'static str> {
        match self.kind {
            DataKind::Classes | DataKind::Text | DataKind::Blocks => None,
            DataKind::Numbers => Some("texts with numbers"),
            DataKind::Tags => Some("words with tags"),
            DataKind::Pairs => Some("pairs of a chosen and a rejected text"),
        }
    }
}

impl Columns {
    /// Settles the columns from the names that were asked for, or from the usual ones.
    pub fn of(table: &Table, wanted: &Wanted<'_>) -> Result<Self, DataError> {
        let (cells, given) = match &table.names {
            Names::None => return Self::of_plain_text(table, wanted),
            Names::Given(names) => (names.iter().map(String::as_str).collect(), true),
            Names::FirstRecord => {
                fn text(cell: &Cell) -> &str {
                    match cell {
                        Cell::Text(text) => text.trim(),
                        _ => "",
                    }
                }
                (table.records[0].cells.iter().map(text).collect(), false)
            }
        };
        let names = ColumnNames {
            table,
            wanted,
            cells,
            given,
        };
        let texts: Vec<&str> = wanted.text.map_or(Vec::new(), |names| {
            names.split('+').map(str::trim).collect()
        });
        if given {
            return Ok(Self {
                header: false,
                ..names.under_header(&texts)?
            });
        }
        let all = texts.iter().copied().chain(wanted.label);
        let mut named = all.chain(wanted.rejected).peekable();
        let header = if named.peek().is_none() {
            names.usual_text().is_some()
                || names.usual_label(&[]).is_some()
                || wanted.kind == DataKind::Pairs && names.is_of_another_task()
        } else {
            // A row may well hold the number of a column: the class 3 of AG News.
            named.any(|name| name.parse::<usize>().is_err() && names.named(name).is_some())
        };
        if header {
            names.under_header(&texts)
        } else {
            names.numbered(&texts)
        }
    }

    fn of_plain_text(table: &Table, wanted: &Wanted<'_>) -> Result<Self, DataError> {
        let path = || table.path.clone();
        if let Some(name) = wanted.text.or(wanted.label).or(wanted.rejected) {
            return Err(DataError::PlainText {
                path: path(),
                name: name.to_owned(),
            });
        }
        match wanted.needs() {
            Some(needs) => Err(DataError::Lacks {
                path: path(),
                needs,
            }),
            None => Ok(Self {
                header: false,
                text: vec![0],
                label: None,
                rejected: None,
            }),
        }
    }
}

struct ColumnNames<'a> {
    table: &'a Table,
    wanted: &'a Wanted<'a>,
    cells: Vec<&'a str>,
    /// They are surely names; else they are what the first record holds.
    given: bool,
}

impl ColumnNames<'_> {
    /// Whether there are names that texts with labels have: two columns of those are no pairs.
    fn is_of_another_task(&self) -> bool {
        let texts = TEXT_NAMES.iter().copied().flatten();
        let mut known = texts.chain(LABEL_NAMES).chain(REJECTED_NAMES);
        known.any(|name| self.called(name).is_some())
    }

    fn under_header(&self, texts: &[&str]) -> Result<Columns, DataError> {
        let find = |name: &str| self.named(name).ok_or_else(|| self.missing(name));
        let text = if texts.is_empty() {
            self.usual_text().ok_or_else(|| self.none("text"))?
        } else {
            texts
                .iter()
                .map(|name| find(name))
                .collect::<Result<_, _>>()?
        };
        let label = match self.wanted.label {
            Some(name) => Some(find(name)?),
            None => self.usual_label(&text),
        };
        let label = label.map(|at| {
            let (base, why) = match (usual(self.cells[at]).as_str(), self.given) {
                ("class_index", _) => (1, "in a column called `Class Index`"),
                (_, true) => (0, "in a file whose columns have names"),
                (_, false) => (0, "in a file with a header"),
            };
            LabelColumn { at, base, why }
        });
        let rejected = match (self.wanted.kind, self.wanted.rejected) {
            (DataKind::Pairs, Some(name)) => Some(find(name)?),
            (DataKind::Pairs, None) => Some(
                REJECTED_NAMES
                    .iter()
                    .find_map(|name| self.called(name))
                    .ok_or_else(|| self.none("rejected"))?,
            ),
            _ => None,
        };
        self.complete(Columns {
            header: true,
            text,
            label,
            rejected,
        })
    }

    fn numbered(&self, texts: &[&str]) -> Result<Columns, DataError> {
        let width = self.cells.len();
        let find = |name: &str| match name.parse::<usize>() {
            Ok(number) if (1..=width).contains(&number) => Ok(number - 1),
            _ => Err(self.missing(name)),
        };
        let mut text: Vec<usize> = texts
            .iter()
            .map(|name| find(name))
            .collect::<Result<_, _>>()?;
        if self.wanted.kind == DataKind::Pairs {
            if width < 2 {
                return Err(self.none("rejected"));
            }
            let rejected = self.wanted.rejected.map_or(Ok(1), find)?;
            let chosen = usize::from(rejected == 0);
            return Ok(Columns {
                header: false,
                text: if text.is_empty() { vec![chosen] } else { text },
                label: None,
                rejected: Some(rejected),
            });
        }
        let label = match self.wanted.label {
            Some(name) => Some(find(name)?),
            None => (width > 1 && !text.contains(&0)).then_some(0),
        };
        if text.is_empty() {
            text = (0..width).filter(|&at| Some(at) != label).collect();
        }
        let why = "in a file without a header; add one (label,text) if they count from 0";
        self.complete(Columns {
            header: false,
            text,
            label: label.map(|at| LabelColumn { at, base: 1, why }),
            rejected: None,
        })
    }

    /// Numbers and tags are nothing without a label column.
    fn complete(&self, columns: Columns) -> Result<Columns, DataError> {
        let labelled = matches!(self.wanted.kind, DataKind::Numbers | DataKind::Tags);
        match columns.label {
            None if labelled => Err(self.none("label")),
            _ => Ok(columns),
        }
    }

    fn named(&self, name: &str) -> Option<usize> {
        self.cells.iter().position(|cell| *cell == name)
    }

    fn usual_text(&self) -> Option<Vec<usize>> {
        let mut groups = self.wanted.usual_texts().iter();
        groups.find_map(|group| group.iter().map(|name| self.called(name)).collect())
    }

    fn usual_label(&self, taken: &[usize]) -> Option<usize> {
        let mut names = self
            .wanted
            .usual_labels()
            .iter()
            .filter_map(|name| self.called(name));
        names.find(|at| !taken.contains(at))
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

    fn none(&self, what: &'static str) -> DataError {
        DataError::NoColumn {
            path: self.table.path.clone(),
            what,
            present: self.present(),
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
        let cells = cells.join(", ");
        if self.given {
            format!("its columns are {cells}")
        } else {
            format!(
                "its first row has {cells}, and without a header the columns are called 1, 2, 3, ..."
            )
        }
    }
}

/// `Class Index` and `class_index` are one name.
fn usual(cell: &str) -> String {
    cell.to_lowercase().replace([' ', '-'], "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::error::Unit;
    use crate::data::table::{ClassNames, Record};

    fn table(first: &[&str], given: bool) -> Table {
        let names = || first.iter().map(|&cell| cell.to_owned());
        Table {
            path: "a.csv".into(),
            names: if given {
                Names::Given(names().collect())
            } else {
                Names::FirstRecord
            },
            unit: Unit::Line,
            records: vec![Record {
                number: 1,
                cells: names().map(Cell::Text).collect(),
            }],
            class_names: ClassNames::new(),
        }
    }

    fn wanted<'a>(kind: DataKind, text: Option<&'a str>, label: Option<&'a str>) -> Wanted<'a> {
        Wanted {
            kind,
            text,
            label,
            rejected: None,
        }
    }

    fn columns(first: &[&str], text: Option<&str>, label: Option<&str>) -> Result<Columns, String> {
        let wanted = wanted(DataKind::Classes, text, label);
        Columns::of(&table(first, false), &wanted).map_err(|error| error.to_string())
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
    fn each_kind_has_its_own_usual_names() {
        let of = |kind: DataKind, names: &[&str]| {
            Columns::of(&table(names, true), &wanted(kind, None, None))
                .map_err(|error| error.to_string())
        };
        let tags = of(DataKind::Tags, &["id", "tokens", "pos_tags", "ner_tags"]).unwrap();
        assert_eq!((tags.text, tags.label.unwrap().at), (vec![1], 3));
        let pairs = of(DataKind::Pairs, &["rejected", "chosen"]).unwrap();
        assert_eq!((pairs.text, pairs.rejected), (vec![1], Some(0)));
        assert!(!pairs.header);
        let numbers = of(DataKind::Numbers, &["sentence1", "sentence2", "score"]).unwrap();
        assert_eq!((numbers.text, numbers.label.unwrap().at), (vec![0, 1], 2));
        assert_eq!(
            of(DataKind::Pairs, &["chosen", "other"]).unwrap_err(),
            "cannot tell the rejected column of a.csv: its columns are `chosen`, `other`; \
             name one with --rejected-column"
        );
        assert_eq!(
            of(DataKind::Tags, &["tokens"]).unwrap_err(),
            "cannot tell the label column of a.csv: its columns are `tokens`; name one with --label-column"
        );
        let headless = table(&["good", "bad"], false);
        let headless = Columns::of(&headless, &wanted(DataKind::Pairs, None, None)).unwrap();
        assert_eq!((headless.text, headless.rejected), (vec![0], Some(1)));
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
            "cannot tell the text column of a.csv: its first row has `label`, `essay`, \
             and without a header the columns are called 1, 2, 3, ...; name one with --text-column"
        );
    }
}
