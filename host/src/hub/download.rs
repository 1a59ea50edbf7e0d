//! One file of the hub into the cache: gathered beside its place, resumed where it broke off, checked, renamed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::cache::RepoCache;
use super::error::HubError;
use super::http::{Answer, Follow, Http, Part};
use super::progress::Progress;
use super::verify::{Expected, Hasher};
use crate::atomic;

/// How often in a row a transfer may end before it brought [`LITTLE`].
const FRUITLESS: u32 = 3;
/// In bytes.
const LITTLE: u64 = 64 << 10;
/// How often a transfer may end in all: what came stays for the next call.
const TRANSFERS: u32 = 100;

/// A file as the hub announces it.
#[derive(Debug)]
pub struct Announced {
    pub url: String,
    /// What it is called in messages.
    pub name: String,
    pub hash: Expected,
    pub size: u64,
}

/// Brings the file into the cache's `blobs`, unless it is there. What came of it before, through this or another
/// program, is not fetched again.
///
/// # Errors
/// When the disk has no room, the transfer keeps breaking off, or what came is not what was announced. Bytes that came
/// stay for the next attempt, except for those with a wrong hash.
pub fn fetch(http: &Http, cache: &RepoCache, file: &Announced) -> Result<(), HubError> {
    let lock = cache.lock(&file.hash)?;
    let blob = cache.blob(&file.hash);
    if blob.metadata().is_ok_and(|found| found.len() == file.size) {
        return Ok(());
    }
    let path = cache.incomplete(&file.hash, &lock);
    let mut gathered = Gathered::open(&path, file)?;
    check_room(&path, file.size - gathered.have)?;
    let resumed = gathered.have > 0;
    gathered.fill(http, file)?;
    let mut found = gathered.hash();
    if found != file.hash.name() && resumed {
        // The part that was here may have been the wrong one.
        tracing::info!(
            "{} does not fit what was here of it: again from the start",
            file.name
        );
        gathered.restart(file)?;
        gathered.fill(http, file)?;
        found = gathered.hash();
    }
    if found != file.hash.name() {
        fs::remove_file(&path).map_err(HubError::file("remove", &path))?;
        return Err(HubError::Hash {
            url: file.url.clone(),
            algorithm: file.hash.algorithm(),
            expected: file.hash.name().to_owned(),
            found,
        });
    }
    gathered.finish(&blob)
}

/// The first bytes of a file, hashed as they come.
struct Gathered<'a> {
    path: &'a Path,
    file: File,
    have: u64,
    hasher: Option<Hasher>,
}

/// How one transfer ended.
enum Ended {
    Whole,
    /// Before the end of the file, for this reason.
    Early(String),
}

impl<'a> Gathered<'a> {
    /// Takes up what is there of it.
    fn open(path: &'a Path, announced: &Announced) -> Result<Self, HubError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(HubError::file("open", path))?;
        let mut gathered = Self {
            path,
            file,
            have: 0,
            hasher: None,
        };
        gathered.take_up(announced)?;
        Ok(gathered)
    }

    fn take_up(&mut self, announced: &Announced) -> Result<(), HubError> {
        let mut hasher = announced.hash.hasher(announced.size);
        let mut buffer = vec![0; 1 << 18];
        let mut have = 0;
        loop {
            match self.file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    hasher.update(&buffer[..count]);
                    have += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(HubError::file("read", self.path)(error)),
            }
        }
        if have > announced.size {
            return self.restart(announced);
        }
        (self.have, self.hasher) = (have, Some(hasher));
        Ok(())
    }

    /// Begins with nothing.
    fn restart(&mut self, announced: &Announced) -> Result<(), HubError> {
        self.file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .map_err(HubError::file("write", self.path))?;
        (self.have, self.hasher) = (0, Some(announced.hash.hasher(announced.size)));
        Ok(())
    }

    /// Asks for what is missing until nothing is.
    fn fill(&mut self, http: &Http, announced: &Announced) -> Result<(), HubError> {
        if self.have == announced.size {
            return Ok(());
        }
        let progress = Progress::start(&announced.name, announced.size, self.have);
        let mut fruitless = 0;
        for transfers in 1.. {
            let before = self.have;
            let rest = Part::From(self.have);
            let answer = http.get(&announced.url, &rest, Follow::Anywhere)?;
            let reason = match self.transfer(answer, &rest, announced, &progress)? {
                Ended::Whole => break,
                Ended::Early(reason) => reason,
            };
            tracing::debug!(
                "{} broke off at byte {}: {reason}",
                announced.name,
                self.have
            );
            let little = self.have < before.saturating_add(LITTLE);
            fruitless = if little { fruitless + 1 } else { 0 };
            if fruitless == FRUITLESS || transfers == TRANSFERS {
                return Err(HubError::Broken {
                    url: announced.url.clone(),
                    have: self.have,
                    size: announced.size,
                    attempts: transfers,
                    reason,
                });
            }
        }
        progress.done();
        Ok(())
    }

    /// Takes in one answer. A server that knows no ranges sends the file from its start.
    fn transfer(
        &mut self,
        answer: Answer,
        asked: &Part,
        announced: &Announced,
        progress: &Progress,
    ) -> Result<Ended, HubError> {
        match answer.status {
            206 if self.have > 0 => answer.check_part(asked)?,
            200 => self.restart(announced)?,
            416 => {
                self.restart(announced)?;
                return Ok(Ended::Early("it has no such range".to_owned()));
            }
            status => {
                return Err(HubError::Status {
                    url: answer.url,
                    status,
                    message: String::new(),
                });
            }
        }
        let url = answer.url.clone();
        let mut body = answer.into_reader();
        let mut buffer = vec![0; 1 << 18];
        loop {
            let count = match body.read(&mut buffer) {
                Ok(0) if self.have == announced.size => return Ok(Ended::Whole),
                Ok(0) => return Ok(Ended::Early("the connection ended".to_owned())),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Ok(Ended::Early(error.to_string())),
            };
            if count as u64 > announced.size - self.have {
                self.restart(announced)?;
                return Err(HubError::TooLarge {
                    url,
                    what: "the file, as the hub announced it,",
                    limit: announced.size,
                });
            }
            self.file
                .write_all(&buffer[..count])
                .map_err(|error| self.not_written(error))?;
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&buffer[..count]);
            }
            self.have += count as u64;
            progress.at(self.have);
        }
    }

    fn not_written(&self, error: io::Error) -> HubError {
        HubError::file("write", self.path)(error)
    }

    /// The hash of all that is here; once.
    fn hash(&mut self) -> String {
        self.hasher.take().map(Hasher::finish).unwrap_or_default()
    }

    fn finish(self, blob: &Path) -> Result<(), HubError> {
        self.file
            .sync_all()
            .and_then(|()| fs::rename(self.path, blob))
            .and_then(|()| atomic::sync_folder(atomic::folder_of(blob)))
            .map_err(HubError::file("write", blob))
    }
}

/// Refuses what the disk has no room for before the first byte comes.
fn check_room(path: &Path, needed: u64) -> Result<(), HubError> {
    let folder = atomic::folder_of(path);
    let Ok(disk) = rustix::fs::statvfs(folder) else {
        return Ok(());
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if needed <= free {
        return Ok(());
    }
    Err(HubError::DiskFull {
        folder: folder.to_owned(),
        needed,
        free,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_disk_cannot_hold_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        check_room(&path, 1).unwrap();
        let error = check_room(&path, u64::MAX).unwrap_err().to_string();
        assert!(error.contains("HF_HOME"), "{error}");
    }
}
