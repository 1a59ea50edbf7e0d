//! Parquet: columns of values and of lists of values; what lies deeper is told apart and not read.

use std::collections::BTreeMap;
use std::path::Path;

use parquet::basic::{ConvertedType, LogicalType, Repetition, Type as Physical};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::{ByteArray, DataType};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, FileReader, RowGroupReader, SerializedFileReader};
use parquet::schema::types::{SchemaDescriptor, Type};
use serde_json::Value;

use super::error::{DataError, Unit};
use super::features::class_names;
use super::parquet_pages::{Budget, CheckedPages};
use super::table::{Cell, ClassNames, Names, Record, Table};

/// Records that are read at a time, so that no count that the file claims takes memory by itself.
const CHUNK: usize = 1024;

/// What a file may unpack to: this much whatever its size, since labels pack well, and so many times its size.
const LEAST_UNPACKED: u64 = 1 << 30;
const UNPACKED_TIMES: u64 = 32;

/// Reads all row groups; the names of classes are those that `datasets` writes into the file.
pub(super) fn read(file: impl ChunkReader + 'static, path: &Path) -> Result<Table, DataError> {
    let most = UNPACKED_TIMES
        .saturating_mul(file.len())
        .saturating_add(LEAST_UNPACKED);
    read_within(file, path, most)
}

/// As [`read`], of a file that may unpack to `most` bytes.
fn read_within(
    file: impl ChunkReader + 'static,
    path: &Path,
    most: u64,
) -> Result<Table, DataError> {
    let (length, budget) = (file.len(), Budget::of(most));
    let failed = |error: ParquetError| {
        if budget.is_spent() {
            return DataError::Unpacks {
                path: path.to_owned(),
                bytes: length,
                most,
            };
        }
        let text = error.to_string();
        let problem = text.strip_prefix("Parquet error: ").unwrap_or(&text);
        DataError::Parquet {
            path: path.to_owned(),
            problem: problem.lines().next().unwrap_or_default().to_owned(),
        }
    };
    let reader = SerializedFileReader::new(file).map_err(failed)?;
    let schema = reader.metadata().file_metadata().schema_descr();
    let columns = columns(schema);
    let mut records: Vec<Record> = Vec::new();
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group).map_err(failed)?;
        append(&mut records, &columns, group.as_ref(), length, &budget).map_err(failed)?;
    }
    Ok(Table {
        path: path.to_owned(),
        names: Names::Given(columns.into_iter().map(|column| column.name).collect()),
        unit: Unit::Row,
        records,
        class_names: embedded_names(&reader),
    })
}

/// What `datasets` says of its features in the file's metadata; nothing where it says nothing.
fn embedded_names<R: ChunkReader + 'static>(reader: &SerializedFileReader<R>) -> ClassNames {
    let metadata = reader.metadata().file_metadata().key_value_metadata();
    let entry = metadata
        .into_iter()
        .flatten()
        .find(|entry| entry.key == "huggingface");
    entry
        .and_then(|entry| serde_json::from_str::<Value>(entry.value.as_deref()?).ok())
        .map_or_else(ClassNames::new, |value| {
            class_names(&value["info"]["features"])
        })
}

struct Column {
    name: String,
    form: Form,
}

