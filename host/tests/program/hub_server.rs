//! A hub on this machine: the API, the files of repositories, a second server that has the large ones as a hub's CDN
//! has, and whatever can go wrong with them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use lorahost::digest::{hex, sha256};
use serde_json::json;
use sha1::{Digest, Sha1};

/// Both servers; they end with the process of the tests.
pub struct HubServer {
    hub: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    cdn: String,
    /// By `models/NAME` or `datasets/NAME`.
    repositories: BTreeMap<String, Repository>,
    faults: BTreeMap<String, Fault>,
    seen: Vec<Seen>,
}

/// A repository: its files by revision.
#[derive(Clone, Default)]
pub struct Repository {
    pub revisions: BTreeMap<String, Revision>,
    /// The token without which its files are refused.
    pub gate: Option<&'static str>,
    /// Where it is now.
    pub moved_to: Option<&'static str>,
}

#[derive(Clone, Default)]
pub struct Revision {
    pub commit: String,
    /// Names and bytes; those of `LARGE` and more lie on the second server.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// What happens to the transfer of a file, by its name.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It ends after so many bytes, so many times.
    Cut { after: usize, times: usize },
    /// It never ends.
    Endless,
    /// Its last byte is another.
    Wrong,
    /// Ranges are not known.
    NoRange,
    /// The server is busy, so many times.
    Busy(usize),
    /// Half a second passes before it begins.
    Slow,
    /// It is said to be on an address that is no server's.
    Elsewhere(String),
    /// It is said to have so many bytes.
    Said(u64),
    /// Of a part, each byte is the one behind that which was asked for.
    Shifted,
    /// A part goes on to the end of the file, and says nothing of it.
    Longer,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Seen {
    pub on_cdn: bool,
    pub method: String,
    pub path: String,
    pub authorization: Option<String>,
    pub range: Option<String>,
}

/// As Git LFS has them: under their sha256, on another server.
const LARGE: usize = 10_000;

impl Repository {
    /// One commit, which `main` stands at.
    pub fn of<N: Into<String>, B: Into<Vec<u8>>>(files: impl IntoIterator<Item = (N, B)>) -> Self {
        Self::default().with("main", files)
    }

    /// The same with one more revision.
    pub fn with<N: Into<String>, B: Into<Vec<u8>>>(
        mut self,
        revision: &str,
        files: impl IntoIterator<Item = (N, B)>,
    ) -> Self {
        let files: BTreeMap<String, Vec<u8>> = files
            .into_iter()
            .map(|(name, bytes)| (name.into(), bytes.into()))
            .collect();
        let commit = sha1_of(format!("{revision}{:?}", files.keys()).as_bytes());
        let found = Revision { commit, files };
        self.revisions.insert(revision.to_owned(), found);
        self
    }

    /// The revision of that name or commit.
    fn revision(&self, name: &str) -> Option<&Revision> {
        let by_commit = || self.revisions.values().find(|found| found.commit == name);
        self.revisions.get(name).or_else(by_commit)
    }
}

impl HubServer {
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let cdn = serve(&state, true);
        state.lock().unwrap().cdn = format!("http://{cdn}");
        let hub = serve(&state, false);
        Self { hub, state }
    }

    /// What `HF_ENDPOINT` is to be.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.hub)
    }

    /// Puts a repository, `models/NAME` or `datasets/NAME`; its newest commit.
    pub fn put(&self, name: &str, repository: Repository) -> String {
        let main = repository.revisions.get("main");
        let commit = main.map_or_else(String::new, |revision| revision.commit.clone());
        let mut state = self.state();
        state.repositories.insert(name.to_owned(), repository);
        commit
    }

    pub fn fault(&self, file: &str, fault: Fault) {
        self.state().faults.insert(file.to_owned(), fault);
    }

    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// The requests since the last call.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.state().seen)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

fn serve(state: &Arc<Mutex<State>>, on_cdn: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let state = Arc::clone(state);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let state = Arc::clone(&state);
            // A client that goes away in the middle is part of the tests.
            thread::spawn(move || answer(&stream, &state, on_cdn));
        }
    });
    address
}

