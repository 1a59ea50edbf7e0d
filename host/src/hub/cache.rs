//! The cache that all programs of the hub share on a machine.
//!
//! Of each repository it has `models--ORG--NAME/` or `datasets--ORG--NAME/` with
//! - `blobs/HASH`: the files, each under its hash;
//! - `snapshots/COMMIT/NAME`: the files of a commit under their own names, relative links into `blobs`;
//! - `refs/REVISION`: the commit that a branch or tag last stood at;
//!
//! and `.locks/` beside them, with the lock files of downloads. Files that another program put there are used. This
//! program alone adds `listings/COMMIT`, the names of all files of a commit: without it nobody could tell a whole
//! data set from a part of one while offline.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::error::HubError;
use super::id::HubId;
use super::verify::Expected;
use crate::atomic;
use crate::digest::is_hex;

/// Folders below one another in a repository; more are not followed.
const DEPTH: usize = 16;

/// The part of the cache that belongs to one repository.
#[derive(Debug, Clone)]
pub struct RepoCache {
    folder: PathBuf,
    locks: PathBuf,
}

/// Held while a blob is written. Where the file system knows no locks, each process writes a file of its own.
#[derive(Debug)]
pub struct BlobLock {
    _file: File,
    shared: bool,
}

impl RepoCache {
    /// The part of `cache` for the repository of `id`, which need not be there yet.
    #[must_use]
    pub fn of(cache: &Path, id: &HubId) -> Self {
        let name = format!("{}--{}", id.kind.plural(), id.repo.replace('/', "--"));
        Self {
            folder: cache.join(&name),
            locks: cache.join(".locks").join(name),
        }
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The commit that `revision` is, as far as the cache knows.
    #[must_use]
    pub fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return self
                .snapshot(revision)
                .is_dir()
                .then(|| revision.to_owned());
        }
        let commit = fs::read_to_string(self.folder.join("refs").join(revision)).ok()?;
        let commit = commit.trim();
        is_commit(commit).then(|| commit.to_owned())
    }

    /// Notes where a branch or tag stands.
    pub fn keep_commit(&self, revision: &str, commit: &str) {
        if !is_commit(revision) && self.commit(revision).as_deref() != Some(commit) {
            note(&self.folder.join("refs").join(revision), commit.as_bytes());
        }
    }

    /// The folder with the files of a commit.
    #[must_use]
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// A file of a commit, if it is here whole.
    #[must_use]
    pub fn find(&self, commit: &str, name: &str) -> Option<PathBuf> {
        let path = self.snapshot(commit).join(name);
        path.is_file().then_some(path)
    }

    /// The names of all files of a commit, if they are known.
    #[must_use]
    pub fn listing(&self, commit: &str) -> Option<Vec<String>> {
        let text = fs::read(self.listing_file(commit)).ok()?;
        let names: Vec<String> = serde_json::from_slice(&text).ok()?;
        names.iter().all(|name| is_safe(name)).then_some(names)
    }

    /// Notes the names of all files of a commit.
    pub fn keep_listing(&self, commit: &str, names: &[String]) {
        if self.listing(commit).as_deref() != Some(names) {
            let json = serde_json::Value::from(names).to_string();
            note(&self.listing_file(commit), json.as_bytes());
        }
    }

    fn listing_file(&self, commit: &str) -> PathBuf {
        self.folder.join("listings").join(commit)
    }

    /// The names of the files of a commit that are here, sorted.
    #[must_use]
    pub fn present(&self, commit: &str) -> Vec<String> {
        let mut names = Vec::new();
        collect(&self.snapshot(commit), "", DEPTH, &mut names);
        names.sort();
        names
    }

    /// Where the bytes of a file with this hash are, once they are whole.
    #[must_use]
    pub fn blob(&self, hash: &Expected) -> PathBuf {
        self.folder.join("blobs").join(hash.name())
    }

    /// Where the bytes of a file with this hash are gathered.
    #[must_use]
    pub fn incomplete(&self, hash: &Expected, lock: &BlobLock) -> PathBuf {
        let own = if lock.shared {
            String::new()
        } else {
            format!(".{}", std::process::id())
        };
        let name = format!("{}{own}.incomplete", hash.name());
        self.folder.join("blobs").join(name)
    }

    /// Gives a blob its name in a commit.
    ///
    /// # Errors
    /// When the link cannot be made.
    pub fn link(&self, commit: &str, name: &str, hash: &Expected) -> Result<(), HubError> {
        let path = self.snapshot(commit).join(name);
        let folder = atomic::folder_of(&path);
        make_folder(folder)?;
        // From the file's folder up to the repository's: `snapshots`, the commit, and the folders in the name.
        let up = "../".repeat(2 + name.matches('/').count());
        let target = format!("{up}blobs/{}", hash.name());
        match symlink(&target, &path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if fs::read_link(&path).is_ok_and(|found| found == Path::new(&target)) {
                    return Ok(());
                }
                // What was there before is not these bytes.
                fs::remove_file(&path).and_then(|()| symlink(&target, &path))
            }
            made => made,
        }
        .map_err(HubError::file("link", path))
    }

    /// Waits until no other process writes this blob. It is the lock that the Python programs of the hub take too.
    ///
    /// # Errors
    /// When the lock file or the folders cannot be made.
    pub fn lock(&self, hash: &Expected) -> Result<BlobLock, HubError> {
        make_folder(&self.folder.join("blobs"))?;
        make_folder(&self.locks)?;
        let path = self.locks.join(format!("{}.lock", hash.name()));
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(HubError::file("open", &path))?;
        let locked = match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                tracing::info!("waiting for another process that fetches the same file");
                file.lock()
            }
            Err(TryLockError::Error(error)) => Err(error),
            Ok(()) => Ok(()),
        };
        if let Err(error) = &locked {
            tracing::debug!("{} cannot be locked: {error}", path.display());
        }
        Ok(BlobLock {
            _file: file,
            shared: locked.is_ok(),
        })
    }
}

