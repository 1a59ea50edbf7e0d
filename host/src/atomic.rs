//! Files that are there whole or not at all.

use std::fs::{self, File, Permissions};
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

/// Puts the folder that `fill` fills at `folder` in one step: a temporary folder beside it, rename. Folders above it are
/// made; one that is there already, be it empty, is an error.
///
/// # Errors
/// What `fill` reports; what the file system does, as `failed` has it. `folder` is then not there.
pub fn write_folder<E>(
    folder: &Path,
    failed: impl Fn(io::Error) -> E,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    if folder.exists() {
        return Err(failed(io::ErrorKind::AlreadyExists.into()));
    }
    let parent = folder_of(folder);
    fs::create_dir_all(parent).map_err(&failed)?;
    let temporary = tempfile::Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .permissions(shared(0o777))
        .tempdir_in(parent)
        .map_err(&failed)?;
    fill(temporary.path())?;
    fs::rename(temporary.path(), folder).map_err(&failed)?;
    // Renamed away: there is nothing left to remove.
    let _ = temporary.keep();
    sync_folder(parent).map_err(failed)
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
    fn a_folder_appears_whole_or_not_at_all() {
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("deep/made");
        let same = |error: io::Error| error.to_string();
        let half = write_folder(&folder, same, |inside| {
            fs::write(inside.join("a"), "half").map_err(same)?;
            Err("no more".to_owned())
        });
        assert_eq!(half.unwrap_err(), "no more");
        let left = || fs::read_dir(above.path().join("deep")).unwrap().count();
        assert_eq!(left(), 0);
        let fill = |inside: &Path| fs::write(inside.join("a"), "all").map_err(same);
        write_folder(&folder, same, fill).unwrap();
        assert_eq!(fs::read(folder.join("a")).unwrap(), b"all");
        assert!(
            write_folder(&folder, same, fill)
                .unwrap_err()
                .contains("exists")
        );
        assert_eq!(left(), 1);
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