/// How a column's cells are put together.
enum Form {
    Value {
        leaf: usize,
    },
    /// `filled` is the definition level from which on the list has an element.
    List {
        leaf: usize,
        filled: i16,
    },
    Other(&'static str),
}

/// The columns of the schema's root.
fn columns(schema: &SchemaDescriptor) -> Vec<Column> {
    let mut leaves: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for leaf in 0..schema.num_columns() {
        leaves
            .entry(schema.get_column_root_idx(leaf))
            .or_default()
            .push(leaf);
    }
    let roots = schema.root_schema().get_fields();
    let column = |(at, leaves): (usize, Vec<usize>)| Column {
        name: roots[at].name().to_owned(),
        form: match leaves[..] {
            [leaf] => form(&roots[at], leaf),
            _ => Form::Other("a structure"),
        },
    };
    leaves.into_iter().map(column).collect()
}

/// The form of a column that has one leaf.
fn form(root: &Type, leaf: usize) -> Form {
    let optional = i16::from(is(root, Repetition::OPTIONAL));
    if root.is_primitive() {
        return match unread(root) {
            Some(kind) => Form::Other(kind),
            None if is(root, Repetition::REPEATED) => Form::List { leaf, filled: 1 },
            None => Form::Value { leaf },
        };
    }
    // group NAME (LIST) { repeated group list { element } }, or the older { repeated element }
    let deeper = Form::Other("a structure");
    let [repeated] = root.get_fields() else {
        return deeper;
    };
    if !is(repeated, Repetition::REPEATED) || is(root, Repetition::REPEATED) {
        return deeper;
    }
    let element = if repeated.is_primitive() {
        repeated
    } else {
        &repeated.get_fields()[0]
    };
    if !element.is_primitive()
        || (element.name() != repeated.name() && is(element, Repetition::REPEATED))
    {
        return deeper;
    }
    match unread(element) {
        Some(_) => deeper,
        None => Form::List {
            leaf,
            filled: optional + 1,
        },
    }
}

fn is(node: &Type, repetition: Repetition) -> bool {
    let info = node.get_basic_info();
    info.has_repetition() && info.repetition() == repetition
}

/// What a value is that is neither text nor a number.
fn unread(node: &Type) -> Option<&'static str> {
    let info = node.get_basic_info();
    let (logical, converted) = (info.logical_type_ref(), info.converted_type());
    match node.get_physical_type() {
        Physical::BOOLEAN | Physical::FLOAT | Physical::DOUBLE => None,
        Physical::INT32 | Physical::INT64 => {
            let plain = matches!(logical, None | Some(LogicalType::Integer { .. }));
            let dated = matches!(
                converted,
                ConvertedType::DATE
                    | ConvertedType::TIME_MILLIS
                    | ConvertedType::TIME_MICROS
                    | ConvertedType::TIMESTAMP_MILLIS
                    | ConvertedType::TIMESTAMP_MICROS
                    | ConvertedType::DECIMAL
            );
            (!plain || dated).then_some("a date, time or decimal")
        }
        Physical::BYTE_ARRAY => {
            let text = matches!(logical, Some(LogicalType::String))
                || matches!(converted, ConvertedType::UTF8);
            (!text).then_some("bytes")
        }
        _ => Some("bytes"),
    }
}

/// Adds the rows of a group.
fn append(
    records: &mut Vec<Record>,
    columns: &[Column],
    group: &dyn RowGroupReader,
    length: u64,
    budget: &Budget,
) -> Result<(), ParquetError> {
    check_places(group.metadata(), length)?;
    let rows = usize::try_from(group.metadata().num_rows())
        .map_err(|_| ParquetError::General("a negative number of rows".to_owned()))?;
    let mut cells = Vec::with_capacity(columns.len());
    for column in columns {
        let of_column = match column.form {
            Form::Value { leaf } => Some(read_column(group, leaf, None, rows, budget)?),
            Form::List { leaf, filled } => {
                Some(read_column(group, leaf, Some(filled), rows, budget)?)
            }
            Form::Other(_) => None,
        };
        cells.push(of_column.map(Vec::into_iter));
    }
    if cells.iter().all(Option::is_none) {
        return Err(ParquetError::General(
            "it has no column of text or numbers".to_owned(),
        ));
    }
    budget.take(rows.saturating_mul(columns.len()), size_of::<Cell>())?;
    for _ in 0..rows {
        let row = columns.iter().zip(&mut cells);
        let row = row.map(|(column, cells)| match column.form {
            Form::Other(kind) => Cell::Other(kind),
            _ => cells
                .as_mut()
                .and_then(Iterator::next)
                .unwrap_or(Cell::Null),
        });
        records.push(Record {
            number: records.len() as u64 + 1,
            cells: row.collect(),
        });
    }
    Ok(())
}

/// The columns must lie in the file, which the reader takes for granted.
fn check_places(group: &RowGroupMetaData, length: u64) -> Result<(), ParquetError> {
    let inside = |column: &ColumnChunkMetaData| {
        let start = column
            .dictionary_page_offset()
            .unwrap_or(column.data_page_offset());
        let end = start.checked_add(column.compressed_size())?;
        let end = u64::try_from(end).ok()?;
        Some(start >= 0 && column.compressed_size() >= 0 && end <= length)
    };
    let columns = group.columns().iter();
    if columns.map(inside).all(|inside| inside == Some(true)) {
        Ok(())
    } else {
        Err(ParquetError::General(
            "a column lies outside the file".to_owned(),
        ))
    }
}

