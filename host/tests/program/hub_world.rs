//! A sandbox with a hub of its own.

use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::hub_server::{HubServer, Repository, Seen, hash};
use crate::processes::Running;
use crate::sandbox::{Outcome, Sandbox, small};

/// A sandbox whose model and data are on a hub too, as `org/tiny` and `org/topics`.
pub struct World {
    pub sandbox: Sandbox,
    pub server: HubServer,
    /// Commits of model and data set.
    pub model: String,
    pub data: String,
}

pub const TOKEN: &str = "hf_secret";
pub const WEIGHTS: &str = "model.safetensors";

impl World {
    pub fn new() -> Self {
        let sandbox = Sandbox::new();
        let server = HubServer::start();
        Self {
            model: server.put(
                "models/org/tiny",
                Repository::of(files_of(&sandbox.path("model"))),
            ),
            data: server.put(
                "datasets/org/topics",
                Repository::of(files_of(&sandbox.path("data"))),
            ),
            sandbox,
            server,
        }
    }

    /// A small run with these flags and a network.
    pub fn run(&self, flags: &str) -> Outcome {
        self.run_with(flags, &[])
    }

    pub fn run_with(&self, flags: &str, environment: &[(&str, &str)]) -> Outcome {
        self.online(&small(flags), environment)
    }

    /// Any call with a network.
    pub fn online(&self, words: &str, environment: &[(&str, &str)]) -> Outcome {
        self.sandbox.end(self.start(words, environment))
    }

    /// Starts the program with a network.
    pub fn start(&self, words: &str, environment: &[(&str, &str)]) -> Running {
        Running::new(self.command(words, environment).spawn().unwrap())
    }

    /// A call of the program with a network.
    pub fn command(&self, words: &str, environment: &[(&str, &str)]) -> Command {
        let endpoint = self.server.endpoint();
        let mut all = vec![("HF_ENDPOINT", endpoint.as_str()), ("HF_HUB_OFFLINE", "")];
        all.extend(environment);
        self.sandbox.command(words, &all)
    }

    /// The one line of a call that fails with this exit code.
    pub fn fails(&self, code: i32, flags: &str) -> String {
        let outcome = self.run(flags);
        assert_eq!(outcome.code, code, "{}", outcome.err);
        assert!(!self.sandbox.path("out").exists(), "{flags}");
        assert_eq!(outcome.err.lines().count(), 1, "{}", outcome.err);
        outcome.err
    }

    pub fn cached(&self, name: &str) -> PathBuf {
        self.sandbox.path("hf/hub").join(name)
    }

    /// A file of the model in the cache, by its name there.
    pub fn cached_model(&self, name: &str) -> PathBuf {
        let commit = &self.model;
        self.cached(&format!("models--org--tiny/snapshots/{commit}/{name}"))
    }

    /// Where the model's weights are gathered, with these as the first bytes of them.
    pub fn gathered(&self, first: &[u8]) -> PathBuf {
        let weights = fs::read(self.sandbox.path("model").join(WEIGHTS)).unwrap();
        let blobs = self.cached("models--org--tiny/blobs");
        fs::create_dir_all(&blobs).unwrap();
        let path = blobs.join(format!("{}.incomplete", hash(&weights)));
        fs::write(&path, first).unwrap();
        path
    }

    /// Names in `blobs` of the model.
    pub fn blobs(&self) -> Vec<String> {
        let entries = fs::read_dir(self.cached("models--org--tiny/blobs")).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

/// The files of a folder, with their names.
pub fn files_of(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let file = |entry: DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read(entry.path()).unwrap())
    };
    entries.map(file).collect()
}

pub fn transfers(seen: &[Seen]) -> Vec<&Seen> {
    let of_files = |seen: &&Seen| seen.method == "GET" && !seen.path.starts_with("/api/");
    seen.iter().filter(of_files).collect()
}
