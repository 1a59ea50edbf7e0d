//! CSV and TSV.

use std::io::Read;
use std::path::Path;

use csv::ByteRecord;

use super::error::{DataError, Place, Unit};
use super::table::{Cell, Record};

/// RFC 4180 with quotes, or tabs without quoting.
#[derive(Debug, Clone, Copy)]
pub(super) enum Dialect {
    Csv,
    Tsv,
}

/// A record after the end of the file. A quote left open swallows it, which the csv crate does not report.
const END: &[u8] = b"\n\0end of file\0\n";

/// The records of a file, all with the same number of cells.
pub(super) fn read(bytes: &[u8], dialect: Dialect, path: &Path) -> Result<Vec<Record>, DataError> {
    let mut builder = csv::ReaderBuilder::new();
    if let Dialect::Tsv = dialect {
        builder.delimiter(b'\t').quoting(false);
    }
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
        let place = || Place {
            path: path.to_owned(),
            unit: Unit::Line,
            number: line,
        };
        if !more || lines.at >= bytes.len() {
            return Ok(records);
        }
        if raw
            .iter()
            .next_back()
            .is_some_and(|field| field.ends_with(END) || field.ends_with(END.trim_ascii_end()))
        {
            return Err(DataError::OpenQuote { place: place() });
        }
        let cells = raw
            .iter()
            .map(|field| String::from_utf8(field.to_vec()).map(Cell::Text))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| DataError::NotUtf8 { place: place() })?;
        let expected = records
            .first()
            .map_or(cells.len(), |first| first.cells.len());
        if cells.len() != expected {
            return Err(DataError::FieldCount {
                place: place(),
                found: cells.len(),
                expected,
            });
        }
        records.push(Record {
            number: line,
            cells,
        });
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