/// One cell for each of the `rows` of a column; `filled` is that of [`Form::List`].
fn read_column(
    group: &dyn RowGroupReader,
    leaf: usize,
    filled: Option<i16>,
    rows: usize,
    budget: &Budget,
) -> Result<Vec<Cell>, ParquetError> {
    let description = group.metadata().column(leaf).column_descr();
    let shape = Shape {
        name: description.name(),
        most: description.max_def_level(),
        filled,
        rows,
    };
    let text = |value: &ByteArray| {
        budget.take(value.len(), 1)?;
        str::from_utf8(value.data())
            .map(|text| Cell::Text(text.to_owned()))
            .map_err(|_| ParquetError::General("a text that is not UTF-8".to_owned()))
    };
    let int = |value: i64| Ok(Cell::Int(value));
    let pages = CheckedPages::new(group.get_column_page_reader(leaf)?, budget.clone());
    match get_column_reader(
        group.metadata().column(leaf).column_descr_ptr(),
        Box::new(pages),
    ) {
        ColumnReader::BoolColumnReader(reader) => {
            read_cells(reader, &shape, |&value| Ok(Cell::Bool(value)))
        }
        ColumnReader::Int32ColumnReader(reader) => {
            read_cells(reader, &shape, |&value| int(value.into()))
        }
        ColumnReader::Int64ColumnReader(reader) => read_cells(reader, &shape, |&value| int(value)),
        ColumnReader::FloatColumnReader(reader) => {
            read_cells(reader, &shape, |&value| Ok(Cell::Float(value.into())))
        }
        ColumnReader::DoubleColumnReader(reader) => {
            read_cells(reader, &shape, |&value| Ok(Cell::Float(value)))
        }
        ColumnReader::ByteArrayColumnReader(reader) => read_cells(reader, &shape, text),
        _ => Err(ParquetError::General("a column of bytes".to_owned())),
    }
}

/// What is known of a column before it is read.
struct Shape<'a> {
    name: &'a str,
    /// The definition level of a value that is there.
    most: i16,
    /// Of a list, as in [`Form::List`].
    filled: Option<i16>,
    rows: usize,
}

