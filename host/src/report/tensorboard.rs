//! The metrics of runs as event files of `TensorBoard`: a file a run, in `CELL/lr-seed-id/`.
//!
//! An event file is a row of `TFRecord`s (length, its checksum, content, its checksum; checksums are CRC-32C, rotated and
//! shifted), each a protocol buffer `Event`. Of both only what scalars need is written here.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::atomic;
use crate::record::{
    Event, LayerNorms, Norms, RecordError, SpecRecord, StoredRuns, python_float, read_metrics,
};
use crate::spec::path_safe;

/// Writes an event file of each run, done or not, and returns their number. Written again, a run has the same file.
///
/// # Errors
/// [`RecordError::Io`]; [`RecordError::Json`] if a run's metrics cannot be read.
pub fn write(runs: &StoredRuns, folder: &Path) -> Result<usize, RecordError> {
    let done = runs.records.iter().map(|run| {
        let result = &run.result;
        let end = result.provenance.recorded_at as f64;
        (&run.spec, end - result.seconds, end)
    });
    let unfinished = runs.unfinished.iter().map(|spec| (spec, 0.0, 0.0));
    let mut count = 0;
    for (spec, start, end) in done.chain(unfinished) {
        let events = read_metrics(&runs.folder(&spec.id))?;
        let place = folder.join(place(spec));
        fs::create_dir_all(&place).map_err(RecordError::io("create the folder", &place))?;
        let path = place.join("events.out.tfevents.0000000000.lorahost");
        let fill = |file: &mut tempfile::NamedTempFile| {
            let mut file = BufWriter::new(file);
            write_events(&mut file, &events, start, end)?;
            file.flush()
        };
        atomic::write(&path, fill).map_err(RecordError::io("write", &path))?;
        count += 1;
    }
    Ok(count)
}

/// Whatever a cell is called, its folder is one folder, and not a hidden one.
fn place(spec: &SpecRecord) -> PathBuf {
    let part = |text: &str| {
        let safe = path_safe(text);
        match safe.strip_prefix('.') {
            Some(rest) => format!("_{rest}"),
            None => safe,
        }
    };
    let lr = python_float(spec.spec.train.lr);
    let id: String = spec.id.chars().take(8).collect();
    let run = format!("lr={lr}-seed={}-{id}", spec.spec.seeds.label());
    Path::new(&part(&spec.cell)).join(part(&run))
}

/// The events with wall-clock times spread evenly from `start` to `end` (seconds since 1970): records have none a step.
fn write_events(out: &mut impl Write, events: &[Event], start: f64, end: f64) -> io::Result<()> {
    let steps = events.iter().filter_map(step).max().unwrap_or(0).max(1) as f64;
    write_record(out, &file_version(start))?;
    for event in events {
        let Some(step) = step(event) else { continue };
        let time = start + (end - start) * step as f64 / steps;
        let scalars = scalars(event);
        if !scalars.is_empty() {
            write_record(out, &summary(time, step, &scalars))?;
        }
    }
    Ok(())
}

fn step(event: &Event) -> Option<usize> {
    match event {
        Event::Step { step, .. } | Event::Evaluation { step, .. } => Some(*step),
        Event::Diagnostics(diagnostics) => Some(diagnostics.step),
        _ => None,
    }
}

/// Names and values.
fn scalars(event: &Event) -> Vec<(String, f64)> {
    match event {
        Event::Step { loss, lr, .. } => {
            let loss = loss.map(|loss| ("train/loss".to_owned(), loss));
            let lr = ("train/lr".to_owned(), *lr);
            loss.into_iter().chain([lr]).collect()
        }
        Event::Evaluation {
            split,
            loss,
            metrics,
            ..
        } => {
            let split = split.name();
            let loss = (format!("{split}/loss"), *loss);
            let metrics: &BTreeMap<String, f64> = metrics;
            let metrics = metrics
                .iter()
                .map(|(name, value)| (format!("{split}/{name}"), *value));
            [loss].into_iter().chain(metrics).collect()
        }
        Event::Diagnostics(diagnostics) => {
            let mut scalars = norms("norms", &diagnostics.total);
            scalars.extend([
                ("cost/tokens".to_owned(), diagnostics.tokens as f64),
                (
                    "cost/multiply_adds".to_owned(),
                    diagnostics.multiply_adds as f64,
                ),
            ]);
            for LayerNorms { name, norms: layer } in &diagnostics.layers {
                scalars.extend(norms(&format!("layers/{name}"), layer));
            }
            scalars
        }
        _ => Vec::new(),
    }
}

