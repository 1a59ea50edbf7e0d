//! The hub's protocol: what a revision is and has, and its files, from the network or from the cache.

use std::io::Read;
use std::ops::Range;
use std::path::PathBuf;

use serde::Deserialize;

use super::cache::{RepoCache, is_commit, is_safe};
use super::download::{self, Announced};
use super::error::HubError;
use super::http::{Answer, Follow, Http, Part};
use super::id::HubId;
use super::settings::Settings;
use super::verify::Expected;

/// Largest answer of the API that is read: the names of about 300,000 files.
const LARGEST_LISTING: u64 = 32 << 20;
/// Largest file that is read as a whole: configs, vocabularies, cards.
const LARGEST_TEXT: u64 = 256 << 20;
/// Largest header of a safetensors file, as the format has it.
const LARGEST_HEADER: u64 = 100_000_000;

/// The hub with its cache on this machine.
pub struct Hub {
    settings: Settings,
    /// Absent while offline.
    http: Option<Http>,
}

/// A repository at one commit.
pub struct Snapshot<'a> {
    hub: &'a Hub,
    id: &'a HubId,
    cache: RepoCache,
    /// In full.
    pub commit: String,
    /// The names of its files. Where [`Snapshot::is_complete`] is false, of those that are here.
    pub files: Vec<String>,
    pub is_complete: bool,
    /// Why nothing can be fetched; absent while it can.
    cut_off: Option<HubError>,
}

/// How large the files are that are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Read as a whole, so bounded.
    Text,
    /// Bounded by the disk alone.
    Bulk,
}

/// What the API says of a revision.
#[derive(Debug, Deserialize)]
struct Revision {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Debug, Deserialize)]
struct Sibling {
    rfilename: String,
}

impl Hub {
    /// # Errors
    /// When the settings name no usable address.
    pub fn new(settings: Settings) -> Result<Self, HubError> {
        let http = (!settings.offline)
            .then(|| Http::new(&settings))
            .transpose()?;
        Ok(Self { settings, http })
    }

    /// The repository of `id` at `revision`: as the hub has it now, or, where the hub cannot be asked, as the cache
    /// last saw it.
    ///
    /// # Errors
    /// When there is no such repository or revision, or the hub cannot be asked and the cache has nothing of it.
    pub fn snapshot<'a>(&'a self, id: &'a HubId, revision: &str) -> Result<Snapshot<'a>, HubError> {
        let cache = RepoCache::of(&self.settings.cache, id);
        let Some(http) = &self.http else {
            return self.cached(id, cache, revision, None);
        };
        // A commit never changes.
        if is_commit(revision)
            && let Some(files) = cache.listing(revision)
        {
            return Ok(Snapshot {
                hub: self,
                id,
                cache,
                commit: revision.to_owned(),
                files,
                is_complete: true,
                cut_off: None,
            });
        }
        match self.ask(http, id, revision) {
            Ok((commit, files)) => {
                cache.keep_listing(&commit, &files);
                cache.keep_commit(revision, &commit);
                Ok(Snapshot {
                    hub: self,
                    id,
                    cache,
                    commit,
                    files,
                    is_complete: true,
                    cut_off: None,
                })
            }
            Err(why @ HubError::Unreachable { .. }) if cache.commit(revision).is_some() => {
                tracing::warn!("{} is taken as the cache has it: {why}", id.repo);
                self.cached(id, cache, revision, Some(why))
            }
            Err(error) => Err(error),
        }
    }