/// Reads one request and answers it.
fn answer(mut stream: &TcpStream, state: &Mutex<State>, on_cdn: bool) -> Option<()> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut authorization, mut range) = (None, None);
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => authorization = Some(value.to_owned()),
            "range" => range = Some(value.to_owned()),
            _ => {}
        }
    }
    let seen = Seen {
        on_cdn,
        method,
        path,
        authorization,
        range,
    };
    let reply = {
        let mut state = state.lock().unwrap();
        state.seen.push(seen.clone());
        if on_cdn {
            state.of_cdn(&seen)
        } else {
            state.of_hub(&seen)
        }
    };
    reply.send(&mut stream, seen.method == "HEAD")
}

/// An answer and how it goes wrong.
struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    fault: Option<Fault>,
}

impl State {
    fn of_hub(&mut self, seen: &Seen) -> Reply {
        let path = seen.path.split('?').next().unwrap();
        let path = path.replace("%2F", "/").replace("%20", " ");
        if let Some(rest) = path.strip_prefix("/api/") {
            return self.of_api(rest, seen);
        }
        let path = path.trim_start_matches('/');
        let kind = if path.starts_with("datasets/") {
            ""
        } else {
            "models/"
        };
        let Some((name, rest)) = path.split_once("/resolve/") else {
            return Reply::refusal(404, "EntryNotFound");
        };
        let Some(repository) = self.repositories.get(&format!("{kind}{name}")) else {
            return Reply::refusal(401, "RepoNotFound");
        };
        if let Some(to) = repository.moved_to {
            let to = to.trim_start_matches("models/");
            return Reply::moved(seen.path.replacen(name, to, 1));
        }
        if let Some(gate) = repository.gate
            && seen.authorization != Some(format!("Bearer {gate}"))
        {
            let status = if seen.authorization.is_some() {
                403
            } else {
                401
            };
            return Reply::refusal(status, "GatedRepo");
        }
        let (revision, file) = rest.split_once('/').unwrap();
        let found = repository.revision(revision);
        let found = found.and_then(|found| Some((&found.commit, found.files.get(file)?.clone())));
        let Some((commit, bytes)) = found else {
            return Reply::refusal(404, "EntryNotFound");
        };
        let mut headers = vec![("X-Repo-Commit", commit.clone())];
        let etag = format!("\"{}\"", hash(&bytes));
        let said = match self.faults.get(file) {
            Some(Fault::Said(size)) => Some(*size),
            _ => None,
        };
        if bytes.len() < LARGE {
            headers.push(("ETag", etag));
            headers.extend(said.map(|size| ("X-Linked-Size", size.to_string())));
            return self.file(file, seen, headers, bytes);
        }
        let place = match self.faults.get(file) {
            Some(Fault::Elsewhere(address)) => address.clone(),
            _ => format!("{}/{kind}{name}/{commit}/{file}?signature=s", self.cdn),
        };
        let size = said.unwrap_or(bytes.len() as u64);
        headers.extend([
            ("X-Linked-Size", size.to_string()),
            ("X-Linked-Etag", etag),
            ("Location", place),
        ]);
        Reply {
            status: 302,
            headers,
            body: b"Found".to_vec(),
            fault: None,
        }
    }

    fn of_api(&mut self, path: &str, seen: &Seen) -> Reply {
        if let Some(Fault::Busy(times @ 1..)) = self.faults.get_mut("listing") {
            *times -= 1;
            return Reply::refusal(503, "");
        }
        let Some((name, revision)) = path.split_once("/revision/") else {
            return Reply::refusal(404, "");
        };
        let Some(repository) = self.repositories.get(name) else {
            return Reply::refusal(401, "RepoNotFound");
        };
        if let Some(to) = repository.moved_to {
            let place = if to.contains("://") {
                to.to_owned()
            } else {
                seen.path.replacen(name, to, 1)
            };
            return Reply::moved(place);
        }
        let Some(found) = repository.revision(revision) else {
            return Reply::refusal(404, "RevisionNotFound");
        };
        let files = found.files.keys().map(|name| json!({"rfilename": name}));
        let body = json!({"sha": found.commit, "siblings": files.collect::<Vec<_>>()});
        Reply {
            status: 200,
            headers: Vec::new(),
            body: body.to_string().into_bytes(),
            fault: self.faults.get("listing").cloned(),
        }
    }