fn norms(group: &str, norms: &Norms) -> Vec<(String, f64)> {
    let named = [
        ("change", norms.change),
        ("relative_change", norms.relative_change),
        ("spectral_a", norms.spectral_a),
        ("spectral_b", norms.spectral_b),
        ("spectral_ba", norms.spectral_ba),
        ("gradient", norms.gradient),
        ("update", norms.update),
    ];
    let there = named
        .into_iter()
        .filter_map(|(name, norm)| Some((name, norm?)));
    there
        .map(|(name, norm)| (format!("{group}/{name}"), norm))
        .collect()
}

/// `Event { wall_time = 1, file_version = 3 }`, the first one of a file.
fn file_version(time: f64) -> Vec<u8> {
    let mut event = Vec::new();
    double(&mut event, 1, time);
    bytes(&mut event, 3, b"brain.Event:2");
    event
}

/// `Event { wall_time = 1, step = 2, summary = 5 }`, `Summary { value = 1 }`, `Value { tag = 1, simple_value = 2 }`.
fn summary(time: f64, step: usize, scalars: &[(String, f64)]) -> Vec<u8> {
    let mut values = Vec::new();
    for (tag, value) in scalars {
        let mut inner = Vec::new();
        bytes(&mut inner, 1, tag.as_bytes());
        key(&mut inner, 2, FIXED_32);
        inner.extend((*value as f32).to_le_bytes());
        bytes(&mut values, 1, &inner);
    }
    let mut event = Vec::new();
    double(&mut event, 1, time);
    key(&mut event, 2, VARINT);
    varint(&mut event, step as u64);
    bytes(&mut event, 5, &values);
    event
}

// Wire types of protocol buffers.
const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED_32: u64 = 5;

fn key(out: &mut Vec<u8>, field: u64, wire: u64) {
    varint(out, field << 3 | wire);
}

fn double(out: &mut Vec<u8>, field: u64, value: f64) {
    key(out, field, FIXED_64);
    out.extend(value.to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, field: u64, content: &[u8]) {
    key(out, field, LENGTH);
    varint(out, content.len() as u64);
    out.extend(content);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn write_record(out: &mut impl Write, content: &[u8]) -> io::Result<()> {
    let length = (content.len() as u64).to_le_bytes();
    out.write_all(&length)?;
    out.write_all(&masked(crc32c(&length)).to_le_bytes())?;
    out.write_all(content)?;
    out.write_all(&masked(crc32c(content)).to_le_bytes())
}

/// As `TFRecord` stores a checksum, so that one over data that hold checksums is sound.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32 with Castagnoli's polynomial (RFC 3720).
fn crc32c(data: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| TABLE[((crc ^ u32::from(*byte)) & 0xff) as usize] ^ (crc >> 8);
    !data.iter().fold(!0, step)
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::test_support::record;

    #[test]
    fn checksums_are_those_of_the_standard() {
        // RFC 3720, B.4, and the check value of the catalogue of CRCs.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_record_is_framed() {
        let mut out = Vec::new();
        write_record(&mut out, b"abc").unwrap();
        assert_eq!(out.len(), 8 + 4 + 3 + 4);
        assert_eq!(out[..8], 3u64.to_le_bytes());
        assert_eq!(out[12..15], *b"abc");
    }

    #[test]
    fn large_numbers_take_several_bytes() {
        let mut out = Vec::new();
        varint(&mut out, 300);
        assert_eq!(out, [0xac, 0x02]);
    }

    #[test]
    fn no_cell_leaves_the_folder() {
        for name in ["../../etc", "..", ".", "/etc", "a/b"] {
            let mut spec = record("full", None, 1e-3, 1, 0.5).spec;
            spec.cell = name.to_owned();
            let place = place(&spec);
            assert_eq!(place.components().count(), 2, "{name}: {}", place.display());
            let inside = |part| matches!(part, std::path::Component::Normal(_));
            assert!(place.components().all(inside), "{}", place.display());
        }
    }
}
