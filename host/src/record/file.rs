//! Single files of a record.

use std::{
    fs,
    io::{ErrorKind, Write},
    path::Path,
};

use super::RecordError;
use crate::atomic;

/// Writes `content` to `path` whole or not at all, and to the disk.
///
/// # Errors
/// [`RecordError::Io`]; `path` is then as it was before.
pub fn write_atomically(path: &Path, content: &[u8]) -> Result<(), RecordError> {
    atomic::write(path, |file| file.write_all(content)).map_err(RecordError::io("write", path))
}

/// The content of a file; none where there is no such file.
///
/// # Errors
/// [`RecordError::Io`].
pub fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, RecordError> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(RecordError::io("read", path)(error)),
    }
}
