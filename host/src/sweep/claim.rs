//! Claims: which process makes which run, where several share an output folder.
//!
//! A claim of a run is the file `claims/RUN.G` of the output folder, G = 1, 2, ... The highest G that is there holds the
//! run. Claims lie beside the runs' folders, so that whoever begins a run may clear its folder.
//!
//! - **A claim is made in one step**, by `link(2)` of a file that is complete. Exclusive creation is atomic on NFS from
//!   version 3 on as well, but a linked file is never seen half-written, and its link count tells whether a call
//!   succeeded whose answer was lost. Where a file system has no links, exclusive creation takes their place. There are no locks:
//!   NFS loses them, and some network file systems have none.
//! - **A holder writes to its own file alone**, through the descriptor that it made it with: a number that it raises from
//!   time to time (the beat), and at the end, that it let go. It never writes to what stands at a path, since that may
//!   have become another's.
//! - **A lease expires without any clock being compared**: who wants a claimed run watches the beat, and counts on its own
//!   monotonic clock for how long it stood still. A clock that is wrong or jumps, on whatever machine, changes nothing.
//!   Whoever was kept from looking (a laptop asleep, a server away) begins to count anew.
//! - **A claim is taken over by making the next G**, which one process alone can do. The holder raises the beat and then looks
//!   for a successor; the taker makes the successor and then looks at the beat: at least one of them sees the other, and
//!   gives way.
//! - The claim of a process of this machine that is gone is taken over at once: boot, process id and start time tell.
//! - The claims of a run that is done are removed: nobody needs them, since whoever takes a run first looks whether it is
//!   done.

use std::{
    collections::HashMap,
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{holder::Holder, process::locked};
use crate::{
    atomic::{TEMPORARY_PREFIX, folder_of, shared},
    record::RecordError,
};

/// Version of the claims that this lorahost writes.
const VERSION: u32 = 1;

/// Bytes of every claim's file; JSON, and blanks. A beat changes none of the others.
const BYTES: usize = 1024;

/// How long the claim of a process of this machine stands that is gone: its workers notice within milliseconds.
const ORPHANS_END: Duration = Duration::from_secs(1);

/// Claims as one process sees them. The path of a claim is without its generation; its folder need not exist.
#[derive(Debug)]
pub(super) struct Claims {
    lease: Duration,
    own: Holder,
    /// What was last seen of the claims of others.
    seen: Mutex<HashMap<PathBuf, Sighting>>,
}

/// What came of the wish for a run.
#[derive(Debug)]
pub(super) enum Take {
    Mine(Arc<Claim>),
    Held {
        /// Whether its holder is known to be gone, so that the claim is about to be free.
        deserted: bool,
    },
}

/// A run that is this process's to make. Dropped, it is let go.
#[derive(Debug)]
pub(super) struct Claim {
    path: PathBuf,
    generation: u32,
    file: File,
    held: Mutex<Held>,
    lost: AtomicBool,
}

#[derive(Debug)]
struct Held {
    note: Note,
    renewed: Instant,
}

/// The content of a claim's file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Note {
    version: u32,
    holder: Holder,
    /// Tells this claim from every other.
    nonce: String,
    lease_seconds: f64,
    beat: u64,
    /// The holder let go of the run, which is not done.
    released: bool,
}

/// A claim as it was seen.
#[derive(Debug)]
struct Sighting {
    generation: u32,
    content: Vec<u8>,
    /// Since when it looks like this, without a longer time in which nobody looked.
    since: Instant,
    last: Instant,
}

impl Claims {
    /// Claims of this process expire when their beat stands still for `lease`.
    pub(super) fn new(lease: Duration) -> Self {
        Self {
            lease,
            own: Holder::this_process(),
            seen: Mutex::new(HashMap::new()),
        }
    }

