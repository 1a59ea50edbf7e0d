//! A file's rows as cells in columns, each with its place.

use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use super::delimited::{self, Dialect};
use super::error::{DataError, Place, Unit};
use super::{json_lines, parquet_file};

/// Ends of the names of files that can be read, best first: where a data set of the hub has a split in several formats,
/// the first of these is taken.
pub const FORMATS: [&str; 6] = ["parquet", "csv", "tsv", "jsonl", "json", "txt"];

/// A line of JSON may be that long: more is no row of text, and memory is not taken for it.
pub(super) const MOST_MIB: usize = 64;

/// At least one record, all with the same number of cells.
#[derive(Debug)]
pub(super) struct Table {
    pub path: PathBuf,
    pub names: Names,
    /// What the records are counted in.
    pub unit: Unit,
    pub records: Vec<Record>,
    /// The names of a column's classes, by column, where the file itself tells them.
    pub class_names: ClassNames,
}

/// Class names by column.
pub(super) type ClassNames = BTreeMap<String, Vec<String>>;

/// Whether the columns have names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// Plain text: one column and no name for it.
    None,
    /// Perhaps the cells of the first record are names.
    FirstRecord,
    Given(Vec<String>),
}

#[derive(Debug, PartialEq)]
pub(super) struct Record {
    /// Line in which it starts, or its row, from 1.
    pub number: u64,
    pub cells: Vec<Cell>,
}

/// What stands in a column of a record.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Cell>),
    /// Something that is no value and no list of values.
    Other(&'static str),
}

impl Cell {
    /// What it is, for errors and listings.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Int(_) => "an integer",
            Self::Float(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Other(kind) => kind,
        }
    }
}

impl Table {
    pub fn place(&self, record: &Record) -> Place {
        Place {
            path: self.path.clone(),
            unit: self.unit,
            number: record.number,
        }
    }
}

/// How a file is read, by the end of its name: one of [`FORMATS`].
pub(super) fn format_of(path: &Path) -> Result<&'static str, DataError> {
    let extension = path.extension().unwrap_or_default();
    FORMATS
        .into_iter()
        .find(|format| extension.eq_ignore_ascii_case(format))
        .ok_or_else(|| DataError::UnknownFormat {
            path: path.to_owned(),
        })
}

/// What becomes of the lines of plain text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lines {
    /// Without the white space around them; blank ones are no rows.
    Trimmed,
    /// Each with its line feed, blank ones too: together they are the file.
    Whole,
}

/// Reads a file of one of [`FORMATS`].
pub(super) fn read_table(path: &Path, lines: Lines) -> Result<Table, DataError> {
    let format = format_of(path)?;
    let open = || std::fs::File::open(path).map_err(|source| read_error(path, source));
    let table = |names, records| Table {
        path: path.to_owned(),
        names,
        unit: Unit::Line,
        records,
        class_names: ClassNames::new(),
    };
    let table = match format {
        "parquet" => parquet_file::read(open()?, path)?,
        "json" | "jsonl" => {
            let (names, records) = json_lines::read(BufReader::new(open()?), path)?;
            table(Names::Given(names), records)
        }
        _ => {
            let mut bytes = Vec::new();
            open()?
                .read_to_end(&mut bytes)
                .map_err(|source| read_error(path, source))?;
            let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
            match format {
                "txt" => table(Names::None, plain_lines(bytes, lines, path)?),
                "tsv" => table(
                    Names::FirstRecord,
                    delimited::read(bytes, Dialect::Tsv, path)?,
                ),
                _ => table(
                    Names::FirstRecord,
                    delimited::read(bytes, Dialect::Csv, path)?,
                ),
            }
        }
    };
    if table.records.is_empty() {
        return Err(DataError::Empty {
            path: path.to_owned(),
        });
    }
    Ok(table)
}

pub(super) fn read_error(path: &Path, source: std::io::Error) -> DataError {
    DataError::Read {
        path: path.to_owned(),
        source,
    }
}

