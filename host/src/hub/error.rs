//! Why something on the hub cannot be had.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::id::RepoKind;

/// What went wrong between an id and its files.
#[derive(Debug, Error)]
pub enum HubError {
    #[error(
        "`{text}` is neither a path that exists here nor an id on the hub, \
         [ORG/]NAME[:CONFIG][@REVISION]: {reason}"
    )]
    NotAnId { text: String, reason: &'static str },

    #[error("the environment variable {name} is {found:?}, expected {expected}")]
    Variable {
        name: &'static str,
        found: String,
        expected: &'static str,
    },

    #[error("no folder for the hub's cache: set HF_HOME")]
    NoCache,

    #[error(
        "no {kind} `{id}`: no path of that name is here, and {endpoint} has none or it is private; check the name, or \
         set HF_TOKEN to a token that may read it"
    )]
    NotFound {
        kind: RepoKind,
        id: String,
        endpoint: String,
    },

    #[error(
        "the {kind} `{id}` has no revision `{revision}` on {endpoint}: a branch, a tag or a commit in full"
    )]
    NoRevision {
        kind: RepoKind,
        id: String,
        revision: String,
        endpoint: String,
    },

    #[error("the {kind} `{id}` has no file `{file}` at {commit}")]
    NoFile {
        kind: RepoKind,
        id: String,
        file: String,
        commit: String,
    },

    #[error(
        "{url} is open only to those who accepted its terms: accept them there, then {}",
        if *has_token { "check that HF_TOKEN belongs to that account" } else { "set HF_TOKEN to a token of that account" }
    )]
    Gated { url: String, has_token: bool },

    #[error(
        "{endpoint} does not accept the token of HF_TOKEN or of the token file: make a new one, or unset it for what \
         is public"
    )]
    BadToken { endpoint: String },

    #[error(
        "no path `{id}{at}` is here, and HF_HUB_OFFLINE is set: of the {kind} of that name {} lacks {}; unset \
         HF_HUB_OFFLINE once to fetch it, put the files there, or name a folder that has them",
        folder.display(),
        missing.join(", ")
    )]
    Offline {
        kind: RepoKind,
        id: String,
        /// `@REVISION`, or nothing.
        at: String,
        folder: PathBuf,
        missing: Vec<String>,
    },

    #[error(
        "cannot reach {url}: {reason}; without a network, set HF_HUB_OFFLINE=1 to use what {} holds, or name a folder that is here",
        cache.display()
    )]
    Unreachable {
        url: String,
        reason: String,
        cache: PathBuf,
    },

    #[error("{url} answers {status}{message}")]
    Status {
        url: String,
        status: u16,
        /// `: TEXT`, or nothing.
        message: String,
    },

    #[error("{url} answers with something that is not of the hub: {reason}")]
    Protocol { url: String, reason: String },

    #[error("{from} redirects to {to}, which is refused: {reason}")]
    Redirect {
        from: String,
        to: String,
        reason: &'static str,
    },

    #[error("{url} is larger than the {limit} bytes that {what} may have")]
    TooLarge {
        url: String,
        what: &'static str,
        limit: u64,
    },

    #[error(
        "{url} broke off at {have} of {size} bytes, {attempts} times: {reason}; the same command goes on from there"
    )]
    Broken {
        url: String,
        have: u64,
        size: u64,
        attempts: u32,
        reason: String,
    },

    #[error("{url} has {algorithm} {found}, the hub says {expected}: what came was thrown away")]
    Hash {
        url: String,
        algorithm: &'static str,
        expected: String,
        found: String,
    },

    #[error("{} has {free} bytes free, and {needed} are to come: set HF_HOME to a folder with more room", folder.display())]
    DiskFull {
        folder: PathBuf,
        needed: u64,
        free: u64,
    },

    #[error(
        "the {kind} `{id}` lists the file {name:?}, whose name leads out of its folder or is not allowed"
    )]
    FileName {
        kind: RepoKind,
        id: String,
        name: String,
    },

    #[error(
        "the model `{id}` has no safetensors weights but {}: those are not read, for pickle runs code and the others \
         are of other programs; look for a revision or a copy with model.safetensors, or convert it with \
         `save_pretrained` of transformers and name the folder",
        found.join(", ")
    )]
    OtherWeights { id: String, found: Vec<String> },

    #[error("the model `{id}` has no {missing}: it is not in the layout of transformers")]
    NotAModel { id: String, missing: &'static str },

    #[error("{origin} is not the index of sharded weights: {reason}")]
    Index { origin: String, reason: String },

    #[error("the data set `{id}` has several configurations; name one of them as `{id}:CONFIG`: {}", known.join(", "))]
    WhichConfig { id: String, known: Vec<String> },

    #[error(
        "the data set `{id}` has no configuration `{config}`{}; it has {}",
        nearest.as_ref().map_or_else(String::new, |near| format!(", did you mean `{near}`?")),
        known.join(", ")
    )]
    NoConfig {
        id: String,
        config: String,
        nearest: Option<String>,
        known: Vec<String>,
    },

    #[error("the data set `{id}` has no train split; it has {}", splits.join(", "))]
    NoTrainSplit { id: String, splits: Vec<String> },

    #[error(
        "the data set `{id}` has no files that can be read ({formats}){}: fetch it with its own tools and name the files",
        if *has_script { ", but a script, which is not run" } else { "" }
    )]
    NoDataFiles {
        id: String,
        formats: String,
        has_script: bool,
    },

    #[error("{origin}: {reason}")]
    Card { origin: String, reason: String },

    #[error("cannot {action} {}: {source}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

impl HubError {
    /// For `map_err`: the error of a file operation, told with its path.
    pub(super) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }

    /// Whether the network, the server or the disk failed, rather than what was asked for being wrong.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        matches!(
            self,
            Self::NoCache
                | Self::Unreachable { .. }
                | Self::Status { .. }
                | Self::Protocol { .. }
                | Self::Redirect { .. }
                | Self::TooLarge { .. }
                | Self::Broken { .. }
                | Self::Hash { .. }
                | Self::DiskFull { .. }
                | Self::FileName { .. }
                | Self::File { .. }
        )
    }
}
