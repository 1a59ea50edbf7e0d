//! JSON Lines: one object a line.

use std::collections::HashMap;
use std::io::{BufRead, Read};
use std::path::Path;

use serde_json::{Map, Value};

use super::error::{DataError, Place, Unit};
use super::table::{Cell, MOST_MIB, Record, read_error};

/// Each row has a cell for every key of the file: keys that are data, one or more a row, would fill the memory.
const MOST_COLUMNS: usize = 1000;

/// The columns, in the order in which their keys first appear, and the rows; a key that a row has not is
/// [`Cell::Null`] there. Blank lines are no rows.
pub(super) fn read(
    mut source: impl BufRead,
    path: &Path,
) -> Result<(Vec<String>, Vec<Record>), DataError> {
    let mut names: Vec<String> = Vec::new();
    let mut columns: HashMap<String, usize> = HashMap::new();
    let mut records: Vec<Record> = Vec::new();
    let mut bytes = Vec::new();
    for number in 1.. {
        let place = || Place {
            path: path.to_owned(),
            unit: Unit::Line,
            number,
        };
        bytes.clear();
        let most = MOST_MIB << 20;
        source
            .by_ref()
            .take(most as u64 + 1)
            .read_until(b'\n', &mut bytes)
            .map_err(|source| read_error(path, source))?;
        if bytes.is_empty() {
            break;
        }
        if bytes.len() > most {
            return Err(DataError::LongLine {
                place: place(),
                most: MOST_MIB,
            });
        }
        let text = match bytes.strip_prefix(b"\xef\xbb\xbf") {
            Some(rest) if number == 1 => rest,
            _ => &bytes,
        };
        let text = str::from_utf8(text).map_err(|_| DataError::NotUtf8 { place: place() })?;
        if text.trim().is_empty() {
            continue;
        }
        let object: Map<String, Value> =
            serde_json::from_str(text.trim_end()).map_err(|error| DataError::Json {
                place: place(),
                problem: problem(text, &error),
            })?;
        let unseen = object.keys().filter(|key| !columns.contains_key(*key));
        if names.len() + unseen.count() > MOST_COLUMNS {
            return Err(DataError::ManyColumns {
                place: place(),
                most: MOST_COLUMNS,
            });
        }
        let mut cells = vec![Cell::Null; names.len()];
        for (key, value) in object {
            let at = *columns.entry(key).or_insert_with_key(|key| {
                names.push(key.clone());
                cells.push(Cell::Null);
                names.len() - 1
            });
            cells[at] = cell(value);
        }
        records.push(Record { number, cells });
    }
    for record in &mut records {
        record.cells.resize(names.len(), Cell::Null);
    }
    Ok((names, records))
}

/// What is wrong with a line, without the parser's own count of lines.
fn problem(text: &str, error: &serde_json::Error) -> String {
    if text.trim_start().starts_with('[') {
        return "it begins a list".to_owned();
    }
    let message = error.to_string();
    match message.rsplit_once(" at line ") {
        Some((what, _)) => format!("{what} at column {}", error.column()),
        None => message,
    }
}

fn cell(value: Value) -> Cell {
    match value {
        Value::Null => Cell::Null,
        Value::Bool(value) => Cell::Bool(value),
        Value::Number(number) => match number.as_i64() {
            Some(number) => Cell::Int(number),
            None => Cell::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => Cell::Text(text),
        Value::Array(values) => Cell::List(values.into_iter().map(cell).collect()),
        Value::Object(_) => Cell::Other("an object"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Result<(Vec<String>, Vec<Record>), String> {
        read(text.as_bytes(), Path::new("a.jsonl")).map_err(|error| error.to_string())
    }

    #[test]
    fn keys_are_columns_whichever_row_brings_them() {
        let (names, records) = rows(
            "\u{feff}{\"text\": \"a\", \"n\": 1}\n\n{\"n\": 0.5, \"extra\": [true, \"x\", null, {}]}\r\n",
        )
        .unwrap();
        assert_eq!(names, ["text", "n", "extra"]);
        let text = |text: &str| Cell::Text(text.to_owned());
        assert_eq!(
            records,
            [
                Record {
                    number: 1,
                    cells: vec![text("a"), Cell::Int(1), Cell::Null]
                },
                Record {
                    number: 3,
                    cells: vec![
                        Cell::Null,
                        Cell::Float(0.5),
                        Cell::List(vec![
                            Cell::Bool(true),
                            text("x"),
                            Cell::Null,
                            Cell::Other("an object")
                        ]),
                    ]
                },
            ]
        );
    }

    #[test]
    fn a_broken_line_is_named() {
        let wrong = |text: &str| rows(text).unwrap_err();
        assert_eq!(
            wrong("{\"text\": \"a\"}\n{\"text\": }\n"),
            "line 2 of a.jsonl is not a JSON object: expected value at column 10; \
             a .json or .jsonl file has one object a line"
        );
        assert!(
            wrong("[{\"text\": 1}]\n")
                .contains("line 1 of a.jsonl is not a JSON object: it begins a list")
        );
        assert!(wrong("\"text\"\n").contains("invalid type: string \"text\", expected a map"));
        assert!(wrong("{\"text\": \"a\"\n").contains("EOF while parsing"));
        let deep = format!("{{\"text\": {}}}", "[".repeat(100_000));
        assert!(wrong(&deep).contains("recursion limit exceeded"));
    }

    #[test]
    fn keys_that_are_data_are_refused() {
        let lines = |count| {
            let lines = (0..count).map(|n| format!("{{\"{n}\": 1}}"));
            lines.collect::<Vec<_>>().join("\n")
        };
        assert_eq!(rows(&lines(1000)).unwrap().0.len(), 1000);
        assert_eq!(
            rows(&lines(1001)).unwrap_err(),
            "line 1001 of a.jsonl brings the file's keys to more than 1000: all rows are expected to have the same few \
             keys"
        );
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let endless = std::io::BufReader::new(std::io::repeat(b'a'));
        let error = read(endless, Path::new("a.jsonl")).unwrap_err().to_string();
        assert_eq!(
            error,
            "line 1 of a.jsonl is longer than 64 MiB: a row of text is expected in each line"
        );
    }
}