    /// Takes the run with this claim, if nobody holds it, or its holder let go of it or is gone.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub(super) fn take(&self, path: &Path) -> Result<Take, RecordError> {
        self.try_take(path)
            .map_err(RecordError::io("write a claim in", folder_of(path)))
    }

    fn try_take(&self, path: &Path) -> io::Result<Take> {
        fs::create_dir_all(folder_of(path))?;
        let Some((generation, content)) = current(path)? else {
            return Ok(match self.make(path, 1)? {
                // Where the first is gone and a later one is there, that one has the run.
                Some(claim) if !claim.has_successor() => Take::Mine(claim.into()),
                _ => Take::Held { deserted: false },
            });
        };
        let note = Note::parse(&content);
        let released = note.as_ref().is_some_and(|note| note.released);
        let gone = note
            .as_ref()
            .is_some_and(|note| note.holder.is_gone(&self.own));
        // A claim of ours that we ask for is one that we lost: nobody makes the run.
        let own = note.as_ref().is_some_and(|note| note.holder == self.own);
        let deserted = released || gone || own;
        let patience = match &note {
            _ if released => Duration::ZERO,
            _ if gone => ORPHANS_END,
            Some(note) => note.lease(),
            None => self.lease,
        };
        if self.unchanged_for(path, generation, &content) < patience {
            return Ok(Take::Held { deserted });
        }
        let Some(claim) = self.make(path, generation + 1)? else {
            return Ok(Take::Held { deserted });
        };
        // Only now: a holder that wakes up raises its beat before it looks for a successor.
        if read(&numbered(path, generation))?.as_ref() != Some(&content) {
            claim.withdraw();
            return Ok(Take::Held { deserted: false });
        }
        if let Some(note) = note.filter(|note| !note.released && !own) {
            tracing::info!("{claim} is taken over from {}, which is gone", note.holder);
        }
        Ok(Take::Mine(claim.into()))
    }

    /// How long a claim has looked like this while this process looked.
    fn unchanged_for(&self, path: &Path, generation: u32, content: &[u8]) -> Duration {
        let now = Instant::now();
        let mut seen = locked(&self.seen);
        if let Some(sighting) = seen.get_mut(path)
            && sighting.generation == generation
            && sighting.content == content
            && now - sighting.last < self.lease / 2
        {
            sighting.last = now;
            return now - sighting.since;
        }
        let sighting = Sighting {
            generation,
            content: content.to_owned(),
            since: now,
            last: now,
        };
        seen.insert(path.to_owned(), sighting);
        Duration::ZERO
    }

    /// Makes a claim; none if there is one of this generation.
    fn make(&self, path: &Path, generation: u32) -> io::Result<Option<Claim>> {
        let note = Note {
            version: VERSION,
            holder: self.own.clone(),
            nonce: nonce()?,
            lease_seconds: self.lease.as_secs_f64(),
            beat: 0,
            released: false,
        };
        let file = create(&numbered(path, generation), &note)?;
        Ok(file.map(|file| Claim {
            path: path.to_owned(),
            generation,
            file,
            held: Mutex::new(Held {
                note,
                renewed: Instant::now(),
            }),
            lost: AtomicBool::new(false),
        }))
    }
}

impl Claim {
    /// Raises the beat, and says whether the run is still this process's. If it is not, another makes it now.
    ///
    /// Where the claim cannot be renewed for half of its lease, it counts as lost before others may take it.
    pub(super) fn renew(&self) -> bool {
        let mut held = locked(&self.held);
        if self.lost() {
            return false;
        }
        held.note.beat += 1;
        match self.beat(&held.note) {
            Ok(true) => held.renewed = Instant::now(),
            Ok(false) => self.lost.store(true, Ordering::SeqCst),
            Err(error) => {
                tracing::warn!("cannot renew the claim of {self}: {error}");
                if held.renewed.elapsed() > held.note.lease() / 2 {
                    self.lost.store(true, Ordering::SeqCst);
                }
            }
        }
        !self.lost()
    }

    /// Whether a renewal found the run to be another's.
    pub(super) fn lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    /// Removes the claims of the run, which is done.
    pub(super) fn finish(&self) {
        if !self.renew() {
            return;
        }
        self.lost.store(true, Ordering::SeqCst);
        // The lowest first: as long as one is left, a new claim of the lowest finds its successor.
        for generation in 1..=self.generation {
            remove(&numbered(&self.path, generation));
        }
    }

    fn beat(&self, note: &Note) -> io::Result<bool> {
        write(&self.file, note)?;
        refresh(folder_of(&self.path))?;
        let own = read(&numbered(&self.path, self.generation))?;
        let own = own.as_deref().and_then(Note::parse);
        Ok(own.is_some_and(|own| own.nonce == note.nonce) && !self.has_successor())
    }

