//! SHA-256 as text. Large files are hashed once: their hash is kept under path, size, time and inode.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::atomic;

/// The SHA-256 of `bytes`, 64 hexadecimal digits.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The SHA-256 of everything that `source` still gives.
///
/// # Errors
/// When `source` cannot be read to its end.
pub fn sha256_of(mut source: impl Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(hex(&hash.finalize())),
            Ok(count) => hash.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Smaller files are hashed faster than looked up.
const WORTH_KEEPING: u64 = 8 << 20;

/// What a kept hash belongs to: a file that changed has another of these.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    size: u64,
    /// Nanoseconds since 1970.
    modified: i128,
    inode: u64,
    sha256: String,
}

impl Kept {
    fn fits(&self, metadata: &Metadata) -> bool {
        (self.size, self.modified, self.inode)
            == (metadata.len(), modified(metadata), metadata.ino())
    }
}

fn modified(metadata: &Metadata) -> i128 {
    i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec())
}

/// The SHA-256 of a file: the name that the hub's cache gives it, or from the user's cache where that holds the one of
/// this very file, or of its bytes.
///
/// A blob of the hub's cache whose name is a sha256 was checked against it when it came, by this program at least. One
/// that was changed in place since then is not noticed; to hash gigabytes at each start is the price of noticing.
///
/// # Errors
/// When the file cannot be read.
pub fn sha256_of_file(path: &Path) -> io::Result<String> {
    let path = path.canonicalize()?;
    let file = File::open(&path)?;
    if let Some(name) = name_in_hub_cache(&path) {
        return Ok(name.to_owned());
    }
    let metadata = file.metadata()?;
    let cache = cache_file().filter(|_| metadata.len() >= WORTH_KEEPING);
    let Some(cache) = cache else {
        return sha256_of(file);
    };
    let key = path.to_string_lossy().into_owned();
    let mut kept = read_cache(&cache);
    if let Some(found) = kept.get(&key).filter(|kept| kept.fits(&metadata)) {
        return Ok(found.sha256.clone());
    }
    let sha256 = sha256_of(file)?;
    let entry = Kept {
        size: metadata.len(),
        modified: modified(&metadata),
        inode: metadata.ino(),
        sha256: sha256.clone(),
    };
    kept.insert(key, entry);
    if let Err(error) = write_cache(&cache, &kept) {
        tracing::debug!("cannot keep hashes in {}: {error}", cache.display());
    }
    Ok(sha256)
}

/// `HASH` of `models--ORG--NAME/blobs/HASH`, where it is a sha256. Small files are named by another hash.
fn name_in_hub_cache(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?;
    let blobs = path.parent()?;
    let repository = blobs.parent()?.file_name()?.to_str()?;
    let is_blob = blobs.file_name()? == "blobs"
        && ["models--", "datasets--"]
            .iter()
            .any(|kind| repository.starts_with(kind));
    (is_hex(name, 64) && is_blob).then_some(name)
}

fn cache_file() -> Option<PathBuf> {
    Some(cache_folder()?.join("sha256.json"))
}

/// This program's cache of the user, which need not be there: `LORAHOST_CACHE`, else `lorahost` among the user's caches.
#[must_use]
pub fn cache_folder() -> Option<PathBuf> {
    let folder = std::env::var_os("LORAHOST_CACHE").map(PathBuf::from);
    folder.or_else(|| {
        let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let base = base.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache")))?;
        Some(base.join("lorahost"))
    })
}

/// A cache that cannot be read is an empty one.
fn read_cache(path: &Path) -> BTreeMap<String, Kept> {
    let text = fs::read(path).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

fn write_cache(path: &Path, kept: &BTreeMap<String, Kept>) -> io::Result<()> {
    fs::create_dir_all(atomic::folder_of(path))?;
    let json = serde_json::to_vec_pretty(kept)?;
    atomic::write(path, |file| file.write_all(&json))
}

/// Whether `text` is so many digits of hexadecimal, in small letters.
#[must_use]
pub fn is_hex(text: &str, digits: usize) -> bool {
    let small = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == digits && text.bytes().all(small)
}

/// Bytes in hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_hashes() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc"), abc);
        assert_eq!(sha256_of(&b"abc"[..]).unwrap(), abc);
    }

    #[test]
    fn the_hubs_cache_names_large_files_by_their_sha256() {
        let folder = tempfile::tempdir().unwrap();
        let name = sha256(b"abc");
        let put = |place: &str, name: &str| {
            let blobs = folder.path().join(place);
            fs::create_dir_all(&blobs).unwrap();
            fs::write(blobs.join(name), b"other").unwrap();
            let link = folder.path().join("link");
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(blobs.join(name), &link).unwrap();
            sha256_of_file(&link).unwrap()
        };
        let read = sha256(b"other");
        assert_eq!(put("models--org--name/blobs", &name), name);
        assert_eq!(put("datasets--name/blobs", &name), name);
        assert_eq!(put("models--org--name/blobs", &name[..40]), read);
        assert_eq!(put("models--org--name/other", &name), read);
        assert_eq!(put("elsewhere/blobs", &name), read);
    }

    #[test]
    fn a_kept_hash_belongs_to_one_state_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, b"abc").unwrap();
        let metadata = fs::metadata(&path).unwrap();
        let kept = Kept {
            size: 3,
            modified: modified(&metadata),
            inode: metadata.ino(),
            sha256: sha256(b"abc"),
        };
        assert!(kept.fits(&metadata));
        fs::write(&path, b"abcd").unwrap();
        assert!(!kept.fits(&fs::metadata(&path).unwrap()));
        let cache = folder.path().join("deep/cache.json");
        write_cache(&cache, &BTreeMap::from([("file".to_owned(), kept)])).unwrap();
        assert_eq!(read_cache(&cache)["file"].size, 3);
        fs::write(&cache, b"broken").unwrap();
        assert!(read_cache(&cache).is_empty());
    }
}