    fn cached<'a>(
        &'a self,
        id: &'a HubId,
        cache: RepoCache,
        revision: &str,
        why: Option<HubError>,
    ) -> Result<Snapshot<'a>, HubError> {
        let offline = |missing| HubError::Offline {
            kind: id.kind,
            id: id.repo.clone(),
            at: id.at(),
            folder: cache.folder().to_owned(),
            missing,
        };
        let Some(commit) = cache.commit(revision) else {
            return Err(why.unwrap_or_else(|| offline(vec!["all of it".to_owned()])));
        };
        let listing = cache.listing(&commit);
        Ok(Snapshot {
            is_complete: listing.is_some(),
            files: listing.unwrap_or_else(|| cache.present(&commit)),
            cut_off: Some(why.unwrap_or_else(|| offline(Vec::new()))),
            hub: self,
            id,
            cache,
            commit,
        })
    }

    /// The commit of a revision and the names of its files.
    fn ask(
        &self,
        http: &Http,
        id: &HubId,
        revision: &str,
    ) -> Result<(String, Vec<String>), HubError> {
        let url = format!(
            "{}/api/{}/{}/revision/{}",
            self.settings.endpoint,
            id.kind.plural(),
            id.repo,
            encoded(revision, false)
        );
        let answer = http.get(&url, &Part::WHOLE, Follow::Hub)?;
        if answer.status != 200 {
            return Err(self.refusal(http, id, revision, None, answer));
        }
        let what = "the listing of a repository";
        listing(&answer.read(LARGEST_LISTING, what)?, &url, id)
    }

    /// What a status means that is not the one hoped for.
    fn refusal(
        &self,
        http: &Http,
        id: &HubId,
        revision: &str,
        file: Option<&str>,
        answer: Answer,
    ) -> HubError {
        let endpoint = self.settings.endpoint.clone();
        let (kind, repo) = (id.kind, id.repo.clone());
        let has_token = http.has_token();
        match (answer.header("x-error-code"), answer.status) {
            (Some("GatedRepo"), _) | (None, 403) => HubError::Gated {
                url: format!("{endpoint}/{}{repo}", kind.prefix()),
                has_token,
            },
            (Some("RevisionNotFound"), _) => HubError::NoRevision {
                kind,
                id: repo,
                revision: revision.to_owned(),
                endpoint,
            },
            (Some("EntryNotFound"), _) if let Some(file) = file => HubError::NoFile {
                kind,
                id: repo,
                file: file.to_owned(),
                commit: revision.to_owned(),
            },
            (None, 401) if has_token => HubError::BadToken { endpoint },
            // The hub answers so to what it does not have, lest it tells of private ones.
            (Some("RepoNotFound"), _) | (_, 401 | 404) => HubError::NotFound {
                kind,
                id: repo,
                endpoint,
            },
            (_, status) => HubError::Status {
                message: answer
                    .header("x-error-message")
                    .map_or_else(String::new, plain),
                url: answer.url,
                status,
            },
        }
    }
}

impl Snapshot<'_> {
    /// Whether the commit has a file of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.files.iter().any(|file| file == name)
    }

    /// The folder in which the commit's files have their names.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.cache.snapshot(&self.commit)
    }

    /// Brings the files `names` of the commit into its folder, those that are not there yet.
    ///
    /// # Errors
    /// When one cannot be had.
    pub fn fetch(&self, names: &[String], size: Size) -> Result<(), HubError> {
        let missing = names
            .iter()
            .filter(|name| self.cache.find(&self.commit, name).is_none());
        if let (Some(http), None) = (&self.hub.http, &self.cut_off) {
            return missing
                .into_iter()
                .try_for_each(|name| self.fetch_one(http, name, size));
        }
        let missing: Vec<String> = missing.cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(self.absent(missing))
    }

    /// Whether all these files of the commit are in its folder.
    #[must_use]
    pub fn are_here(&self, names: &[String]) -> bool {
        let mut names = names.iter();
        names.all(|name| self.cache.find(&self.commit, name).is_some())
    }

    /// The beginning of a safetensors file, up to the end of its header, and the size of the whole. It is checked against
    /// no hash, which is one of all bytes: good to look at, and for nothing else.
    ///
    /// # Errors
    /// When the file cannot be had or begins otherwise.
    pub fn header(&self, name: &str) -> Result<(Vec<u8>, u64), HubError> {
        let (Some(http), None) = (&self.hub.http, &self.cut_off) else {
            return Err(self.absent(vec![name.to_owned()]));
        };
        let file = self.announced(http, name)?;
        let wrong = |reason| HubError::Protocol {
            url: file.url.clone(),
            reason,
        };
        let size = file.size;
        if size < 8 {
            return Err(wrong(format!(
                "{name} has {size} bytes, too few for a safetensors file"
            )));
        }
        let mut bytes = part(http, &file.url, 0..8)?;
        let length = bytes
            .first_chunk()
            .map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes));
        if length == 0 || length > LARGEST_HEADER.min(size - 8) {
            return Err(wrong(format!(
                "{name} has {size} bytes, and its header is said to have {length}"
            )));
        }
        bytes.extend(part(http, &file.url, 8..8 + length)?);
        Ok((bytes, size))
    }

    /// The error of files that are not in the cache while nothing can be fetched.
    #[must_use]
    pub fn absent(&self, missing: Vec<String>) -> HubError {
        match &self.cut_off {
            Some(HubError::Unreachable { url, reason, cache }) => HubError::Unreachable {
                url: url.clone(),
                reason: format!("{reason}; the cache lacks {}", missing.join(", ")),
                cache: cache.clone(),
            },
            _ => HubError::Offline {
                kind: self.id.kind,
                id: self.id.repo.clone(),
                at: self.id.at(),
                folder: self.cache.folder().to_owned(),
                missing,
            },
        }
    }

    fn fetch_one(&self, http: &Http, name: &str, size: Size) -> Result<(), HubError> {
        let file = self.announced(http, name)?;
        if size == Size::Text && file.size > LARGEST_TEXT {
            return Err(HubError::TooLarge {
                url: file.url,
                what: "a file of its kind",
                limit: LARGEST_TEXT,
            });
        }
        download::fetch(http, &self.cache, &file)?;
        self.cache.link(&self.commit, name, &file.hash)
    }

    /// Hash and size of a file, of which the hub itself tells also where another server has the bytes.
    fn announced(&self, http: &Http, name: &str) -> Result<Announced, HubError> {
        let Self {
            hub, id, commit, ..
        } = self;
        if !is_safe(name) {
            return Err(HubError::FileName {
                kind: id.kind,
                id: id.repo.clone(),
                name: name.to_owned(),
            });
        }
        let url = format!(
            "{}/{}{}/resolve/{commit}/{}",
            hub.settings.endpoint,
            id.kind.prefix(),
            id.repo,
            encoded(name, true)
        );
        let answer = http.head(&url)?;
        if !matches!(answer.status, 200 | 301 | 302 | 303 | 307 | 308) {
            return Err(hub.refusal(http, id, commit, Some(name), answer));
        }
        let (hash, size) = announcement(&answer, commit).map_err(|reason| HubError::Protocol {
            url: url.clone(),
            reason,
        })?;
        Ok(Announced {
            name: format!("{}/{name}", id.repo),
            url,
            hash,
            size,
        })
    }
}