/// Whether this is a commit's full name.
#[must_use]
pub fn is_commit(text: &str) -> bool {
    is_hex(text, 40)
}

/// Whether a name of the hub stays in the folder that it is put into.
#[must_use]
pub fn is_safe(name: &str) -> bool {
    name.len() < 1024
        && !name.contains(['\\', ':'])
        && !name.chars().any(char::is_control)
        && name.split('/').count() <= DEPTH
        && name
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != ".." && part.len() <= 255)
}

/// Notes are an aid for later: a cache that cannot be written serves what it has.
fn note(path: &Path, content: &[u8]) {
    let written = fs::create_dir_all(atomic::folder_of(path))
        .and_then(|()| atomic::write(path, |file| file.write_all(content)));
    if let Err(error) = written {
        tracing::debug!("cannot write {}: {error}", path.display());
    }
}

fn make_folder(path: &Path) -> Result<(), HubError> {
    fs::create_dir_all(path).map_err(HubError::file("create the folder", path))
}

fn collect(folder: &Path, prefix: &str, depth: usize, names: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.filter_map(io::Result::ok) {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let path = entry.path();
        if path.is_file() {
            names.push(name);
        } else if depth > 1 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&path, &format!("{name}/"), depth - 1, names);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::id::RepoKind;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn cache(folder: &Path) -> RepoCache {
        RepoCache::of(folder, &HubId::parse(RepoKind::Data, "org/name").unwrap())
    }

    fn hash() -> Expected {
        Expected::Git("ce013625030ba8dba906f756967f9e9ca394464a".to_owned())
    }

    #[test]
    fn the_layout_is_that_of_the_hubs_own_programs() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        let lock = cache.lock(&hash()).unwrap();
        fs::write(cache.blob(&hash()), "hello\n").unwrap();
        cache.link(COMMIT, "data/train.csv", &hash()).unwrap();
        cache.keep_commit("refs/pr/1", COMMIT);

        let repo = folder.path().join("datasets--org--name");
        let file = repo.join(format!("snapshots/{COMMIT}/data/train.csv"));
        assert_eq!(fs::read(&file).unwrap(), b"hello\n");
        let link = fs::read_link(&file).unwrap();
        assert_eq!(link, Path::new("../../../blobs").join(hash().name()));
        let kept = fs::read_to_string(repo.join("refs/refs/pr/1")).unwrap();
        assert_eq!(kept, COMMIT);
        let locks = folder.path().join(".locks/datasets--org--name");
        assert!(locks.join(format!("{}.lock", hash().name())).is_file());

        assert_eq!(cache.commit("refs/pr/1").as_deref(), Some(COMMIT));
        assert_eq!(cache.commit(COMMIT).as_deref(), Some(COMMIT));
        assert_eq!(cache.commit("main"), None);
        assert_eq!(cache.present(COMMIT), ["data/train.csv"]);
        assert_eq!(cache.find(COMMIT, "data/train.csv"), Some(file));
        drop(lock);
    }

    #[test]
    fn a_link_to_nothing_is_no_file_and_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        cache.link(COMMIT, "a", &hash()).unwrap();
        assert_eq!(cache.find(COMMIT, "a"), None);
        assert!(cache.present(COMMIT).is_empty());
        let _lock = cache.lock(&hash()).unwrap();
        fs::write(cache.blob(&hash()), "x").unwrap();
        cache.link(COMMIT, "a", &hash()).unwrap();
        assert!(cache.find(COMMIT, "a").is_some());
    }

    #[test]
    fn names_that_lead_out_are_not_safe() {
        for name in [
            "..",
            "../a",
            "a/../../b",
            "/etc/passwd",
            "a//b",
            "./a",
            "",
            "a\\b",
            "a\nb",
            "C:a",
            &"a/".repeat(40),
        ] {
            assert!(!is_safe(name), "{name:?}");
        }
        for name in [
            "a",
            "data/train-00000-of-00001.parquet",
            "a..b",
            "ein Wort.csv",
        ] {
            assert!(is_safe(name), "{name:?}");
        }
    }

    #[test]
    fn a_listing_that_was_tampered_with_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        let names = ["a".to_owned(), "b/c".to_owned()];
        cache.keep_listing(COMMIT, &names);
        assert_eq!(cache.listing(COMMIT).unwrap(), names);
        cache.keep_listing(COMMIT, &["../a".to_owned()]);
        assert_eq!(cache.listing(COMMIT), None);
    }
}
