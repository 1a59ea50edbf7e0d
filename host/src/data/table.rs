//! A file's rows as strings, each with its line number.

use std::io::Read;
use std::path::{Path, PathBuf};

use csv::ByteRecord;

use super::error::DataError;

/// Ends of the names of files that can be read.
pub(super) const FORMATS: [&str; 3] = ["csv", "tsv", "txt"];

/// At least one record, all with the same number of fields.
#[derive(Debug)]
pub(super) struct Table {
    pub path: PathBuf,
    /// False for plain text, whose records have one field and no name for it.
    pub has_columns: bool,
    pub records: Vec<Record>,
}

#[derive(Debug)]
pub(super) struct Record {
    /// Line in which it starts, from 1.
    pub line: u64,
    pub fields: Vec<String>,
}

/// How a file is read: as `csv`, `tsv` or `txt`, by the end of its name.
pub(super) fn format_of(path: &Path) -> Result<&'static str, DataError> {
    let extension = path.extension().unwrap_or_default();
    FORMATS
        .into_iter()
        .find(|format| extension.eq_ignore_ascii_case(format))
        .ok_or_else(|| DataError::UnknownFormat {
            path: path.to_owned(),
        })
}

/// Reads a `.csv`, `.tsv` or `.txt` file.
pub(super) fn read_table(path: &Path) -> Result<Table, DataError> {
    let format = format_of(path)?;
    let bytes = std::fs::read(path).map_err(|source| DataError::Read {
        path: path.to_owned(),
        source,
    })?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let records = match format {
        "txt" => plain_lines(bytes, path)?,
        "tsv" => delimited(
            bytes,
            csv::ReaderBuilder::new().delimiter(b'\t').quoting(false),
            path,
        )?,
        _ => delimited(bytes, &mut csv::ReaderBuilder::new(), path)?,
    };
    if records.is_empty() {
        return Err(DataError::Empty {
            path: path.to_owned(),
        });
    }
    Ok(Table {
        path: path.to_owned(),
        has_columns: format != "txt",
        records,
    })
}

fn plain_lines(bytes: &[u8], path: &Path) -> Result<Vec<Record>, DataError> {
    let mut records = Vec::new();
    for (line, bytes) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
        let text = std::str::from_utf8(bytes).map_err(|_| DataError::NotUtf8 {
            path: path.to_owned(),
            line,
        })?;
        if !text.trim().is_empty() {
            records.push(Record {
                line,
                fields: vec![text.trim().to_owned()],
            });
        }
    }
    Ok(records)
}

/// A record after the end of the file. A quote left open swallows it, which the csv crate does not report.
const END: &[u8] = b"\n\0end of file\0\n";

fn delimited(
    bytes: &[u8],
    builder: &mut csv::ReaderBuilder,
    path: &Path,
) -> Result<Vec<Record>, DataError> {
    let mut reader = builder
        .has_headers(false)
        .flexible(true)
        .from_reader(bytes.chain(END));
    let mut lines = LineCounter {
        bytes,
        at: 0,
        line: 1,
    };
    let mut records: Vec<Record> = Vec::new();
    let mut raw = ByteRecord::new();
    loop {
        let more = reader
            .read_byte_record(&mut raw)
            .map_err(|error| DataError::Read {
                path: path.to_owned(),
                source: error.into(),
            })?;
        let start = raw.position().map_or(0, csv::Position::byte) as usize;
        let line = lines.line_of_record(start);
        if !more || lines.at >= bytes.len() {
            return Ok(records);
        }
        if raw
            .iter()
            .next_back()
            .is_some_and(|field| field.ends_with(END) || field.ends_with(END.trim_ascii_end()))
        {
            return Err(DataError::OpenQuote {
                path: path.to_owned(),
                line,
            });
        }
        let fields = raw
            .iter()
            .map(|field| String::from_utf8(field.to_vec()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| DataError::NotUtf8 {
                path: path.to_owned(),
                line,
            })?;
        let expected = records
            .first()
            .map_or(fields.len(), |first| first.fields.len());
        if fields.len() != expected {
            return Err(DataError::FieldCount {
                path: path.to_owned(),
                line,
                found: fields.len(),
                expected,
            });
        }
        records.push(Record { line, fields });
    }
}

/// Counts lines up to a record's start. The csv crate gives the position where the last record ended, which may lie
/// before a line feed or before blank lines.
struct LineCounter<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u64,
}

impl LineCounter<'_> {
    fn line_of_record(&mut self, start: usize) -> u64 {
        while self.at < self.bytes.len()
            && (self.at < start || b"\r\n".contains(&self.bytes[self.at]))
        {
            self.line += u64::from(self.bytes[self.at] == b'\n');
            self.at += 1;
        }
        self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, content: impl AsRef<[u8]>) -> Result<Table, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let prefix = format!("{}/", folder.path().display());
        read_table(&path).map_err(|error| error.to_string().replace(&prefix, ""))
    }

    fn rows(table: &Table) -> Vec<(u64, Vec<&str>)> {
        table
            .records
            .iter()
            .map(|row| (row.line, row.fields.iter().map(String::as_str).collect()))
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
            read("a.json", "{}")
                .unwrap_err()
                .starts_with("cannot tell the format of a.json")
        );
    }
}