    fn of_cdn(&mut self, seen: &Seen) -> Reply {
        let path = seen.path.split('?').next().unwrap().trim_start_matches('/');
        let mut repositories = self.repositories.iter();
        let found = repositories.find_map(|(name, repository)| {
            let (commit, file) = path
                .strip_prefix(name)?
                .strip_prefix('/')?
                .split_once('/')?;
            let bytes = repository.revision(commit)?.files.get(file)?;
            Some((file.to_owned(), bytes.clone()))
        });
        match found {
            Some((file, bytes)) => self.file(&file, seen, Vec::new(), bytes),
            None => Reply::refusal(404, "EntryNotFound"),
        }
    }

    /// The bytes of a file, or those that were asked for.
    fn file(
        &mut self,
        name: &str,
        seen: &Seen,
        mut headers: Vec<(&'static str, String)>,
        mut bytes: Vec<u8>,
    ) -> Reply {
        let fault = match self.faults.get_mut(name) {
            Some(Fault::Cut { times: 0, .. }) => None,
            Some(Fault::Cut { after, times }) if seen.method == "GET" => {
                *times -= 1;
                Some(Fault::Cut {
                    after: *after,
                    times: 0,
                })
            }
            fault => fault.cloned(),
        };
        if let (Some(Fault::Wrong), Some(last)) = (&fault, bytes.last_mut()) {
            *last ^= 1;
        }
        let range = seen.range.as_ref().map(|range| {
            let (from, to) = range
                .strip_prefix("bytes=")
                .unwrap()
                .split_once('-')
                .unwrap();
            (from.parse::<usize>().unwrap(), to.parse::<usize>().ok())
        });
        let mut status = 200;
        if let Some((from, to)) = range.filter(|_| !matches!(fault, Some(Fault::NoRange))) {
            let size = bytes.len();
            let shift = usize::from(matches!(fault, Some(Fault::Shifted)));
            let (from, end) = (from + shift, to.map_or(size, |to| size.min(to + 1 + shift)));
            headers.push(("Content-Range", format!("bytes {from}-{}/{size}", end - 1)));
            let end = if matches!(fault, Some(Fault::Longer)) {
                size
            } else {
                end
            };
            bytes = bytes[from..end].to_vec();
            status = 206;
        }
        Reply {
            status,
            headers,
            body: bytes,
            fault,
        }
    }
}

impl Reply {
    fn refusal(status: u16, code: &str) -> Self {
        Self {
            status,
            headers: vec![("X-Error-Code", code.to_owned())],
            body: Vec::new(),
            fault: None,
        }
    }

    fn moved(to: String) -> Self {
        Self {
            status: 307,
            headers: vec![("Location", to)],
            body: Vec::new(),
            fault: None,
        }
    }

    fn send(self, stream: &mut &TcpStream, head_only: bool) -> Option<()> {
        let endless = matches!(self.fault, Some(Fault::Endless));
        let mut head = vec![
            format!("HTTP/1.1 {} X", self.status),
            "Connection: close".to_owned(),
        ];
        let headers = self.headers.iter();
        head.extend(headers.map(|(name, value)| format!("{name}: {value}")));
        if !endless || head_only {
            head.push(format!("Content-Length: {}", self.body.len()));
        }
        let head = head.join("\r\n");
        stream.write_all((head + "\r\n\r\n").as_bytes()).ok()?;
        if head_only {
            return Some(());
        }
        match self.fault {
            Some(Fault::Cut { after, .. }) => {
                let after = after.min(self.body.len());
                stream.write_all(&self.body[..after]).ok()
            }
            Some(Fault::Endless) => loop {
                stream.write_all(&self.body).ok()?;
            },
            Some(Fault::Slow) => {
                thread::sleep(Duration::from_millis(500));
                stream.write_all(&self.body).ok()
            }
            _ => stream.write_all(&self.body).ok(),
        }
    }
}

/// What the hub calls a file: the sha256 of large ones, git's name of the others.
pub fn hash(bytes: &[u8]) -> String {
    if bytes.len() < LARGE {
        sha1_of(&[format!("blob {}\0", bytes.len()).as_bytes(), bytes].concat())
    } else {
        sha256(bytes)
    }
}

fn sha1_of(bytes: &[u8]) -> String {
    hex(&Sha1::digest(bytes))
}
