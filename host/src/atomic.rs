//! Files that are there whole or not at all.

use std::fs::{File, Permissions};
use std::io;
use std::path::Path;

use tempfile::NamedTempFile;

/// Names of unfinished temporary files and folders begin so; they belong to nothing.
pub const TEMPORARY_PREFIX: &str = ".writing-";

/// Puts what `fill` writes at `path` in one step: a temporary file in the same folder, `fsync`, rename, `fsync` of the
/// folder. Its permissions are those that the umask leaves.
///
/// # Errors
/// What `fill` or the file system reports; `path` is then as it was before.
pub fn write(
    path: &Path,
    fill: impl FnOnce(&mut NamedTempFile) -> io::Result<()>,
) -> io::Result<()> {
    let folder = folder_of(path);
    let mut file = tempfile::Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .permissions(shared(0o666))
        .tempfile_in(folder)?;
    fill(&mut file)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    sync_folder(folder)
}

/// Makes the names in `folder` survive a loss of power.
///
/// # Errors
/// What the file system reports.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The folder that holds `path`.
#[must_use]
pub fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Temporary files and folders are private by default; with these permissions the umask alone decides.
#[must_use]
pub fn shared(mode: u32) -> Permissions {
    use std::os::unix::fs::PermissionsExt;
    Permissions::from_mode(mode)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_appears_whole_and_for_those_that_the_umask_allows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(folder.path().join("plain"), "").unwrap();
        write(&path, |file| file.write_all(b"all of it")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"all of it");
        let mode = |name: &str| {
            let metadata = fs::metadata(folder.path().join(name)).unwrap();
            metadata.permissions().mode()
        };
        assert_eq!(mode("file"), mode("plain"));
    }

    #[test]
    fn what_cannot_be_filled_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "before").unwrap();
        let half = |file: &mut NamedTempFile| {
            file.write_all(b"half")?;
            Err(io::Error::other("no more"))
        };
        assert_eq!(write(&path, half).unwrap_err().to_string(), "no more");
        assert_eq!(fs::read(&path).unwrap(), b"before");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