fn plain_lines(bytes: &[u8], lines: Lines, path: &Path) -> Result<Vec<Record>, DataError> {
    let mut records = Vec::new();
    for (number, bytes) in (1..).zip(bytes.split_inclusive(|&byte| byte == b'\n')) {
        let text = std::str::from_utf8(bytes).map_err(|_| DataError::NotUtf8 {
            place: Place {
                path: path.to_owned(),
                unit: Unit::Line,
                number,
            },
        })?;
        let text = match lines {
            Lines::Trimmed => text.trim(),
            Lines::Whole => text,
        };
        if !text.is_empty() {
            records.push(Record {
                number,
                cells: vec![Cell::Text(text.to_owned())],
            });
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, content: impl AsRef<[u8]>) -> Result<Table, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let prefix = format!("{}/", folder.path().display());
        read_table(&path, Lines::Trimmed).map_err(|error| error.to_string().replace(&prefix, ""))
    }

    fn rows(table: &Table) -> Vec<(u64, Vec<&str>)> {
        fn text(cell: &Cell) -> &str {
            match cell {
                Cell::Text(text) => text,
                _ => "?",
            }
        }
        table
            .records
            .iter()
            .map(|row| (row.number, row.cells.iter().map(text).collect()))
            .collect()
    }

    #[test]
    fn csv_has_quotes_commas_and_line_breaks() {
        let table = read("a.csv", "1,\"a, \"\"b\"\"\nc\",x\n\n2,d,\"\"\n").unwrap();
        assert_eq!(
            rows(&table),
            [(1, vec!["1", "a, \"b\"\nc", "x"]), (4, vec!["2", "d", ""])]
        );
    }

    #[test]
    fn lines_are_counted_under_any_line_end() {
        let table = read("a.csv", "\u{feff}1,a\r\n2,b\r\n\r\n3,c").unwrap();
        assert_eq!(
            rows(&table),
            [
                (1, vec!["1", "a"]),
                (2, vec!["2", "b"]),
                (4, vec!["3", "c"])
            ]
        );
        let table = read("a.txt", "\u{feff}one\r\n\r\n two \n").unwrap();
        assert_eq!(rows(&table), [(1, vec!["one"]), (3, vec!["two"])]);
    }

    #[test]
    fn whole_lines_are_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        let text = " one \r\n\n\ttwo";
        std::fs::write(&path, text).unwrap();
        let table = read_table(&path, Lines::Whole).unwrap();
        let lines: Vec<&str> = rows(&table).into_iter().flat_map(|(_, row)| row).collect();
        assert_eq!(lines, [" one \r\n", "\n", "\ttwo"]);
        assert_eq!(lines.concat(), text);
    }

    #[test]
    fn tsv_has_no_quotes() {
        let table = read("a.tsv", "1\tsay \"x\n2\t\"y\n").unwrap();
        assert_eq!(
            rows(&table),
            [(1, vec!["1", "say \"x"]), (2, vec!["2", "\"y"])]
        );
    }

    #[test]
    fn bad_rows_are_named_by_line() {
        for (content, message) in [
            (
                "a,b\n1,2\n\n3\n".as_bytes(),
                "line 4 of a.csv has 1 fields where the first row has 2",
            ),
            (
                b"a,b\n1,2\n3,\"x\n4,5\n",
                "a quote in the row that starts in line 3 of a.csv is never closed",
            ),
            (
                b"a,b\n3,\"x",
                "a quote in the row that starts in line 2 of a.csv is never closed",
            ),
            (
                b"a,b\n1,\xff\n",
                "line 2 of a.csv is not UTF-8: convert the file",
            ),
            (b"", "a.csv has no rows"),
            (b"\n\n", "a.csv has no rows"),
        ] {
            assert_eq!(read("a.csv", content).unwrap_err(), message);
        }
        assert_eq!(
            read("a.txt", b"ok\n\xff\n").unwrap_err(),
            "line 2 of a.txt is not UTF-8: convert the file"
        );
        assert!(
            read("a.xml", "{}")
                .unwrap_err()
                .starts_with("cannot tell the format of a.xml")
        );
    }
}