/// The commit of a revision and the names of its files, of the JSON that the API answers.
pub(super) fn listing(
    json: &[u8],
    url: &str,
    id: &HubId,
) -> Result<(String, Vec<String>), HubError> {
    let wrong = |reason| HubError::Protocol {
        url: url.to_owned(),
        reason,
    };
    let found: Revision = serde_json::from_slice(json).map_err(|error| wrong(error.to_string()))?;
    if !is_commit(&found.sha) {
        return Err(wrong(format!("{:?} is no commit", found.sha)));
    }
    let mut names: Vec<String> = found.siblings.into_iter().map(|f| f.rfilename).collect();
    if let Some(name) = names.iter().find(|name| !is_safe(name)) {
        return Err(HubError::FileName {
            kind: id.kind,
            id: id.repo.clone(),
            name: name.clone(),
        });
    }
    names.sort();
    Ok((found.sha, names))
}

/// Hash and size of a file by the headers that announce it.
pub(super) fn announcement(answer: &Answer, commit: &str) -> Result<(Expected, u64), String> {
    if let Some(other) = answer.header("x-repo-commit").filter(|c| *c != commit) {
        return Err(format!("it is of another commit{}", plain(other)));
    }
    let etag = answer.header("x-linked-etag").or(answer.header("etag"));
    let hash = etag
        .and_then(Expected::of_etag)
        .ok_or("its ETag is neither a sha256 nor a git hash, so it could not be checked")?;
    // The length of a redirect is that of its own body.
    let own = answer
        .header("content-length")
        .filter(|_| answer.status == 200);
    let size = answer.header("x-linked-size").or(own);
    let size = size
        .and_then(|size| size.parse().ok())
        .ok_or("it has no size")?;
    Ok((hash, size))
}

/// Some bytes of a file.
fn part(http: &Http, url: &str, range: Range<u64>) -> Result<Vec<u8>, HubError> {
    let asked = Part::Of(range.clone());
    let answer = http.get(url, &asked, Follow::Anywhere)?;
    // A server that knows no ranges sends what is before and behind them too.
    let (before, behind) = match answer.status {
        206 => {
            answer.check_part(&asked)?;
            (0, 1)
        }
        200 => (range.start, 0),
        status => {
            return Err(HubError::Status {
                url: answer.url,
                status,
                message: String::new(),
            });
        }
    };
    let url = answer.url.clone();
    let count = before + (range.end - range.start);
    let mut bytes = Vec::new();
    let body = answer.into_reader();
    let reason = match body.take(count + behind).read_to_end(&mut bytes) {
        Ok(found) if found as u64 == count => return Ok(bytes.split_off(before as usize)),
        Ok(found) if found as u64 > count => format!("asked for {count} bytes, it sends more"),
        Ok(found) => format!("of {count} bytes that were asked for {found} came"),
        Err(error) => format!("its beginning broke off: {error}"),
    };
    Err(HubError::Protocol { url, reason })
}

/// A part of an address; `/` stays where it parts the folders of a path.
fn encoded(text: &str, is_path: bool) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (is_path && byte == b'/') {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// Text of a server, fit for one line of a message.
fn plain(text: &str) -> String {
    let text = text.chars().filter(|c| !c.is_control()).take(200);
    format!(": {}", text.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_encoded() {
        assert_eq!(encoded("refs/pr/1", false), "refs%2Fpr%2F1");
        assert_eq!(encoded("a b/c#d?.csv", true), "a%20b/c%23d%3F.csv");
        assert_eq!(encoded("ä", true), "%C3%A4");
    }
}
