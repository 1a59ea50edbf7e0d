//! Ids of models and data sets on the hub, told apart from paths.

use std::fmt;
use std::path::Path;

use super::error::HubError;
use crate::model::shown;

/// The two kinds of repositories that are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RepoKind {
    Model,
    Data,
}

/// A repository on the hub at a revision: `[ORG/]NAME[:CONFIG][@REVISION]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HubId {
    pub kind: RepoKind,
    /// `ORG/NAME`, or `NAME` alone for the oldest ones.
    pub repo: String,
    /// One of the tables of a data set; models have none.
    pub config: Option<String>,
    /// A branch, a tag or a commit; absent for the branch `main`.
    pub revision: Option<String>,
}

/// Ends of names that are files, of this program or of others, and never repositories.
const FILES: [&str; 11] = [
    "csv",
    "tsv",
    "txt",
    "json",
    "jsonl",
    "parquet",
    "safetensors",
    "bin",
    "toml",
    "gz",
    "zst",
];

/// Longest part of an id, in characters.
const LONGEST: usize = 96;

impl HubId {
    /// The id that `text` is; `None` for what is built in, exists here as a path, or has the looks of one. A path that
    /// exists goes before an id.
    ///
    /// # Errors
    /// When it is nothing of all that.
    pub fn find(kind: RepoKind, text: &str) -> Result<Option<Self>, HubError> {
        if text.starts_with("builtin:") || Path::new(text).exists() || looks_like_a_path(text) {
            return Ok(None);
        }
        Self::parse(kind, text)
            .map(Some)
            .map_err(|reason| HubError::NotAnId {
                text: shown(text),
                reason,
            })
    }

    /// Reads `[ORG/]NAME[:CONFIG][@REVISION]`; the error says what is wrong with it.
    ///
    /// # Errors
    /// When `text` is not of that form.
    pub fn parse(kind: RepoKind, text: &str) -> Result<Self, &'static str> {
        let (name, revision) = match text.split_once('@') {
            Some((name, revision)) => (name, Some(revision)),
            None => (text, None),
        };
        let (repo, config) = match name.split_once(':') {
            Some((repo, config)) => (repo, Some(config)),
            None => (name, None),
        };
        if repo.matches('/').count() > 1 {
            return Err("there is at most one `/` in an id");
        }
        if !repo.split('/').all(is_name) {
            return Err(
                "ORG and NAME are of letters, digits, `-`, `_` and `.`, begin and end with none of `-` and `.`, and \
                 hold neither `--` nor `..`",
            );
        }
        if config.is_some() && kind == RepoKind::Model {
            return Err("a model has no configurations");
        }
        if config.is_some_and(|config| config.is_empty() || !config.chars().all(is_of_config)) {
            return Err("CONFIG is of letters, digits, `-`, `_`, `.` and `+`");
        }
        if revision.is_some_and(|revision| !is_revision(revision)) {
            return Err("REVISION is a branch, a tag or a commit");
        }
        Ok(Self {
            kind,
            repo: repo.to_owned(),
            config: config.map(str::to_owned),
            revision: revision.map(str::to_owned),
        })
    }

    /// The revision that is asked for.
    #[must_use]
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }

    /// `@REVISION`, or nothing where none was named.
    #[must_use]
    pub fn at(&self) -> String {
        self.revision
            .as_ref()
            .map_or_else(String::new, |revision| format!("@{revision}"))
    }
}

/// Ends of a path that a repository's name has by accident only.
fn looks_like_a_path(text: &str) -> bool {
    let extension = Path::new(text)
        .extension()
        .and_then(|extension| extension.to_str());
    text.is_empty()
        || text.starts_with(['/', '.', '~'])
        || text.ends_with('/')
        || extension.is_some_and(|found| FILES.iter().any(|file| file.eq_ignore_ascii_case(found)))
}

fn is_name(part: &str) -> bool {
    let edge = |c: char| c == '-' || c == '.';
    !part.is_empty()
        && part.len() <= LONGEST
        && part
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        && !part.starts_with(edge)
        && !part.ends_with(edge)
        && !part.contains("--")
        && !part.contains("..")
}

fn is_of_config(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._+-".contains(c)
}

/// What git allows, less what could leave the folder `refs`.
fn is_revision(revision: &str) -> bool {
    !revision.is_empty()
        && revision.len() <= 255
        && revision
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._+-/".contains(c))
        && revision
            .split('/')
            .all(|part| !part.is_empty() && !part.starts_with('.'))
}

impl RepoKind {
    /// How the hub calls it, in the addresses of its API and in the names of the cache.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Data => "datasets",
        }
    }

    /// What stands before the id in the addresses of pages and files.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Model => "",
            Self::Data => "datasets/",
        }
    }
}

impl fmt::Display for RepoKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Model => "model",
            Self::Data => "data set",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<HubId> {
        HubId::find(RepoKind::Data, text).unwrap()
    }

    #[test]
    fn an_id_has_four_parts() {
        let all = found("org/name:config-v1@refs/pr/3").unwrap();
        assert_eq!(all.repo, "org/name");
        assert_eq!(all.config.as_deref(), Some("config-v1"));
        assert_eq!(all.revision(), "refs/pr/3");
        assert_eq!(all.at(), "@refs/pr/3");
        let short = found("ag_news").unwrap();
        assert_eq!((short.repo.as_str(), short.revision()), ("ag_news", "main"));
        assert_eq!(found("Qwen/Qwen3-0.6B").unwrap().repo, "Qwen/Qwen3-0.6B");
    }

    #[test]
    fn paths_and_built_ins_are_no_ids() {
        for path in [
            "builtin:topics",
            "src",
            "/absent",
            "./absent",
            "~/absent",
            "absent/",
            "absent.csv",
            "data/absent.jsonl",
            "",
        ] {
            assert_eq!(found(path), None, "{path}");
        }
    }

    #[test]
    fn what_is_neither_says_so() {
        for text in [
            "a/b/c",
            "org/../name",
            "org/na--me",
            "-name",
            "na me",
            "name:",
            "name@",
            "name@../../x",
            "name@a//b",
            "name:a/b",
        ] {
            let error = HubId::find(RepoKind::Data, text).unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("neither"), "{error}");
        }
        let error = HubId::find(RepoKind::Model, "bert:x").unwrap_err();
        assert!(error.to_string().contains("a model has no configurations"));
    }
}
