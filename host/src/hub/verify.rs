//! The two hashes by which the hub names files.

use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::digest::{hex, is_hex};

/// What a file's bytes must hash to. The hub gives it as the file's `ETag`, and the cache has it as the blob's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Of large files: their sha256.
    Sha256(String),
    /// Of small files: git's name of a blob, the sha1 of `blob SIZE\0` and the bytes.
    Git(String),
}

impl Expected {
    /// Reads an `ETag`, with or without quotes; `None` where it is neither hash.
    #[must_use]
    pub fn of_etag(etag: &str) -> Option<Self> {
        let name = etag.trim().trim_start_matches("W/").trim_matches('"');
        match name.len() {
            64 if is_hex(name, 64) => Some(Self::Sha256(name.to_owned())),
            40 if is_hex(name, 40) => Some(Self::Git(name.to_owned())),
            _ => None,
        }
    }

    /// The hash in hexadecimal.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Sha256(name) | Self::Git(name) => name,
        }
    }

    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "the sha256",
            Self::Git(_) => "the git hash",
        }
    }

    /// Begins to hash a file of `size` bytes.
    #[must_use]
    pub fn hasher(&self, size: u64) -> Hasher {
        match self {
            Self::Sha256(_) => Hasher::Sha256(Sha256::new()),
            Self::Git(_) => Hasher::Git(Sha1::new_with_prefix(format!("blob {size}\0"))),
        }
    }
}

/// A hash in the making.
pub enum Hasher {
    Sha256(Sha256),
    Git(Sha1),
}

impl Hasher {
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Git(hash) => hash.update(bytes),
        }
    }

    /// In hexadecimal.
    #[must_use]
    pub fn finish(self) -> String {
        match self {
            Self::Sha256(hash) => hex(&hash.finalize()),
            Self::Git(hash) => hex(&hash.finalize()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_hashes() {
        // `printf 'hello\n' | git hash-object --stdin`, and its sha256sum.
        for (etag, algorithm) in [
            (
                "\"ce013625030ba8dba906f756967f9e9ca394464a\"",
                "the git hash",
            ),
            (
                "W/\"5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03\"",
                "the sha256",
            ),
        ] {
            let expected = Expected::of_etag(etag).unwrap();
            assert_eq!(expected.algorithm(), algorithm);
            let mut hash = expected.hasher(6);
            hash.update(b"hel");
            hash.update(b"lo\n");
            assert_eq!(hash.finish(), expected.name());
        }
    }

    #[test]
    fn other_tags_are_no_hashes() {
        for etag in [
            "",
            "\"abc\"",
            "../../../../../../../../../../../../../../../etc",
            &"A".repeat(40),
        ] {
            assert_eq!(Expected::of_etag(etag), None, "{etag}");
        }
    }
}