fn read_cells<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    shape: &Shape<'_>,
    cell: impl Fn(&T::T) -> Result<Cell, ParquetError>,
) -> Result<Vec<Cell>, ParquetError> {
    let &Shape {
        name,
        most,
        filled,
        rows,
    } = shape;
    let mut cells = Vec::new();
    let (mut defined, mut repeated, mut values) = (Vec::new(), Vec::new(), Vec::new());
    while cells.len() < rows {
        defined.clear();
        repeated.clear();
        values.clear();
        let chunk = CHUNK.min(rows - cells.len());
        let (read, _, levels) =
            reader.read_records(chunk, Some(&mut defined), Some(&mut repeated), &mut values)?;
        if read == 0 {
            return Err(ParquetError::General(format!(
                "its column {name} has {} of {rows} rows",
                cells.len()
            )));
        }
        let mut values = values.iter();
        for level in 0..levels {
            // A column that is required has no levels: every value is there.
            let level_of_value = defined.get(level).copied().unwrap_or(most);
            let value = if level_of_value == most {
                match values.next() {
                    Some(value) => cell(value)?,
                    None => return Err(ParquetError::General("values are missing".to_owned())),
                }
            } else {
                Cell::Null
            };
            let Some(filled) = filled else {
                cells.push(value);
                continue;
            };
            if repeated.get(level).is_none_or(|&level| level == 0) {
                let absent = level_of_value + 1 < filled;
                cells.push(if absent {
                    Cell::Null
                } else {
                    Cell::List(Vec::new())
                });
            }
            if let (true, Some(Cell::List(list))) = (level_of_value >= filled, cells.last_mut()) {
                list.push(value);
            }
        }
    }
    Ok(cells)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use parquet::data_type::{ByteArrayType, Int32Type};
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;

    /// Made by `scripts/references/parquet.py`.
    fn forms() -> Vec<u8> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/data/references/parquet");
        fs::read(folder.join("forms.parquet")).unwrap()
    }

    fn read_bytes(bytes: Vec<u8>) -> Result<Table, DataError> {
        read(bytes::Bytes::from(bytes), Path::new("a.parquet"))
    }

    #[test]
    fn every_form_of_column_is_read_or_told_apart() {
        let table = read_bytes(forms()).unwrap();
        let Names::Given(names) = &table.names else {
            panic!("Parquet has names")
        };
        assert_eq!(
            names.join(" "),
            "required optional bool int8 int64 float double bytes day record single list full deep records"
        );
        let text = |text: &str| Cell::Text(text.to_owned());
        let (bytes, day) = (Cell::Other("bytes"), Cell::Other("a date, time or decimal"));
        let deep = Cell::Other("a structure");
        let list = |cells: &[Cell]| Cell::List(cells.to_vec());
        let deeper = [bytes, day, deep.clone(), deep.clone()];
        let rows = [
            (
                vec![
                    text("a"),
                    text("b"),
                    Cell::Bool(true),
                    Cell::Int(1),
                    Cell::Int(1 << 40),
                    Cell::Float(0.5),
                    Cell::Float(0.1),
                ],
                [
                    list(&[text("p"), Cell::Null, text("q")]),
                    list(&[Cell::Int(1), Cell::Int(2)]),
                ],
            ),
            (
                vec![
                    text("c"),
                    Cell::Null,
                    Cell::Null,
                    Cell::Null,
                    Cell::Null,
                    Cell::Null,
                    Cell::Null,
                ],
                [Cell::Null, list(&[])],
            ),
            (
                vec![
                    text("d"),
                    text(""),
                    Cell::Bool(false),
                    Cell::Int(-1),
                    Cell::Int(-1),
                    Cell::Float(-1.5),
                    Cell::Float(1e300),
                ],
                [list(&[]), list(&[Cell::Int(3)])],
            ),
        ];
        let expected = rows
            .into_iter()
            .zip(1..)
            .map(|((values, lists), number)| Record {
                number,
                cells: [&values[..], &deeper, &lists, &[deep.clone(), deep.clone()]].concat(),
            });
        assert_eq!(table.records, expected.collect::<Vec<_>>());
        assert!(table.class_names.is_empty());
    }

    /// A file with one column, `column` of a message, that has `values` with these levels.
    fn packed<T: DataType>(column: &str, values: &[T::T], levels: [&[i16]; 2]) -> bytes::Bytes {
        let schema = parse_message_type(&format!("message rows {{ {column} }}")).unwrap();
        let mut bytes = Vec::new();
        let mut file =
            SerializedFileWriter::new(&mut bytes, Arc::new(schema), Arc::default()).unwrap();
        let mut group = file.next_row_group().unwrap();
        let mut writer = group.next_column().unwrap().unwrap();
        let [defined, repeated] = levels.map(|level| (!level.is_empty()).then_some(level));
        let typed = writer.typed::<T>();
        typed.write_batch(values, defined, repeated).unwrap();
        writer.close().unwrap();
        group.close().unwrap();
        file.close().unwrap();
        bytes.into()
    }

    #[test]
    fn a_small_file_that_unpacks_to_much_is_refused() {
        let text = ByteArray::from("x".repeat(1000).as_str());
        let texts = packed::<ByteArrayType>(
            "REQUIRED BYTE_ARRAY text (UTF8);",
            &vec![text; 2000],
            [&[], &[]],
        );
        // One row whose list has so many elements.
        let mut repeated = vec![1; 100_000];
        repeated[0] = 0;
        let list = packed::<Int32Type>(
            "REPEATED INT32 tags;",
            &vec![7; 100_000],
            [&vec![1; 100_000], &repeated],
        );
        for (file, rows) in [(texts, 2000), (list, 1)] {
            assert!(file.len() < 20_000, "{}", file.len());
            let path = Path::new("a.parquet");
            let refused = read_within(file.clone(), path, 1 << 20).unwrap_err();
            let expected = format!(
                "the {} bytes of a.parquet unpack to more than 1048576",
                file.len()
            );
            assert!(refused.to_string().starts_with(&expected), "{refused}");
            assert_eq!(read(file, path).unwrap().records.len(), rows);
        }
    }

    #[test]
    fn a_damaged_file_is_one_line() {
        let whole = forms();
        for end in (0..whole.len()).step_by(97) {
            let error = read_bytes(whole[..end].to_vec()).unwrap_err().to_string();
            assert!(
                error.starts_with("cannot read a.parquet as Parquet: "),
                "{error}"
            );
            assert!(!error.contains('\n'), "{error}");
        }
        // Whatever byte is wrong: rows or an error, and never the end of the program.
        for at in 0..whole.len() {
            for flip in [1, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= flip;
                if let Err(error) = read_bytes(bytes) {
                    assert!(!error.to_string().contains('\n'), "byte {at}: {error}");
                }
            }
        }
    }
}