    fn has_successor(&self) -> bool {
        numbered(&self.path, self.generation + 1).exists()
    }

    /// Takes a claim back that was just made, and of which nothing came.
    fn withdraw(self) {
        self.lost.store(true, Ordering::SeqCst);
        remove(&numbered(&self.path, self.generation));
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let run = self.path.file_name().unwrap_or_default();
        write!(f, "the run {}", run.display())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.lost() {
            return;
        }
        let note = &mut locked(&self.held).note;
        note.released = true;
        if let Err(error) = write(&self.file, note) {
            tracing::debug!("the claim of {self} has to expire: {error}");
        }
    }
}

impl Note {
    /// None for what is not (yet) a claim.
    fn parse(content: &[u8]) -> Option<Self> {
        serde_json::from_slice(content).ok()
    }

    fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.resize(bytes.len().max(BYTES - 1), b' ');
        bytes.push(b'\n');
        Ok(bytes)
    }

    fn lease(&self) -> Duration {
        Duration::try_from_secs_f64(self.lease_seconds).unwrap_or(Duration::MAX)
    }
}

/// Removes the claims of runs that are done, which processes left that were killed right after. What cannot be removed
/// does no harm.
pub(super) fn tidy(folder: &Path, is_done: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let run = name.to_str().and_then(|name| name.rsplit_once('.'));
        if run.is_some_and(|(run, _)| is_done(run)) {
            remove(&entry.path());
        }
    }
}

/// Has an NFS client forget what it remembers of a folder: that a file is not there, above all. A change that it makes
/// there itself shows it that others made some.
///
/// # Errors
/// When the folder cannot be written to.
pub(super) fn refresh(folder: &Path) -> io::Result<()> {
    temporary(folder).map(drop)
}

fn temporary(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .permissions(shared(0o666))
        .tempfile_in(folder)
}

/// The file of a claim.
fn numbered(path: &Path, generation: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{generation}"));
    name.into()
}

/// The claim that holds a run, if there is one.
fn current(path: &Path) -> io::Result<Option<(u32, Vec<u8>)>> {
    let mut current = None;
    for generation in 1.. {
        match read(&numbered(path, generation))? {
            Some(content) => current = Some((generation, content)),
            None => break,
        }
    }
    Ok(current)
}

/// The content of a file, as it is on the server: NFS clients ask for it anew when a file is opened.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let content = File::open(path).and_then(|mut file| {
        let mut content = Vec::new();
        file.read_to_end(&mut content).map(|_| content)
    });
    match content {
        Ok(content) => Ok(Some(content)),
        Err(error)
            if [ErrorKind::NotFound, ErrorKind::StaleNetworkFileHandle].contains(&error.kind()) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Writes a claim, and has it reach the server: NFS clients keep what they write until then.
fn write(file: &File, note: &Note) -> io::Result<()> {
    file.write_all_at(&note.bytes()?, 0)?;
    file.sync_data()
}

/// Puts a file with this content at `path` in one step; none if there is one.
fn create(path: &Path, note: &Note) -> io::Result<Option<File>> {
    let file = temporary(folder_of(path))?;
    write(file.as_file(), note)?;
    let linked = fs::hard_link(file.path(), path);
    // The answer to a request that was sent twice says that the name exists, and it is ours.
    if linked.is_ok() || file.as_file().metadata()?.nlink() == 2 {
        return Ok(Some(file.into_file()));
    }
    match linked {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(None),
        Err(error) if no_links(&error) => create_exclusively(path, note),
        Err(error) => Err(error),
        Ok(()) => Ok(Some(file.into_file())),
    }
}

/// Whether the error of a link says that the file system has none.
fn no_links(error: &io::Error) -> bool {
    [ErrorKind::PermissionDenied, ErrorKind::Unsupported].contains(&error.kind())
}

fn create_exclusively(path: &Path, note: &Note) -> io::Result<Option<File>> {
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(file) => write(&file, note).map(|()| Some(file)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(error),
    }
}

/// What cannot be removed expires.
fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::debug!("cannot remove {}: {error}", path.display());
    }
}

fn nonce() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests;
